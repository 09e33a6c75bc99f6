"""What every process keeps to, those of softjax and one that a user wrote: scales, clocks, limits, closed forms."""

# pyright: reportIncompatibleMethodOverride=false, reportArgumentType=false

import json

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, needs_x64

import softjax as sj
from softjax.processes import describe, from_description
from softjax.theory import (
    critical_time,
    dictionary_critical_time,
    flow_growth_rate,
    patch_spectrum,
    two_pattern_eigenvalues,
)

SHAPE = (5, 6)
LINEAR = np.cumprod(1 - np.linspace(1e-4, 0.2, 60))


class Written(sj.AbstractProcess):
    """A user's process: signal 1 / (1 + t), noise t / 2, in the barest form."""

    def alpha(self, t):
        return 1 / (1 + t)

    def sigma(self, t):
        return t / 2

    def damping(self, t):
        return 1 / (1 + t)

    def beta(self, t):
        return t / 2 + t**2 / (2 * (1 + t))

    def drift_weight(self, t):
        return self.beta(t)

    def prior_scale(self, t):
        return jnp.hypot(self.alpha(t), self.sigma(t))

    def from_noise_to_signal(self, ratio):
        return (jnp.sqrt(1 + 8 * ratio) - 1) / 2


PROCESSES = {
    "VP": (sj.VP(1.3), (0.01, 5.0)),
    "linear": (sj.VP.linear(0.1, 20.0), (0.01, 0.9)),
    "cosine": (sj.VP.cosine(), (0.01, 0.9)),
    "function": (sj.VP(lambda t: 0.5 + t**2), (0.01, 3.0)),
    "EDM": (sj.EDM(), (0.01, 20.0)),
    "flow": (sj.RectifiedFlow(), (0.01, 0.95)),
    "table": (sj.DiscreteVP(LINEAR), (0.5, 58.5)),
    "table-unit": (sj.DiscreteVP(LINEAR, "unit"), (0.01, 0.99)),
    "written": (Written(), (0.01, 8.0)),
}
CONTRACT = pytest.mark.parametrize("name", PROCESSES)


def times(name, num=7):
    low, high = PROCESSES[name][1]
    return jnp.asarray(np.geomspace(low, high, num), FLOAT)


def derivative(function, t):
    return jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


@CONTRACT
@pytest.mark.float32
def test_scales_follow_from_damping_and_noise_rate(name):
    process = PROCESSES[name][0]
    for t in times(name):
        alpha, variance = process.alpha(t), process.sigma(t) ** 2
        np.testing.assert_allclose(derivative(process.alpha, t), -process.damping(t) * alpha, rtol=2e-4)
        growth = derivative(lambda t: process.sigma(t) ** 2, t)
        scale = float(process.beta(t))
        np.testing.assert_allclose(growth, process.beta(t) - 2 * process.damping(t) * variance, atol=2e-4 * scale)


@CONTRACT
@pytest.mark.float32
def test_clocks_are_inverses(name):
    process, (low, _) = PROCESSES[name]
    for t in times(name):
        assert_close(process.from_noise_to_signal(process.noise_to_signal(t)), t, 200)
        assert_close(process.from_log_snr(process.log_snr(t)), t, 200)
    assert process.noise_to_signal(low) > 0


@CONTRACT
def test_a_time_is_the_same_in_every_form(name):
    process, (low, high) = PROCESSES[name]
    t = next((n for n in (1, 2) if low <= n <= high), None)
    if t is None:
        pytest.skip("its range holds no integer")
    for method in ("alpha", "sigma", "beta", "damping", "drift_weight", "prior_scale", "noise_to_signal", "log_snr"):
        wanted = getattr(process, method)(float(t))
        for form in (t, np.int64(t), np.uint8(t), jnp.asarray(t), np.float32(t)):
            np.testing.assert_allclose(np.ravel(getattr(process, method)(form)), np.ravel(wanted), rtol=1e-6)


@CONTRACT
@pytest.mark.parametrize("t", [-1.0, np.nan, "1", None, 1j])
def test_times_that_are_none_are_refused(name, t):
    with pytest.raises(ValueError, match="t must"):
        PROCESSES[name][0].alpha(t)


@pytest.mark.parametrize("name", ["cosine", "flow", "table", "table-unit"])
def test_times_beyond_the_range_are_refused(name):
    process, (_, high) = PROCESSES[name]
    beyond = 2 * high
    with pytest.raises(ValueError, match="outside the range"):
        process.sigma(beyond)
    field = sj.GaussianField(np.ones(SHAPE), process)
    with pytest.raises(ValueError, match=r"no signal is left at ts\[0\]"):
        sj.simulate(field, [beyond, 0.5 * high], key=jr.key(0), shape=SHAPE)


@pytest.mark.parametrize("name", ["cosine", "flow"])
def test_trajectories_start_strictly_below_the_end(name):
    field = sj.GaussianField(np.ones(SHAPE), PROCESSES[name][0])
    with pytest.raises(ValueError, match=r"no signal is left at ts\[0\] = 1"):
        sj.simulate(field, [1, 0.5], key=jr.key(0), shape=SHAPE)


@CONTRACT
@needs_x64
def test_the_flow_keeps_gaussian_data_on_their_marginals(name):
    process, spectrum = PROCESSES[name][0], 2.5
    field = sj.GaussianField(np.full(SHAPE, spectrum), process)
    ts, x0 = times(name, 400)[::-1], np.ones(SHAPE)
    end = sj.simulate(field, ts, key=jr.key(0), x0=x0, kind="flow", solver=dfx.Heun()).x
    scales = [np.sqrt(process.alpha(t) ** 2 * spectrum + process.sigma(t) ** 2) for t in (ts[0], ts[-1])]
    np.testing.assert_allclose(end, x0 * scales[1] / scales[0], rtol=3e-3)


@CONTRACT
@pytest.mark.optimised
def test_the_reverse_sde_ends_in_the_marginal_of_gaussian_data(name):
    process, spectrum = PROCESSES[name][0], 2.5
    field = sj.GaussianField(np.full((8, 8), spectrum), process)
    ts, num = times(name, 400)[::-1], 256
    start = np.sqrt(process.alpha(ts[0]) ** 2 * spectrum + process.sigma(ts[0]) ** 2)
    x0 = start * jr.normal(jr.key(1), (num, 8, 8), FLOAT)
    end = sj.simulate_ensemble(field, ts, key=jr.key(0), num=num, x0=x0, engine="scan").x
    wanted = process.alpha(ts[-1]) ** 2 * spectrum + process.sigma(ts[-1]) ** 2
    assert abs(float(jnp.mean(end**2) / wanted) - 1) < 4 * np.sqrt(2 / x0.size) + 0.02  # Euler's own error at 400 steps


@CONTRACT
@needs_x64
def test_closed_forms_are_eigenvalues_of_dense_jacobians(name):
    process = PROCESSES[name][0]
    field = sj.PatchField(sj.PatchDictionary.two_pattern(3), process)
    pair = sj.EmpiricalField(np.stack([np.ones(SHAPE), -np.ones(SHAPE)]), process)
    uniform, sites = np.ones(30) / np.sqrt(30), 30

    @jax.jit
    def jacobians(t):
        drifts = ((field, sj.reverse_drift), (field, sj.flow_drift), (pair, sj.reverse_drift))
        zero = jnp.zeros(30, FLOAT)
        return [jax.jacfwd(lambda x, f=f, d=d: d(f, t, x.reshape(SHAPE)).ravel())(zero) for f, d in drifts]

    for t in times(name, 4):
        dense = jacobians(t)
        rates = [uniform @ np.asarray(j) @ uniform for j in dense]
        scale = float(process.beta(t) / process.sigma(t) ** 2)
        np.testing.assert_allclose(patch_spectrum(process, t, 3, SHAPE)[0, 0], rates[0], rtol=1e-9, atol=1e-9 * scale)
        np.testing.assert_allclose(flow_growth_rate(process, t, 9), rates[1], rtol=1e-9, atol=1e-9 * scale)
        along = two_pattern_eigenvalues(process, t, sites)[1]
        np.testing.assert_allclose(along, rates[2], rtol=1e-9, atol=1e-9 * scale)


@CONTRACT
@needs_x64
def test_the_critical_time_is_the_zero_of_its_own_spectrum(name):
    process = PROCESSES[name][0]
    t = critical_time(process, 9)
    around = [float(patch_spectrum(process, s * t, 3, SHAPE)[0, 0]) for s in (0.999, 1, 1.001)]
    assert around[0] > 0 > around[2]
    assert abs(around[1]) < 1e-9 * (around[0] - around[2]) * 1e3
    assert_close(dictionary_critical_time(sj.PatchDictionary.two_pattern(3), process, SHAPE), t, 1e5)


@needs_x64
def test_a_straight_line_has_the_critical_time_of_its_own_drift():
    # The root of t^3 - 2 t^2 + 18 (1 - t)^2, from the damping 1 / (1 - t) and the noise rate 2 t / (1 - t).
    roots = np.roots([1, 16, -36, 18])
    wanted = max(r.real for r in roots if abs(r.imag) < 1e-12 and 0 < r.real < 1)
    np.testing.assert_allclose(critical_time(sj.RectifiedFlow(), 9), wanted, rtol=1e-12)
    assert abs(wanted - 0.794) < 5e-4


@needs_x64
def test_a_mode_that_grows_at_all_times_has_no_critical_time():
    class Flow(Written):
        """The flow of the same process, whose uniform mode never turns stable if the noise damps slowly enough."""

        def drift_weight(self, t):
            return 0.2 * self.beta(t)

    assert np.isinf(critical_time(Flow(), 9))


@pytest.mark.parametrize("clock", ["index", "unit"])
def test_a_table_is_exact_at_its_points(clock):
    process = sj.DiscreteVP(LINEAR, clock)
    ts = np.arange(60) if clock == "index" else (np.arange(60) + 1) / 60
    got = np.asarray([process.alpha(float(t)) ** 2 for t in ts])
    np.testing.assert_allclose(got, LINEAR, rtol=2e-6)
    small = np.asarray([process.sigma(t) ** 2 for t in ts[:3]])
    np.testing.assert_allclose(small, 1 - LINEAR[:3], rtol=2e-5)  # to the precision of the time, not of the table


def test_a_table_is_linear_in_its_logarithm_between_points():
    process = sj.DiscreteVP(LINEAR)
    np.testing.assert_allclose(process.alpha(10.5) ** 2, np.sqrt(LINEAR[10] * LINEAR[11]), rtol=2e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0.5, 0.9], "must decrease strictly"),
        ([0.9, 0.0], "between 1 and 0"),
        ([1.0, 0.5], "between 1 and 0"),
        ([0.9], r"shape \(N >= 2,\)"),
        ([[0.9, 0.5]], r"shape \(N >= 2,\)"),
        ([0.9, np.nan], "alphas_cumprod must be finite"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_other_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        sj.DiscreteVP(table)


def test_a_network_of_a_rectified_flow_is_a_field():
    exact = sj.MixtureField(np.stack([np.ones(SHAPE), -np.ones(SHAPE)]), sj.RectifiedFlow())
    x = jr.normal(jr.key(0), SHAPE, FLOAT)

    def velocity(t, x):
        clean = exact.denoise(t, x)
        return (x - (1 - t) * clean) / t - clean

    field = sj.NetworkField(velocity, sj.RectifiedFlow(), "flow")
    assert_close(field.denoise(0.3, x), exact.denoise(0.3, x), 10)
    assert_close(field.score(0.3, x), exact.score(0.3, x), 40)


@pytest.mark.parametrize("process", [sj.EDM(0.25), sj.VP(1.5), sj.RectifiedFlow()], ids=["EDM", "VP", "flow"])
def test_a_process_is_made_again_from_its_description(process):
    again = from_description(json.loads(json.dumps(describe(process))))
    assert describe(again) == describe(process)
    np.testing.assert_array_equal(again.sigma(0.5), process.sigma(0.5))
