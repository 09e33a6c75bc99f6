"""How near does EDM2 come to the machine's matrix-multiply rate and to PyTorch?"""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from flax import nnx
from timing import Program, compiled

from softjax.networks import EDM2, EDM2Config

MULTIPLY_ADDS = {"xs": 44.94e9, "s": 100.80e9}  # of one forward pass at 64 x 64
SIGMA, LABEL, INNER = 1.0, 7, 2048


@functools.lru_cache(1)
def random_network(size: str) -> EDM2:
    """Of a published size, its gains not zero."""
    network = jax.jit(lambda: EDM2(EDM2Config.preset(size), rngs=nnx.Rngs(0)))()
    return jax.tree.map(lambda leaf: leaf if leaf.ndim else jnp.full_like(leaf, 0.8), network)


def image(key: int = 0) -> jax.Array:
    return jr.normal(jr.key(key), (64, 64, 3))


def matrix_product(multiply_adds: float):
    """A product of two matrices of as many operations; the measured ratio is the fraction of its rate."""
    a, b = jnp.ones((round(multiply_adds / INNER**2), INNER)), jnp.ones((INNER, INNER))
    return compiled(lambda a, b: a @ b, a, b)


@pytest.mark.parametrize("size", ["xs", "s"])
def bench_forward_as_fraction_of_matmul_rate(versus, size):
    ours = compiled(lambda network, x: network(SIGMA, x, LABEL), random_network(size), image())
    versus(f"EDM2-{size}, one image", ours, matrix_product(MULTIPLY_ADDS[size]), rounds=5, size=size)


@pytest.mark.parametrize("size", ["xs", "s"])
def bench_jvp_as_fraction_of_matmul_rate(versus, size):
    def jvp(network, x, v):
        return jax.jvp(lambda x: network(SIGMA, x, LABEL), (x,), (v,))

    ours = compiled(jvp, random_network(size), image(), image(1))
    versus(f"EDM2-{size}, one image and JVP", ours, matrix_product(2 * MULTIPLY_ADDS[size]), rounds=3, size=size)


@pytest.mark.parametrize("size", ["xs", "s"])
def bench_forward_against_a_torch_convolution_stack(versus, size):
    """As many 3 x 3 convolutions on every level as make up the network's multiply-adds."""
    torch = pytest.importorskip("torch")
    config = EDM2Config.preset(size)
    levels = list(zip(config.resolutions, config.widths, strict=True))
    depth = round(MULTIPLY_ADDS[size] / sum(side**2 * 9 * width**2 for side, width in levels))

    def level(side, width):
        layers = [torch.nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth)]
        return torch.nn.Sequential(*layers), torch.randn(1, width, side, side)

    stacks = [level(side, width) for side, width in levels]

    def peer():
        with torch.no_grad():
            return [stack(x) for stack, x in stacks]

    ours = compiled(lambda network, x: network(SIGMA, x, LABEL), random_network(size), image())
    share = depth * sum(side**2 * 9 * width**2 for side, width in levels) / MULTIPLY_ADDS[size]
    versus(f"EDM2-{size} against torch", ours, Program(peer), rounds=5, size=size, peer_operations=round(share, 3))
