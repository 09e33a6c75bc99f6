"""What does an exact derivative of a torch U-Net cost through JAX, and what through torch's own forward mode?"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import Program, compiled

import softjax as sj

torch = pytest.importorskip("torch")
SIDE, T = 32, 500.0


def small_unet() -> Any:
    """Of diffusers, random, without attention: torch's forward mode fails in its group norm there."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        **{"sample_size": SIDE, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 8},
        **{"block_out_channels": (32, 64), "down_block_types": ("DownBlock2D",) * 2, "add_attention": False},
        up_block_types=("UpBlock2D",) * 2,
    )
    return unet.requires_grad_(False).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("derivative", [False, True], ids=["forward", "JVP"])
def bench_unet_against_torch(versus, derivative):
    unet = small_unet()
    network = sj.interop.from_torch(unet, shape=(SIDE, SIDE, 3), channels="first", output="sample")
    x, v = (jr.normal(jr.key(i), (SIDE, SIDE, 3)) for i in range(2))
    image, direction = (torch.tensor(np.array(a)).permute(2, 0, 1)[None].contiguous() for a in (x, v))

    def ours(network, x, v):
        return jax.jvp(lambda x: network(T, x), (x,), (v,)) if derivative else network(T, x)

    def theirs():
        if not derivative:
            with torch.no_grad():
                return unet(image, T).sample
        return torch.func.jvp(lambda image: unet(image, torch.tensor([T])).sample, (image,), (direction,))[1]

    run = compiled(ours, network, x, v)
    start = time.perf_counter()
    wanted = theirs()[0].permute(1, 2, 0).numpy()
    peer = Program(theirs, time.perf_counter() - start)
    found = np.asarray(run.run()[1] if derivative else run.run())
    error = float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
    assert error < 1e-4
    assert jnp.result_type(float) == jnp.float32
    what = "JVP" if derivative else "forward"
    versus(f"diffusers U-Net, {what}, against torch", run, peer, rounds=15, difference=f"{error:.1e}")
