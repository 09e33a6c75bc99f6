"""The reference's sampler paths, every fourth pixel of one sample, on its own random weights (tests/data/heun)."""

import json
from pathlib import Path

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


def stored_field(path):
    with np.load(DATA / path) as file:
        tensors = dict(file)
    del tensors["n_parameters"]
    network = edm2_from_tensors(tensors, edm2_config(json.loads(str(tensors.pop("config")))))
    return sj.NetworkField(network, sj.EDM(), "denoiser")


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_steps"), [("plain", 32), ("autog", 8)])
def test_every_state_is_the_reference_s(name, num_steps):
    field = stored_field("edm2/uncond_weights.npz")
    if name == "autog":
        field = sj.GuidedField(field, stored_field("heun/guide_weights.npz"), 2.0)
    x0, ts = 80 * jnp.asarray(PATHS["noise"], FLOAT), sj.karras_grid(num_steps=num_steps)
    trajectory = sj.heun(field, ts, x0=x0, key=jr.key(0), observe=lambda t, x: x)
    states = np.asarray(jnp.concatenate([trajectory.observed, trajectory.x[None]]), float)[:, ::4, ::4]
    errors = np.linalg.norm((states - PATHS[name]).reshape(num_steps + 1, -1), axis=1)
    sizes = np.linalg.norm(PATHS[name].reshape(num_steps + 1, -1), axis=1)
    assert np.max(errors / sizes) < (1e-9 if X64 else 2e-5)
