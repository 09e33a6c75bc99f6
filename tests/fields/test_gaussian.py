from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.spectral import free_field_spectrum

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
T = 0.7


@pytest.mark.parametrize("shape", [(7,), (6, 5), (3, 4, 4)])
@pytest.mark.parametrize(
    ("process", "alpha2", "variance"), [(sj.VP(), np.exp(-T), 1 - np.exp(-T)), (sj.EDM(), 1, T**2)]
)
def test_score_is_the_gradient_of_the_dense_gaussian(process, alpha2, variance, shape):
    spectrum = free_field_spectrum(shape, 0.2, 1.0)
    x, mean, alpha = RNG.normal(size=shape), 0.3, np.sqrt(alpha2)
    correlation = np.fft.ifftn(np.asarray(spectrum, float)).real
    sites = list(product(*map(range, shape)))
    data = np.array([[correlation[tuple(np.subtract(i, j) % shape)] for j in sites] for i in sites])
    covariance = alpha2 * data + variance * np.eye(len(sites))
    expected = -np.linalg.solve(covariance, x.ravel() - alpha * mean).reshape(shape)
    assert_close(sj.GaussianField(spectrum, process, mean).score(T, jnp.asarray(x, FLOAT)), expected, loosen=4)


@pytest.mark.parametrize("t", [1e-3, 0.5, 5.0])
def test_unit_white_data_stay_unit_white_under_vp(t):
    x = jnp.asarray(RNG.normal(size=(5, 6)), FLOAT)
    score = sj.GaussianField(jnp.ones((5, 6), FLOAT), sj.VP()).score(t, x)
    # The score divides a difference by sigma^2, which magnifies its rounding.
    assert_close(score, -np.asarray(x), loosen=1 + 1 / t)


def test_data_without_fluctuations_are_one_pattern():
    x = jnp.asarray(RNG.normal(size=(4, 4)), FLOAT)
    gaussian = sj.GaussianField(jnp.zeros((4, 4), FLOAT), sj.VP(), mean=1.5)
    assert_close(gaussian.score(T, x), sj.EmpiricalField(np.full((1, 4, 4), 1.5), sj.VP()).score(T, x))


def odd_in_k():
    spectrum = np.ones((4, 4))
    spectrum[1, 0] = 2.0
    return spectrum


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (odd_in_k(), "even in k, for the field to be real"),
        (-np.ones((4, 4)), "spectrum must not be negative"),
        (np.full((4, 4), np.nan), "spectrum must be finite, got 16 NaN"),
        (np.ones(()), "spectrum must be a lattice"),
    ],
)
def test_gaussian_field_refuses(spectrum, message):
    with pytest.raises(ValueError, match=message):
        sj.GaussianField(jnp.asarray(spectrum, FLOAT), sj.VP())
