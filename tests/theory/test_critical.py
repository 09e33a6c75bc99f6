import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close
from scipy.integrate import quad
from scipy.optimize import root_scalar

import softjax as sj
from softjax.theory import critical_noise_variance, critical_time, dictionary_critical_time

pytestmark = pytest.mark.float32

RTOL = 1e-9 if X64 else 2e-6
VOLUMES = [1, 9, 25, 343, 10**6]


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("volume", VOLUMES)
def test_critical_time_at_constant_rate(volume, beta):
    np.testing.assert_allclose(critical_time(sj.VP(beta), volume), np.arcsinh(volume) / beta, rtol=RTOL)


@pytest.mark.parametrize(("patch_size", "expected"), [(3, 2.893444), (5, 3.912423), (7, 4.585072)])
def test_critical_times_of_square_patches(patch_size, expected):
    np.testing.assert_allclose(critical_time(sj.VP(), patch_size**2), expected, atol=1e-6)


def linear_rate(t):
    return 0.2 + (15.0 - 0.2) * t / 0.8


def cosine_rate(t):
    return np.pi / 1.008 * np.tan((t + 0.008) / 1.008 * np.pi / 2)


@pytest.mark.parametrize("volume", [1, 9, 49])
@pytest.mark.parametrize(
    ("process", "rate"), [(sj.VP.linear(0.2, 15.0, 0.8), linear_rate), (sj.VP.cosine(0.008), cosine_rate)]
)
def test_rate_integrates_to_the_inverse_hyperbolic_sine(process, rate, volume):
    t_c = float(critical_time(process, volume))
    integral, _ = quad(rate, 0, t_c, epsabs=1e-12, epsrel=1e-12)
    # Close to the cosine schedule's end the rate is large: the rounding of t_c is multiplied by it.
    np.testing.assert_allclose(integral, np.arcsinh(volume), rtol=RTOL * (1 + rate(t_c) * t_c))


@pytest.mark.parametrize("volume", VOLUMES[:4])
def test_critical_variance_is_the_root_of_the_uniform_growth_rate(volume):
    root = root_scalar(lambda s: 0.5 - 1 / s + (1 - s) * volume / s**2, bracket=(1e-6, 1 - 1e-12), xtol=1e-15).root
    np.testing.assert_allclose(critical_noise_variance(volume), root, rtol=RTOL)
    np.testing.assert_allclose(sj.VP.linear().sigma(critical_time(sj.VP.linear(), volume)) ** 2, root, rtol=RTOL)


def test_critical_variance_does_not_cancel_at_large_volumes():
    volume = 10**6
    np.testing.assert_allclose(critical_noise_variance(volume), 1 - 0.5 / volume, rtol=RTOL)


def test_two_points_break_their_symmetry_at_the_known_signal():
    t_c = critical_time(sj.VP.cosine(), 1)
    np.testing.assert_allclose(sj.VP.cosine().alpha(t_c) ** 2, np.sqrt(2) - 1, rtol=RTOL)


def test_critical_time_of_many_volumes_at_once():
    volumes = jnp.asarray(VOLUMES, FLOAT)
    assert_close(jax.vmap(lambda p: critical_time(sj.VP(), p))(volumes), np.arcsinh(VOLUMES))


@pytest.mark.parametrize("function", [critical_noise_variance, lambda p: critical_time(sj.VP(), p)])
def test_neighbourhood_holds_at_least_its_centre(function):
    with pytest.raises(ValueError, match="patch_volume must be at least 1, got 0"):
        function(0)


def largest_eigenvalue(field, t, shape):
    """Of the symmetric Jacobian of the reverse drift at x = 0."""
    drift = eqx.filter_jit(lambda t, x: sj.reverse_drift(field, t, x.reshape(shape)).ravel())
    jacobian = jax.jacfwd(drift, argnums=1)(t, jnp.zeros(int(np.prod(shape)), FLOAT))
    return np.max(np.linalg.eigvalsh(np.asarray(jacobian, float)))


@pytest.mark.parametrize(("process", "ndim"), [(sj.EDM(), 2), (sj.VP.linear(), 2), (sj.VP(2.0), 1)])
def test_uniform_mode_of_the_dense_jacobian_is_marginal(process, ndim):
    field, shape = sj.PatchField(sj.PatchDictionary.two_pattern(3, ndim=ndim), process), (4, 5)[:ndim]
    t_c = float(critical_time(process, 3**ndim))
    rate = 1 / float(process.sigma(t_c)) ** 2 * float(process.drift_weight(t_c))
    assert abs(largest_eigenvalue(field, t_c, shape)) < 1e3 * float(jnp.finfo(FLOAT).eps) * rate
    assert largest_eigenvalue(field, 1.01 * t_c, shape) < 0 < largest_eigenvalue(field, 0.99 * t_c, shape)


@pytest.mark.parametrize("volume", [1, 9, 25])
def test_edm_critical_noise_is_the_root_of_the_volume(volume):
    np.testing.assert_allclose(critical_time(sj.EDM(), volume), np.sqrt(volume), rtol=RTOL)


def largest_growth_rate(dictionary, process, t, shape):
    """Max over k of the real part of the posterior covariance's transform, summed term by term."""
    patterns = np.asarray(dictionary.patterns, float)
    patch = patterns.shape[1:]
    alpha2, variance = float(process.alpha(t)) ** 2, float(process.sigma(t)) ** 2
    logits = np.asarray(dictionary.log_prior, float) - alpha2 / (2 * variance) * np.sum(patterns**2, axis=(1, 2))
    weights = np.exp(logits - np.max(logits))
    weights /= np.sum(weights)
    centre = patterns[:, patch[0] // 2, patch[1] // 2]
    covariance = np.einsum("m,m,mij->ij", weights, centre, patterns)
    covariance -= np.dot(weights, centre) * np.einsum("m,mij->ij", weights, patterns)
    r = np.indices(patch) - np.reshape([side // 2 for side in patch], (2, 1, 1))
    k = [2 * np.pi * np.arange(n) / n for n in shape]
    phase = r[0] * k[0][:, None, None, None] + r[1] * k[1][None, :, None, None]
    top = np.max(np.sum(covariance * np.cos(phase), axis=(2, 3)))
    return 0.5 - 1 / variance + alpha2 / variance**2 * top, top


def test_equal_norms_give_the_inverse_hyperbolic_sine_of_the_largest_covariance():
    shape = (8, 6)
    for seed in range(3):
        dictionary = sj.PatchDictionary.ising(5, 3, 0.7, key=jr.key(seed))
        _, top = largest_growth_rate(dictionary, sj.VP(), 1.0, shape)
        t_c = dictionary_critical_time(dictionary, sj.VP(beta=0.5), shape)
        np.testing.assert_allclose(t_c, np.arcsinh(top) / 0.5, rtol=RTOL)


def test_two_pattern_dictionary_has_the_patch_models_critical_time():
    t_c = dictionary_critical_time(sj.PatchDictionary.two_pattern(5), sj.VP.linear(), (8, 7))
    np.testing.assert_allclose(t_c, critical_time(sj.VP.linear(), 25), rtol=RTOL)


@pytest.mark.parametrize("process", [sj.VP(), sj.EDM()], ids=["vp", "edm"])
def test_unequal_norms_give_the_last_root_of_the_growth_rate(process):
    shape = (6, 5)
    y = np.random.default_rng(0).normal(size=(3, 3, 3)) * np.array([0.5, 1.0, 2.0]).reshape(3, 1, 1)
    dictionary = sj.PatchDictionary(np.concatenate([y, -y]), np.log([0.1, 0.2, 0.3, 0.1, 0.1, 0.2]))

    def growth(t):
        rate, top = largest_growth_rate(dictionary, process, t, shape)
        return top - t**2 if isinstance(process, sj.EDM) else rate

    grid = np.geomspace(0.05, 12, 200)
    last = np.flatnonzero([growth(t) > 0 for t in grid])[-1]
    root = root_scalar(growth, bracket=(grid[last], grid[last + 1]), xtol=1e-13).root
    np.testing.assert_allclose(dictionary_critical_time(dictionary, process, shape), root, rtol=10 * RTOL)


def test_no_instability_has_no_critical_time():
    lone = sj.PatchDictionary(np.ones((1, 3, 3)))
    assert np.isnan(dictionary_critical_time(lone, sj.VP(), (4, 4)))


def test_dictionary_critical_time_of_many_dictionaries_at_once():
    dictionaries = [sj.PatchDictionary.ising(3, 2, p, key=jr.key(0)) for p in (0.4, 0.9)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *dictionaries)
    together = eqx.filter_vmap(lambda d: dictionary_critical_time(d, sj.VP(), (8, 8)))(stacked)
    assert_close(together, np.array([dictionary_critical_time(d, sj.VP(), (8, 8)) for d in dictionaries]))
