from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close
from scipy.integrate import quad

import softjax as sj
from softjax.theory import (
    classify_soft_modes,
    flow_growth_rate,
    landau_coefficients,
    long_wave_expansion,
    neighbourhood_spectrum,
    one_loop_mass,
    patch_spectrum,
    patch_variance,
)

pytestmark = pytest.mark.float32

RTOL = 1e-11 if X64 else 1e-5
L_SHAPE = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def offsets(neighbourhood, ndim):
    if isinstance(neighbourhood, np.ndarray):
        return np.argwhere(neighbourhood) - np.asarray(neighbourhood.shape) // 2
    sides = (neighbourhood,) * ndim if isinstance(neighbourhood, int) else neighbourhood
    return np.array(list(product(*(range(-(s // 2), s // 2 + 1) for s in sides))))


@pytest.mark.parametrize(
    ("neighbourhood", "shape"),
    [((3, 5), (8, 7)), (CROSS, (6, 6)), (L_SHAPE, (5, 6)), ((1, 3, 5), (4, 4, 6)), (5, (9,))],
)
def test_spectrum_of_any_neighbourhood_is_the_sum_over_its_sites(neighbourhood, shape):
    k = 2 * np.pi * np.indices(shape) / np.reshape(shape, (-1, *(1,) * len(shape)))
    direct = sum(np.exp(1j * np.tensordot(r, k, 1)) for r in offsets(neighbourhood, len(shape)))
    spectrum = neighbourhood_spectrum(neighbourhood, shape)
    assert jnp.iscomplexobj(spectrum) == (neighbourhood is L_SHAPE)
    np.testing.assert_allclose(spectrum, direct, atol=100 * RTOL)


def test_a_mask_is_a_dictionary_whose_other_sites_are_silent():
    patterns = np.stack([L_SHAPE, L_SHAPE]) * np.reshape([1.0, -1.0], (2, 1, 1))
    known = sj.theory.dictionary_spectrum(sj.PatchDictionary(patterns), sj.VP(), 1.3, (6, 5))
    np.testing.assert_allclose(patch_spectrum(sj.VP(), 1.3, L_SHAPE, (6, 5)), known, rtol=10 * RTOL, atol=10 * RTOL)


@pytest.mark.parametrize(
    ("neighbourhood", "message"),
    [((3, 4), "odd"), ((3, 3, 3), "one side per lattice axis"), (np.zeros((3, 3), bool), "P >= 1"), (-1, "odd")],
)
def test_bad_neighbourhoods_are_refused(neighbourhood, message):
    with pytest.raises(ValueError, match=message):
        neighbourhood_spectrum(neighbourhood, (8, 8))


def test_landau_coefficients_are_the_papers():
    t, w, ndim = 1.4, 5, 2
    alpha2, variance, volume = np.exp(-0.8 * t), -np.expm1(-0.8 * t), w**ndim
    c = landau_coefficients(sj.VP(0.8), t, w, ndim)
    assert_close(c.mass, 0.8 * (0.5 - 1 / variance + alpha2 * volume / variance**2), loosen=10)
    assert_close(c.stiffness, 0.8 * alpha2 * volume * 2 * 3 / (6 * variance**2), loosen=10)
    assert_close(c.quartic, 0.8 * alpha2**2 * volume**3 / (3 * variance**4), loosen=10)
    assert_close(c.noise, 0.8)


@pytest.mark.skipif(not X64, reason="second differences of a spectrum")
@pytest.mark.parametrize("model", [(3, 7), CROSS, L_SHAPE, sj.PatchDictionary.ising(3, 2, 0.7, key=jr.key(0))])
def test_long_waves_are_the_spectrum_at_small_k(model):
    t = 1.1
    mass, stiffness = long_wave_expansion(sj.VP(), t, model)
    assert stiffness.shape == (2,)
    for axis, first in ((0, (1, 0)), (1, (0, 1))):
        lattice = tuple(4096 if a == axis else 8 for a in (0, 1))
        if isinstance(model, sj.PatchDictionary):
            rates = np.real(sj.theory.dictionary_spectrum(model, sj.VP(), t, lattice))
        else:
            rates = np.real(patch_spectrum(sj.VP(), t, model, lattice))
        np.testing.assert_allclose(rates[0, 0], mass, rtol=1e-10)
        np.testing.assert_allclose((rates[0, 0] - rates[first]) / (2 * np.pi / 4096) ** 2, stiffness[axis], rtol=1e-4)


def test_cubic_coefficient_is_that_of_the_local_score():
    # The drift of a uniform state, to third order: r x - u x^3.
    field, t = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP()), jnp.asarray(2.0, FLOAT)
    c = landau_coefficients(sj.VP(), t, 3)
    x = 0.02
    drift = sj.reverse_drift(field, t, jnp.full((4, 4), x, FLOAT))[0, 0]
    np.testing.assert_allclose((c.mass * x - drift) / x**3, c.quartic, rtol=0.01 if X64 else 0.1)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_projected_coefficients_are_hermite_projections_of_the_tanh(scale):
    t, volume = 1.0, 9.0
    alpha, variance = np.exp(-0.5), -np.expm1(-1.0)
    v = (scale * variance / (alpha * volume)) ** 2
    c = landau_coefficients(sj.VP(), t, 3, 2, v)
    # Least squares of the drift of the uniform state by r x - u x^3 under a Gaussian of variance v.
    density = lambda z: np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)  # noqa: E731
    tanh_1 = quad(lambda z: density(z) * z * np.tanh(scale * z), -30, 30)[0]
    tanh_3 = quad(lambda z: density(z) * (z**3 - 3 * z) * np.tanh(scale * z), -30, 30)[0] / 6
    slope = alpha / variance / np.sqrt(v)
    np.testing.assert_allclose(c.mass, 0.5 - 1 / variance + slope * (tanh_1 - 3 * tanh_3), rtol=100 * RTOL)
    np.testing.assert_allclose(c.quartic, -slope * tanh_3 / v, rtol=100 * RTOL)


def test_vanishing_variance_gives_the_taylor_expansion():
    expanded, projected = landau_coefficients(sj.VP(), 1.0, 3), landau_coefficients(sj.VP(), 1.0, 3, 2, 1e-12)
    assert_close(jax.tree.leaves(projected), jax.tree.leaves(expanded), loosen=1e5 if X64 else 10)


def test_one_loop_shift():
    c = landau_coefficients(sj.VP(), 2.0, 3)
    assert_close(one_loop_mass(c, 0.1), np.asarray(c.mass - 0.3 * c.quartic))
    with pytest.raises(ValueError, match="variance must not be negative"):
        one_loop_mass(c, -0.1)


@pytest.mark.parametrize("neighbourhood", [3, (3, 5), L_SHAPE])
def test_patch_variance_is_that_of_patch_means(neighbourhood):
    s = sj.spectral.free_field_spectrum((8, 6), 0.5, 1.0)
    covariance = np.fft.ifftn(np.asarray(s, float)).real
    sites = offsets(neighbourhood, 2)
    difference = (sites[:, None] - sites) % np.asarray((8, 6))
    direct = np.mean(covariance[difference[..., 0], difference[..., 1]])
    np.testing.assert_allclose(patch_variance(s, neighbourhood), direct, rtol=10 * RTOL)


@pytest.mark.parametrize("volume", [1, 1.5, 9, 1e4])
def test_flow_has_no_critical_time(volume):
    ts = np.geomspace(1e-3, 30, 200)
    rates = np.asarray(jax.vmap(lambda t: flow_growth_rate(sj.VP(), t, volume))(jnp.asarray(ts, FLOAT)))
    assert np.all(rates > 0)
    alpha2, variance = np.exp(-ts), -np.expm1(-ts)
    expected = 0.5 * (1 - 1 / variance + alpha2 * volume / variance**2)
    np.testing.assert_allclose(rates[:120], expected[:120], rtol=1e-9 if X64 else 1e-4)


@pytest.mark.parametrize("process", [sj.VP.linear(), sj.EDM()], ids=["vp", "edm"])
def test_flow_growth_rate_is_that_of_the_flow_drift(process):
    field, t = sj.PatchField(sj.PatchDictionary.two_pattern(3), process), jnp.asarray(0.6, FLOAT)
    one = jnp.ones((4, 4), FLOAT)
    _, change = jax.jvp(lambda x: sj.flow_drift(field, t, x), (0 * one,), (one,))
    np.testing.assert_allclose(flow_growth_rate(process, t, 9), change[0, 0], rtol=10 * RTOL)


@pytest.mark.parametrize(
    "call",
    [
        lambda: landau_coefficients(sj.VP(), 0.0, 3),
        lambda: patch_spectrum(sj.VP(), -1.0, 3, (4, 4)),
        lambda: flow_growth_rate(sj.VP(), 0.0, 9),
        lambda: long_wave_expansion(sj.VP(), 0.0, 3),
    ],
)
def test_times_must_be_positive(call):
    with pytest.raises(ValueError, match="t must be positive"):
        call()


def test_flow_needs_a_site():
    with pytest.raises(ValueError, match="at least 1"):
        flow_growth_rate(sj.VP(), 1.0, 0.5)


def waves(*numbers, shape=(8, 8)):
    """A dispersion with maxima at these integer wavevectors and at their negatives."""
    rates = np.full(shape, -1.0)
    for n in numbers:
        rates[tuple(n)] = rates[tuple(-np.asarray(n))] = 0.5
    return rates


CASES = {
    "uniform": (waves((0, 0)), "scalar", 1, 1),
    "checkerboard": (waves((4, 4)), "modulated scalar", 1, 1),
    "rows": (waves((4, 0)), "modulated scalar", 1, 1),
    "rows and columns": (waves((4, 0), (0, 4)), "multi-component", 2, 2),
    "one wave": (waves((2, 0)), "multi-component", 1, 2),
    "square of waves": (waves((2, 0), (0, 2)), "multi-component", 2, 4),
    "uniform and a wave": (waves((0, 0), (3, 3)), "multi-component", 2, 3),
    "odd lattice": (waves((2, 1), shape=(5, 7)), "multi-component", 1, 2),
    "chain": (waves((0,), shape=(6,)), "scalar", 1, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_soft_modes_are_classified(name):
    dispersion, kind, amplitudes, components = CASES[name]
    found = classify_soft_modes(dispersion + 0.3j * np.random.default_rng(0).normal(size=dispersion.shape))
    assert (found.kind, found.num_amplitudes, found.num_components) == (kind, amplitudes, components)
    assert all(dispersion[tuple(n)] == 0.5 for n in found.wavevectors)
    assert found.growth_rate == 0.5


def test_patch_models_soften_uniformly_and_striped_dictionaries_do_not():
    assert classify_soft_modes(patch_spectrum(sj.VP(), 1.0, 5, (64, 64))).kind == "scalar"
    board = np.where(np.indices((3, 3)).sum(0) % 2, -1.0, 1.0)
    d = sj.PatchDictionary(np.stack([board, -board]))
    found = classify_soft_modes(sj.theory.dictionary_spectrum(d, sj.VP(), 1.0, (8, 8)))
    assert found.kind == "modulated scalar"
    assert np.all(np.abs(found.wavevectors) == 4)


def test_tolerance_decides_on_ties():
    noisy = waves((2, 0), (0, 2)) + 1e-3 * np.random.default_rng(1).normal(size=(8, 8))
    assert classify_soft_modes(noisy).num_amplitudes == 1
    assert classify_soft_modes(noisy, tolerance=0.01).num_amplitudes == 2


def test_classification_refuses():
    with pytest.raises(ValueError, match="finite"):
        classify_soft_modes(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="outside"):
        jax.jit(lambda d: classify_soft_modes(d).growth_rate)(jnp.ones(4))
