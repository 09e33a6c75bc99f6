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


def images(key: int = 0) -> jax.Array:
    """One on a CPU, 64 elsewhere."""
    return jr.normal(jr.key(key), (1 if jax.default_backend() == "cpu" else 64, 64, 64, 3))


def denoised(network: EDM2, xs: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: network(SIGMA, x, LABEL))(xs)


def matrix_product(multiply_adds: float):
    """A product of two matrices of as many operations; the measured ratio is the fraction of its rate."""
    a, b = jnp.ones((round(multiply_adds / INNER**2), INNER)), jnp.ones((INNER, INNER))
    return compiled(lambda a, b: a @ b, a, b)


@pytest.fixture(autouse=True)
def only_large(request: pytest.FixtureRequest) -> None:
    """Compiling a published size takes most of a minute on two cores."""
    if request.config.getoption("--sizes") != "large":
        pytest.skip("EDM2 of published sizes is measured with --sizes large.")


@pytest.mark.parametrize("preset", ["xs", "s"])
def bench_forward_as_fraction_of_matmul_rate(versus, preset):
    xs = images()
    ours = compiled(denoised, random_network(preset), xs)
    peer = matrix_product(len(xs) * MULTIPLY_ADDS[preset])
    versus(f"EDM2-{preset} against its matrix products alone", ours, peer, rounds=5, batch=len(xs))


@pytest.mark.parametrize("preset", ["xs", "s"])
def bench_jvp_as_fraction_of_matmul_rate(versus, preset):
    def jvp(network, xs, vs):
        return jax.jvp(lambda xs: denoised(network, xs), (xs,), (vs,))

    xs = images()
    ours = compiled(jvp, random_network(preset), xs, images(1))
    peer = matrix_product(2 * len(xs) * MULTIPLY_ADDS[preset])
    versus(f"EDM2-{preset} and JVP against their matrix products alone", ours, peer, rounds=3, batch=len(xs))


@pytest.mark.parametrize("preset", ["xs", "s"])
def bench_forward_against_a_torch_convolution_stack(versus, preset):
    """As many 3 x 3 convolutions on every level as make up the network's multiply-adds."""
    torch = pytest.importorskip("torch")
    config, xs = EDM2Config.preset(preset), images()
    levels = list(zip(config.resolutions, config.widths, strict=True))
    depth = round(MULTIPLY_ADDS[preset] / sum(side**2 * 9 * width**2 for side, width in levels))

    def level(side, width):
        layers = [torch.nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth)]
        return torch.nn.Sequential(*layers), torch.randn(len(xs), width, side, side)

    stacks = [level(side, width) for side, width in levels]

    def peer():
        with torch.no_grad():
            return [stack(x) for stack, x in stacks]

    ours = compiled(denoised, random_network(preset), xs)
    share = depth * sum(side**2 * 9 * width**2 for side, width in levels) / MULTIPLY_ADDS[preset]
    about = {"batch": len(xs), "peer_operations": round(share, 3)}
    versus(f"EDM2-{preset} against as many convolutions of torch on the CPU", ours, Program(peer), rounds=5, **about)
