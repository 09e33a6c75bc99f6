"""Local scores that know where they are, against literal sums, their two limits, and the Wiener filter of a matrix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 4, 5))
X = jnp.asarray(RNG.normal(size=(4, 5)), FLOAT)
T = 0.7
VP = sj.VP()


@eqx.filter_jit
def denoise(field, t, x):
    return field.denoise(t, x)


def field(**options):
    return sj.PositionedLocalField(jnp.asarray(IMAGES, FLOAT), VP, **options)


def literal(seen, t=T):
    """Site by site, image by image."""
    alpha, variance = np.exp(-t / 2), 1 - np.exp(-t)
    squares = (np.asarray(X, float).ravel() - alpha * IMAGES.reshape(5, -1)) ** 2
    result = np.zeros(X.size)
    for i in range(X.size):
        weights = np.exp([-np.sum(row[seen[i] > 0]) / (2 * variance) for row in squares])
        result[i] = np.sum(weights * IMAGES.reshape(5, -1)[:, i]) / np.sum(weights)
    return result.reshape(X.shape)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_windows_are_literal_sums_cut_off_at_the_border(side):
    sites = list(np.ndindex(4, 5))
    seen = np.asarray([[max(abs(a - c), abs(b - d)) <= side // 2 for c, d in sites] for a, b in sites])
    np.testing.assert_array_equal(field(sees=side).neighbourhoods(T), seen)
    assert_close(denoise(field(sees=side), T, X), literal(seen), 10)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_a_window_that_sees_all_is_the_empirical_score(chunk):
    whole, empirical = field(sees=9, chunk=chunk), sj.EmpiricalField(jnp.asarray(IMAGES, FLOAT), VP)
    assert_close(denoise(whole, T, X), denoise(empirical, T, X), 10)
    tangent = jnp.ones_like(X)
    slopes = [jax.jvp(lambda x, f=f: f.denoise(T, x), (X,), (tangent,))[1] for f in (whole, empirical)]
    assert_close(slopes[0], slopes[1], 100)


def test_the_wiener_filter_says_what_is_seen():
    """Of an exponential covariance, as a matrix: the neighbourhood widens with the noise."""
    sites = np.asarray(list(np.ndindex(4, 5)), float)
    covariance = np.exp(-np.linalg.norm(sites[:, None] - sites[None], axis=-1))
    gaussian = sj.CovarianceField.from_covariance(covariance.reshape(4, 5, 4, 5).astype(FLOAT), VP)
    local, counts = field(sees=gaussian, threshold=0.1), []
    for t in (0.01, T, 3.0):
        alpha, variance = np.exp(-t / 2), 1 - np.exp(-t)
        wiener = np.abs(covariance @ np.linalg.inv(alpha**2 * covariance + variance * np.eye(20)))
        seen = wiener >= 0.1 * wiener.max(axis=1, keepdims=True)
        np.testing.assert_array_equal(local.neighbourhoods(t), seen)
        counts.append(seen.sum())
    assert counts[0] == 20 < counts[1] < counts[2]
    assert_close(denoise(local, T, X), literal(np.asarray(local.neighbourhoods(T))), 10)


def test_small_noise_returns_the_image_that_is_there():
    """Where distances over the variance reach 1e5, single precision still finds the right image."""
    noisy = jnp.asarray(IMAGES[3], FLOAT) * VP.alpha(1e-4)
    assert_close(denoise(field(sees=3), 1e-4, noisy), IMAGES[3], 10)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="odd side of a window, got 4"):
        field(sees=4)
    with pytest.raises(ValueError, match="threshold must lie above 0"):
        field(threshold=0.0)
    classes = sj.CovarianceField.from_samples(IMAGES, VP, labels=np.asarray([0, 0, 1, 1, 1]))
    with pytest.raises(ValueError, match="without classes"):
        field(sees=classes)
    with pytest.raises(ValueError, match="each vector of sees must be one configuration"):
        sj.PositionedLocalField(IMAGES[:, :, :3], VP, sj.CovarianceField.from_samples(IMAGES, VP))
