"""Finite-size scaling against what is known: Gaussian fields, the critical Ising model, curves with known exponents."""

# Lists and NumPy arrays are handed over as users do.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close
from ising import ising_configurations
from scipy.optimize import curve_fit

import softjax as sj
from softjax.analysis import data_collapse, power_law, size_crossing, structure_length
from softjax.analysis._scaling import binder, moments
from softjax.spectral import free_field_spectrum, gaussian_random_field

pytestmark = pytest.mark.float32

CRITICAL = 0.5 * np.log(1 + np.sqrt(2))
BINDER, LENGTH_RATIO = 0.61069014, 0.90504883
"""Of the critical Ising model on large square tori (Salas and Sokal 2000)."""


def measured(states):
    """Means, and structure factors at the smallest wavevector, of (samples, side, side)."""
    factors = jax.vmap(sj.structure_factor)(jnp.asarray(states, FLOAT))
    return jnp.mean(jnp.asarray(states, FLOAT), axis=(1, 2)), 0.5 * (factors[:, 0, 1] + factors[:, 1, 0])


def test_of_a_gaussian_field_all_is_known_and_errors_say_how_well():
    """60 ensembles of 200 states: means are exact within their errors, and the errors are the scatter of ensembles."""
    side, mass, repeats, num = 12, 0.05, 60, 200
    spectrum = jnp.asarray(free_field_spectrum((side, side), mass, 1.0), FLOAT)
    draw = jax.vmap(lambda key: gaussian_random_field(spectrum, key=key))
    columns = jax.jit(lambda keys: measured(draw(keys)))(jr.split(jr.key(0), repeats * num))
    magnetisation, first_mode = (column.reshape(num, repeats) for column in columns)
    found = sj.finite_size(magnetisation, first_mode, side)
    exact = {
        "binder": 0.0,
        "susceptibility": 1 / mass,
        "connected_susceptibility": (1 - 2 / np.pi) / mass,
        "length": mass**-0.5,
        "length_ratio": mass**-0.5 / side,
    }
    for name, value in exact.items():
        one = getattr(found, name)
        free = np.asarray(one.value - one.bias)
        scatter = free.std(ddof=1)
        assert abs(free.mean() - value) < 4 * scatter / np.sqrt(repeats), name
        error = np.sqrt(np.mean(np.asarray(one.standard_error) ** 2))
        assert abs(error / scatter - 1) < 0.3, name  # three standard errors of a scatter of 60


def test_low_modes_of_a_free_field_have_its_length_on_lattices_of_any_side():
    """Lengths of 2 to 8 sites on sides of 24 and 48; exact where the structure factor is."""
    for side, mass in ((24, 0.25), (48, 1 / 64)):
        spectrum = jnp.asarray(free_field_spectrum((side, side), mass, 1.0), FLOAT)[0, :9]
        factors = jnp.asarray(np.random.default_rng(side).exponential(size=(400, 9)), FLOAT) * spectrum
        found = structure_length(factors, side)
        assert 0.01 < float(found.standard_error) * mass**0.5 < 0.15
        assert abs(float(found.value - found.bias) - mass**-0.5) < 3 * float(found.standard_error)
        exact = structure_length(jnp.stack([spectrum, spectrum]), side)
        assert_close(exact.value, mass**-0.5, loosen=1000)
    assert np.isnan(structure_length(jnp.stack([1 / spectrum, 1 / spectrum]), side).value)


@pytest.mark.slow
def test_at_the_critical_point_of_the_ising_model_cumulant_and_length_are_the_known_ones():
    """Corrections of lattices of 16 sites, a few in a thousand, are within the bounds."""
    states = ising_configurations(CRITICAL, 16, 3200, seed=1, chains=64)
    magnetisation, first_mode = measured(states)
    found = sj.finite_size(magnetisation, first_mode, 16, num_blocks=50)  # each of 64 chains side by side
    assert float(found.binder.standard_error) < 0.006
    assert float(found.length_ratio.standard_error) < 0.02
    assert abs(float(found.binder.value) - BINDER) < 3 * float(found.binder.standard_error) + 0.002
    assert abs(float(found.length_ratio.value) - LENGTH_RATIO) < 3 * float(found.length_ratio.standard_error) + 0.004


def curves(xs, sizes, critical, exponent):
    """tanh scaling functions of one crossing, value 0.5 there."""
    return 0.5 + 0.4 * np.tanh(0.5 * (xs - critical) * np.asarray(sizes, float)[:, None] ** exponent)


@pytest.mark.slow
def test_curves_cross_where_they_were_made_to():
    """Times fall from 3 to 1; samples scatter by 0.2, so that the curves' difference is sure only away from 2."""
    rng, ts = np.random.default_rng(0), np.linspace(3.0, 1.0, 21)
    small, large = 1 - curves(ts, [4, 8], 2.0, 1.0)
    drawn = [jnp.asarray(curve + 0.2 * rng.normal(size=(100, 21)), FLOAT) for curve in (small, large)]
    found = size_crossing(ts, drawn[0], drawn[1], lambda mean: mean, key=jr.key(0), num_bootstrap=200)
    low, high = map(float, found.interval)
    assert low < 2.0 < high
    assert high - low < 0.2
    assert abs(float(found.location) - 2.0) < 0.1
    assert abs(float(found.height) - 0.5) < 0.1
    assert float(found.share) > 0.95
    assert "height=" in repr(found)
    for pair in (drawn[::-1], [drawn[0], drawn[0] - 0.1]):  # falls below, and stays below
        none = size_crossing(ts, pair[0], pair[1], lambda mean: mean, key=jr.key(0), num_bootstrap=50)
        assert np.all(np.isnan([none.location, none.height, *none.interval]))
        assert float(none.share) == 0
    assert repr(none) == "SizeCrossing(none: the curves do not cross beyond their errors)"


def test_the_cumulant_as_a_function_of_averages_is_that_of_finite_size():
    m = np.random.default_rng(2).normal(size=(50, 3))
    assert_close(
        binder(jnp.mean(moments(jnp.asarray(m, FLOAT), jnp.asarray(m**2, FLOAT)), axis=0)),
        1 - np.mean(m**4, 0) / 3 / np.mean(m**2, 0) ** 2,
        loosen=10,
    )


@pytest.mark.slow
def test_a_collapse_finds_the_exponents_that_data_were_made_with_and_says_so_when_there_are_none():
    rng, xs, sizes = np.random.default_rng(1), np.linspace(1.9, 2.1, 13), [8, 16, 32]
    scale = np.asarray(sizes)[:, None] ** 1.75
    errors = np.full((3, 13), 0.004)
    exact = curves(xs, sizes, 2.0, 1.0)
    noisy = exact + errors * rng.normal(size=errors.shape)
    key = {"key": jr.key(0), "num_bootstrap": 100, "height": None}
    found = data_collapse(xs, noisy * scale, errors * scale, sizes, **key)
    assert found.dof == 39 - 3 - 6
    assert abs(float(found.chi_squared_per_dof) - 1) < 4 * np.sqrt(2 / found.dof)
    assert_inside(found.critical_interval, found.critical, 2.0, 0.003)
    assert_inside(found.exponent_interval, found.exponent, 1.0, 0.1)
    assert_inside(found.height_interval, found.height, 1.75, 0.02)
    spread = 0.008**2 * np.exp(-np.abs(np.subtract.outer(np.arange(13), np.arange(13))) / 5)
    smooth = exact + rng.multivariate_normal(np.zeros(13), spread, 3)
    related = data_collapse(xs, smooth, np.broadcast_to(spread, (3, 13, 13)), sizes, **key)
    assert abs(float(related.chi_squared_per_dof) - 1) < 4 * np.sqrt(2 / related.dof)
    assert_inside(related.exponent_interval, related.exponent, 1.0, 0.2)
    assert_inside(related.height_interval, related.height, 0.0, 0.1)
    apart = data_collapse(xs, noisy + 0.05 * np.arange(3)[:, None] * (xs > 2), errors, sizes, **key)
    assert float(apart.chi_squared_per_dof) > 3


@pytest.mark.slow
def test_scaling_in_a_rate_has_its_exponent():
    """f(rate / L^3.17): lengths over L that grow as a power of the rate until the lattice is full."""
    rng, rates, sizes = np.random.default_rng(3), np.geomspace(1, 256, 9), np.asarray([16, 32, 64])
    full = 1 / (1 + (rates / (sizes[:, None] / 8.0) ** 3.17) ** -0.315)
    errors = 0.02 * full
    noisy = full + errors * rng.normal(size=errors.shape)
    found = data_collapse(
        rates, noisy, errors, sizes, key=jr.key(0), critical=0.0, logarithmic=True, degree=4, num_bootstrap=100
    )
    assert abs(float(found.chi_squared_per_dof) - 1) < 4 * np.sqrt(2 / found.dof)
    assert_inside(found.exponent_interval, found.exponent, -3.17, 1.0)
    assert np.all(np.isnan(found.critical_interval))


def test_constant_curves_have_no_critical_point():
    xs, ones = np.linspace(0.9, 1.1, 9), np.ones((2, 9))
    found = data_collapse(xs, 0.5 * ones, 0.01 * ones, [8, 16], key=jr.key(0), num_bootstrap=4)
    assert np.isnan([found.critical, found.exponent, *found.critical_interval, *found.exponent_interval]).all()


def assert_inside(interval, value, exact, within):
    """The interval, widened by half, holds the exact value; the value is near it."""
    low, high = map(float, interval)
    middle, half = 0.5 * (low + high), 0.75 * (high - low)
    assert middle - half < exact < middle + half
    assert low < float(value) < high
    assert abs(float(value) - exact) < within


def test_a_power_law_is_that_of_scipy_and_a_bent_one_says_so():
    rng, xs = np.random.default_rng(4), np.geomspace(1, 64, 7)
    errors = 0.03 * xs**0.3 * (1 + np.arange(7) / 7)
    ys = 2 * xs**0.3 + errors * rng.normal(size=7)
    found = power_law(xs, ys, errors)
    line, covariance = curve_fit(lambda x, a, b: a + b * x, np.log(xs), np.log(ys), sigma=errors / ys)
    _, absolute = curve_fit(lambda x, a, b: a + b * x, np.log(xs), np.log(ys), sigma=errors / ys, absolute_sigma=True)
    np.testing.assert_allclose([found.amplitude, found.exponent], [np.exp(line[0]), line[1]], rtol=1e-4)
    widest = np.sqrt(max(covariance[1, 1], absolute[1, 1]))
    np.testing.assert_allclose(found.standard_error, widest, rtol=1e-3)
    np.testing.assert_allclose(found.chi_squared_per_dof, covariance[1, 1] / absolute[1, 1], rtol=1e-3)
    assert float(power_law(xs, 1 + xs, 0.01 * xs).chi_squared_per_dof) > 100
    assert np.isnan(power_law(xs[:2], xs[:2], errors[:2]).chi_squared_per_dof)


def test_nonsense_is_refused(without_type_checks):
    ones = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"must both be \(samples, \.\.\.\)"):
        sj.finite_size(ones, ones[:2], 8)
    with pytest.raises(ValueError, match="side must be at least 2"):
        sj.finite_size(ones, ones, 1)
    with pytest.raises(ValueError, match="number of samples, 1, got 1"):
        sj.finite_size(ones[:1], ones[:1], 8)
    with pytest.raises(ValueError, match=r"from 3 to side // 2 \+ 1 = 5 modes last, got 6"):
        structure_length(np.ones((4, 6)), 8)
    with pytest.raises(ValueError, match="points = 3"):
        size_crossing([3.0, 2.0, 1.0], ones[:, :2], ones, lambda mean: mean, key=jr.key(0))
    with pytest.raises(ValueError, match="xs must rise or fall strictly"):
        size_crossing([3.0, 1.0, 2.0], ones, ones, lambda mean: mean, key=jr.key(0))
    with pytest.raises(ValueError, match=r"at least two different sizes, got \[8.0, 8.0\]"):
        data_collapse([3.0, 2.0, 1.0], ones[:2], ones[:2], [8, 8], key=jr.key(0))
    with pytest.raises(ValueError, match="errors must be positive"):
        data_collapse([3.0, 2.0, 1.0], ones, 0 * ones, [1, 2, 3, 4], key=jr.key(0))
    with pytest.raises(ValueError, match="12 points are too few for 12 parameters"):
        data_collapse([3.0, 2.0, 1.0], ones, ones, [1, 2, 3, 4], key=jr.key(0), degree=9)
    with pytest.raises(ValueError, match="logarithmic needs a known critical value"):
        data_collapse([3.0, 2.0, 1.0], ones, ones, [1, 2, 3, 4], key=jr.key(0), logarithmic=True)
    with pytest.raises(ValueError, match="ys must be positive"):
        power_law([1.0, 2.0], [0.0, 1.0], [1.0, 1.0])
