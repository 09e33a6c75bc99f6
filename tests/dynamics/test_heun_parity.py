"""The reference's sampler paths, every fourth pixel of one sample, on its own random weights (tests/data/heun)."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64

import softjax as sj
from softjax.convert._edm2 import edm2_config, edm2_from_tensors

pytestmark = pytest.mark.float32

DATA = Path(__file__).parents[1] / "data"
PATHS = np.load(DATA / "heun" / "paths.npz")


def stored_network(path):
    with np.load(DATA / path) as file:
        tensors = dict(file)
    del tensors["n_parameters"]
    return edm2_from_tensors(tensors, edm2_config(json.loads(str(tensors.pop("config")))))


class Guided(eqx.Module):
    """D_g + 2 (D - D_g) of a network and its guide."""

    network: Any
    guide: Any

    def __call__(self, t, x):
        guide = self.guide(t, x)
        return guide + 2 * (self.network(t, x) - guide)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_steps"), [("plain", 32), ("autog", 8)])
def test_every_state_is_the_reference_s(name, num_steps):
    network = stored_network("edm2/uncond_weights.npz")
    if name == "autog":
        network = Guided(network=network, guide=stored_network("heun/guide_weights.npz"))
    field, x0 = sj.NetworkField(network, sj.EDM(), "denoiser"), 80 * jnp.asarray(PATHS["noise"], FLOAT)
    ts = sj.karras_grid(num_steps=num_steps)
    trajectory = sj.heun(field, ts, x0=x0, key=jr.key(0), observe=lambda t, x: x)
    states = np.asarray(jnp.concatenate([trajectory.observed, trajectory.x[None]]), float)[:, ::4, ::4]
    errors = np.linalg.norm((states - PATHS[name]).reshape(num_steps + 1, -1), axis=1)
    sizes = np.linalg.norm(PATHS[name].reshape(num_steps + 1, -1), axis=1)
    assert np.max(errors / sizes) < (1e-9 if X64 else 2e-5)
