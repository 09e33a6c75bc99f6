"""A network, data and settings so small that a training takes less time than its compilation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from helpers import FLOAT
from jaxtyping import Array

import softjax as sj
from softjax.data import LabelledImages
from softjax.training import NoisePrediction, Optimisation

SHAPE = (4, 6)
OBJECTIVE = NoisePrediction(sj.VP(), 0.5, 6.0)
CONFIG = Optimisation(epochs=2, batch_size=8, warmup_steps=2, learning_rate=0.05, checkpoint_seconds=0.0)
STEPS = 6  # of CONFIG on `data()`


class Toy(eqx.Module):
    """Noise prediction site by site."""

    gain: Array
    offset: Array

    def __call__(self, t, x):
        return self.gain * jnp.tanh(x) + self.offset * t


def toy(shape=SHAPE):
    rng = np.random.default_rng(2)
    return Toy(*(jnp.asarray(0.3 * rng.normal(size=shape), FLOAT) for _ in range(2)))


def data(count=24):
    rng = np.random.default_rng(3)
    return LabelledImages(np.sign(rng.normal(size=(count, *SHAPE))).astype(FLOAT), rng.integers(0, 3, count, np.int32))


def assert_same(actual, expected):
    """Bit for bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, want)
