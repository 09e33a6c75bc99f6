import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, convergence_order, needs_x64, within_standard_errors
from scipy.integrate import solve_ivp

import softjax as sj
from softjax.dynamics import LandauCoefficients, simulate_landau
from softjax.dynamics._landau import _ornstein_uhlenbeck

SHAPE = (8, 6)


def spectrum_of(run, keys):
    return np.asarray(jax.jit(jax.vmap(lambda key: sj.structure_factor(run(key).x)))(keys))


def exact_spectrum(c, time, start=1.0, shape=SHAPE):
    k = 2 * np.pi * np.indices(shape) / np.reshape(shape, (2, 1, 1))
    stiffness = np.reshape(np.broadcast_to(np.asarray(c.stiffness, float), 2), (2, 1, 1))
    rate = 2 * (float(c.mass) - np.sum(stiffness * 4 * np.sin(k / 2) ** 2, axis=0))
    return start * np.exp(rate * time) + float(c.noise) * np.expm1(rate * time) / rate


@pytest.mark.float32
@pytest.mark.parametrize("num_steps", [1, 2, 7])
@pytest.mark.parametrize("stiffness", [0.3, (0.2, 0.9)])
def test_linear_theory_has_its_structure_factor_for_any_step(num_steps, stiffness):
    c = LandauCoefficients(-0.4, jnp.asarray(stiffness, FLOAT), 0.0, 1.5)
    ts = jnp.linspace(3.0, 1.0, num_steps + 1)
    samples = spectrum_of(lambda key: simulate_landau(c, ts, shape=SHAPE, key=key), jr.split(jr.key(0), 4000))
    error = np.std(samples, axis=0) / np.sqrt(4000)
    assert within_standard_errors(np.mean(samples, axis=0), exact_spectrum(c, 2.0), error, k=4.5)


@pytest.mark.float32
def test_stationary_free_field_has_the_ornstein_zernike_form():
    c = LandauCoefficients(-0.5, 2.0, 0.0, 1.0)
    ts = jnp.asarray([50.0, 0.0], FLOAT)
    samples = spectrum_of(lambda key: simulate_landau(c, ts, shape=SHAPE, key=key), jr.split(jr.key(1), 4000))
    expected = np.asarray(sj.spectral.free_field_spectrum(SHAPE, 1.0, 4.0))
    assert within_standard_errors(np.mean(samples, 0), expected, np.std(samples, 0) / np.sqrt(4000), k=4.5)


def step_spectrum(model, ts, shape=SHAPE):
    """The structure factor that the steps of a linear theory give, starting from 1, without sampling."""
    s = np.ones((shape[0], shape[1] // 2 + 1))
    nodes = 0.5 * np.polynomial.legendre.leggauss(4)[0]
    for t, t_next in zip(ts[:-1], ts[1:], strict=True):
        h = t - t_next
        growth, variance = _ornstein_uhlenbeck([model(t - h * (0.5 + c)) for c in nodes.tolist()], h, shape)
        s = np.exp(2 * np.asarray(growth)) * s + np.asarray(variance)
    return s


@pytest.mark.slow
@needs_x64
def test_coefficients_of_a_process_are_followed_in_time():
    model = sj.theory.LandauModel(sj.VP(), 3)
    k = 2 * np.pi * np.indices(SHAPE) / np.reshape(SHAPE, (2, 1, 1))
    k2 = np.sum(4 * np.sin(k / 2) ** 2, axis=0)[:, : SHAPE[1] // 2 + 1]

    def change(tau, s):
        c = model(jnp.asarray(6.0 - tau))
        return 2 * (float(c.mass) - float(c.stiffness) * k2.ravel()) * s + float(c.noise)

    exact = solve_ivp(change, (0, 4.0), np.ones(k2.size), rtol=1e-9, atol=1e-10).y[:, -1].reshape(k2.shape)
    errors = [np.max(np.abs(step_spectrum(model, jnp.linspace(6.0, 2.0, n + 1)) / exact - 1)) for n in (10, 20, 40, 80)]
    assert errors[-1] < 1e-4
    assert 1.8 < convergence_order([1 / n for n in (10, 20, 40, 80)], errors) < 2.3


@needs_x64
@pytest.mark.parametrize("stiffness", [0.0, 0.7])
def test_noiseless_steps_are_of_second_order(stiffness):
    c = LandauCoefficients(1.0, stiffness, 2.0, 0.0)
    x0 = 0.5 * jr.normal(jr.key(2), (8, 8))
    ends = {n: simulate_landau(c, jnp.linspace(2.0, 0.0, n + 1), x0=x0, key=jr.key(0)).x for n in (8, 16, 32, 64, 4096)}
    if stiffness == 0:  # every site by itself
        exact = x0 * jnp.exp(2.0) / jnp.sqrt(1 + 2 * x0**2 * jnp.expm1(4.0))
        np.testing.assert_allclose(ends[4096], exact, rtol=1e-6)
    errors = [float(jnp.max(jnp.abs(ends[n] - ends[4096]))) for n in (8, 16, 32, 64)]
    assert 1.8 < convergence_order([1 / n for n in (8, 16, 32, 64)], errors) < 2.2


@pytest.mark.float32
def test_equilibrium_of_the_double_well():
    # One site: the density is exp(2 (r x^2 / 2 - u x^4 / 4) / noise).
    c = LandauCoefficients(1.0, 0.0, 1.0, 0.5)
    x = simulate_landau(c, jnp.linspace(20.0, 0.0, 401), shape=(64, 64), key=jr.key(0)).x
    grid = np.linspace(-4, 4, 4001)
    weight = np.exp(4 * (grid**2 / 2 - grid**4 / 4))
    expected = np.sum(grid**2 * weight) / np.sum(weight)
    assert within_standard_errors(jnp.mean(x**2), expected, np.std(np.asarray(x) ** 2) / 64)


@pytest.mark.float32
def test_huge_steps_do_not_diverge():
    c = LandauCoefficients(1.0, 1.0, 1e4, 1.0)
    x = simulate_landau(c, jnp.linspace(100.0, 0.0, 11), shape=(16, 16), key=jr.key(0)).x
    assert np.max(np.abs(x)) < 1


@pytest.mark.float32
def test_observation_batches_and_keys():
    c, ts = LandauCoefficients(0.5, 1.0, 1.0, 0.1), jnp.linspace(2.0, 0.0, 6)
    one = simulate_landau(c, ts, shape=(4, 4), key=jr.key(3), observe=lambda t, x: (t, jnp.mean(x)))
    assert_close(one.observed[0], np.asarray(ts))
    assert one.x.dtype == FLOAT
    assert_close(one.observed[1][-1], np.asarray(jnp.mean(one.x)))
    batch = jax.vmap(lambda key: simulate_landau(c, ts, shape=(4, 4), key=key).x)(jr.split(jr.key(3), 2))
    alone = simulate_landau(c, ts, shape=(4, 4), key=jr.split(jr.key(3), 2)[1]).x
    assert_close(batch[1], np.asarray(alone), loosen=10)


@pytest.mark.parametrize("with_hartree", [False, True])
def test_a_state_keeps_its_precision(with_hartree):
    ts = sj.log_grid(8.0, 1.0, 10)
    model = sj.theory.LandauModel(
        sj.VP(), 3, hartree=sj.theory.hartree(sj.VP(), ts, 3, (4, 4)) if with_hartree else None
    )
    x0 = jr.normal(jr.key(0), (4, 4), jnp.float32)
    assert simulate_landau(model, ts, x0=x0, key=jr.key(1)).x.dtype == jnp.float32


@pytest.mark.float32
def test_gradient_flows_through_the_trajectory():
    def end(mass):
        c = LandauCoefficients(mass, 1.0, 1.0, 0.1)
        return jnp.mean(simulate_landau(c, jnp.linspace(1.0, 0.0, 5), shape=(4, 4), key=jr.key(0)).x ** 2)

    h = 1e-4 if X64 else 1e-2
    difference = (end(0.3 + h) - end(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(end)(0.3), difference, rtol=1e-5 if X64 else 1e-2)


def half_height_length(x):
    """Distance at which the correlation of the signs falls to one half, in sites."""
    profile = sj.radial_average(sj.correlation_function(sj.binarize(x)))
    i = jnp.argmax(profile < 0.5)
    return (i - 1).astype(profile.dtype) + (profile[i - 1] - 0.5) / (profile[i - 1] - profile[i])


def growth_exponent(tau, lengths):
    """Exponent of the length, past the offset that the first, linear stage leaves in its square."""
    squared = np.mean(lengths, axis=0) ** 2
    start, late = np.argmin(np.abs(tau - 20)), tau >= 50
    excess = np.log(squared[late] - squared[start])
    return 0.5 * np.polyfit(np.log(tau[late] - tau[start]), excess, 1)[0]


@pytest.mark.optimised
@pytest.mark.slow
def test_domains_of_a_deep_quench_grow_with_exponent_one_half():
    c, ts = LandauCoefficients(1.0, 1.0, 1.0, 0.0), jnp.linspace(200.0, 0.0, 201)
    run = jax.jit(
        jax.vmap(
            lambda key: (
                simulate_landau(c, ts, shape=(256, 256), key=key, observe=lambda t, x: half_height_length(x)).observed
            )
        )
    )
    lengths, tau = np.asarray(run(jr.split(jr.key(0), 16))), 200 - np.asarray(ts)
    draws = np.random.default_rng(0).integers(0, 16, (500, 16))
    interval = np.quantile([growth_exponent(tau, lengths[rows]) for rows in draws], [0.025, 0.975])
    assert interval[0] < 0.5 < interval[1]
    assert interval[1] - interval[0] < 0.1
    assert 4 * np.mean(lengths[:, 50]) < 128  # domains are small against the lattice


@pytest.mark.optimised
@pytest.mark.slow
def test_landau_theory_projected_on_the_patch_model_has_its_structure_factor():
    w, length = 3, 48
    cells, process, ts = length // w, sj.VP(), sj.log_grid(8.0, 1.2, 150)
    model = sj.theory.LandauModel(process, w, spacing=w, hartree=sj.theory.hartree(process, ts, w, (48, 48)))
    field = sj.PatchField(sj.PatchDictionary.two_pattern(w), process)
    x = sj.simulate_ensemble(field, ts, shape=(length, length), num=96, key=jr.key(0), chunk=32).x

    def one(key):
        key_start, key_noise = jr.split(key)
        x0 = jr.normal(key_start, (cells, cells)) / w
        return simulate_landau(model, ts, x0=x0, key=key_noise).x

    y = jax.jit(jax.vmap(one))(jr.split(jr.key(1), 96))
    low = (np.arange(4)[:, None] ** 2 + np.arange(4) ** 2 < 12) & (np.arange(4)[:, None] + np.arange(4) > 0)
    patch, landau = (
        np.asarray(jax.vmap(sj.structure_factor)(z))[:, :4, :4][:, low] * factor for z, factor in ((x, 1), (y, w * w))
    )
    assert abs(np.mean(landau) / np.mean(patch) - 1) < 0.15
    assert np.mean(patch) > 3  # far from white noise, of which S = 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either shape or x0"),
        ({"shape": (4, 4), "x0": jnp.ones((4, 4))}, "either shape or x0"),
        ({"x0": jnp.full((4, 4), jnp.nan)}, "finite"),
    ],
)
def test_bad_starts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_landau(LandauCoefficients(1.0, 1.0, 1.0, 1.0), jnp.linspace(1.0, 0.0, 3), key=jr.key(0), **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.0, -1.0, 1.0, 1.0), "stiffness must not be negative"),
        ((1.0, 1.0, -1.0, 1.0), "quartic must not be negative"),
        ((1.0, 1.0, 1.0, -1.0), "noise must not be negative"),
        ((1.0, np.ones(3), 1.0, 1.0), "one per axis"),
    ],
)
def test_bad_coefficients_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        simulate_landau(LandauCoefficients(*values), jnp.linspace(1.0, 0.0, 3), key=jr.key(0), shape=(4, 4))


def test_a_runaway_is_reported():
    with pytest.raises(FloatingPointError, match="not finite"):
        simulate_landau(LandauCoefficients(1e4, 1.0, 0.0, 1.0), jnp.linspace(9.0, 0.0, 3), key=jr.key(0), shape=(4, 4))
