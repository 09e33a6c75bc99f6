import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close, tolerance

import softjax as sj
from softjax.processes import ConstantSchedule

pytestmark = pytest.mark.float32

VP_PROCESSES = {
    "constant": (sj.VP(beta=1.3), (1e-3, 6.0)),
    "linear": (sj.VP.linear(beta_min=0.1, beta_max=20.0, t_max=1.0), (1e-4, 1.0)),
    "linear-falling": (sj.VP.linear(beta_min=3.0, beta_max=0.5, t_max=4.0), (1e-3, 4.0)),
    "cosine": (sj.VP.cosine(), (1e-4, 0.99)),
}
PROCESSES = VP_PROCESSES | {"edm": (sj.EDM(), (0.002, 80.0))}


def times(span, num=33):
    return jnp.asarray(np.geomspace(span[0], span[1], num), FLOAT)


def gauss_legendre(f, t, num=60):
    """Integral of f from 0 to t."""
    nodes, weights = np.polynomial.legendre.leggauss(num)
    values = np.asarray(jax.vmap(f)(jnp.asarray(0.5 * t * (nodes + 1), FLOAT)), float)
    return 0.5 * t * np.sum(weights * values)


@pytest.mark.parametrize("name", VP_PROCESSES)
def test_vp_preserves_unit_variance(name):
    process, span = VP_PROCESSES[name]
    ts = times(span)
    assert_close(jax.vmap(process.alpha)(ts) ** 2 + jax.vmap(process.sigma)(ts) ** 2, np.ones(33))


@pytest.mark.parametrize("name", VP_PROCESSES)
def test_float32_variance_is_precise_at_small_times(name):
    process, _ = VP_PROCESSES[name]
    t = jnp.asarray(1e-3, jnp.float32)
    variance = process.sigma(t) ** 2
    exact_t = float(t)
    integral = {
        "constant": 1.3 * exact_t,
        "linear": 0.1 * exact_t + 0.5 * 19.9 * exact_t**2,
        "linear-falling": 3 * exact_t - 0.5 * 0.625 * exact_t**2,
        "cosine": -2 * np.log(np.cos((exact_t + 0.008) / 1.008 * np.pi / 2) / np.cos(0.008 / 1.008 * np.pi / 2)),
    }[name]
    series = integral - integral**2 / 2 + integral**3 / 6 - integral**4 / 24
    assert variance.dtype == jnp.float32
    np.testing.assert_allclose(float(variance), series, rtol=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_damping_is_the_decay_rate_of_the_signal(name):
    process, (_, t_max) = PROCESSES[name]
    t = 0.8 * t_max
    assert_close(process.alpha(t), np.exp(-gauss_legendre(process.damping, t)), loosen=4)


@pytest.mark.parametrize("name", PROCESSES)
def test_noise_rate_accumulates_to_the_variance(name):
    process, (_, t_max) = PROCESSES[name]
    t = 0.5 * t_max
    alpha = process.alpha(t)
    variance = gauss_legendre(lambda s: process.beta(s) * (alpha / process.alpha(s)) ** 2, t)
    assert_close(process.sigma(t) ** 2, variance, loosen=4)


@pytest.mark.parametrize("name", VP_PROCESSES)
def test_vp_rate_is_the_derivative_of_its_integral(name):
    process, (_, t_max) = VP_PROCESSES[name]
    for t in (0.01 * t_max, 0.3 * t_max, 0.9 * t_max):
        assert_close(process.schedule.integral(t), gauss_legendre(process.schedule.rate, t), loosen=4)


@pytest.mark.parametrize("name", PROCESSES)
def test_clocks_are_inverses(name):
    process, span = PROCESSES[name]
    ts = times(span)
    ratios = jax.vmap(process.noise_to_signal)(ts)
    log_snr = jax.vmap(process.log_snr)(ts)
    np.testing.assert_allclose(jax.vmap(process.from_noise_to_signal)(ratios), ts, rtol=tolerance())
    # Rounding of the logarithm, of size up to 20, is multiplied by it.
    np.testing.assert_allclose(jax.vmap(process.from_log_snr)(log_snr), ts, rtol=2 * tolerance())


@pytest.mark.parametrize("name", PROCESSES)
def test_clocks_mean_what_they_say(name):
    process, span = PROCESSES[name]
    t = float(np.sqrt(span[0] * span[1]))
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    assert_close(process.noise_to_signal(t), sigma / alpha)
    assert_close(process.log_snr(t), np.log(alpha**2 / sigma**2))


def test_cosine_signal_is_a_cosine():
    ts = np.linspace(0.0, 0.95, 20)
    angle = (ts + 0.008) / 1.008 * np.pi / 2
    alpha = jax.vmap(sj.VP.cosine().alpha)(jnp.asarray(ts, FLOAT))
    assert_close(alpha, np.cos(angle) / np.cos(angle[0]))


def test_edm_time_is_the_noise_level():
    process = sj.EDM(sigma_data=0.5)
    assert process.sigma(3.0) == 3.0
    assert process.alpha(3.0) == 1.0
    assert process.prior_scale(3.0) == 3.0
    assert process.damping(3.0) == 0.0


def test_edm_probes_the_flow_and_vp_the_sde():
    edm, vp = sj.EDM(), sj.VP(beta=2.0)
    assert edm.drift_weight(3.0) == 0.5 * edm.beta(3.0)
    assert vp.drift_weight(3.0) == vp.beta(3.0)


def test_any_schedule_may_be_given_as_beta():
    assert_close(sj.VP(ConstantSchedule(0.7)).sigma(2.0), sj.VP(beta=0.7).sigma(2.0))


def test_new_times_and_rates_do_not_retrace():
    traces = []

    @eqx.filter_jit
    def sigma(process, t):
        traces.append(t)
        return process.sigma(t)

    sigma(sj.VP(beta=1.0), jnp.asarray(0.5))
    assert_close(sigma(sj.VP(beta=3.0), jnp.asarray(0.25)), np.sqrt(1 - np.exp(-0.75)))
    assert len(traces) == 1


@pytest.mark.parametrize("dtype", ["float32", str(jnp.dtype(FLOAT))])
@pytest.mark.parametrize("name", PROCESSES)
def test_dtype_of_the_time_is_kept(name, dtype):
    process, _ = PROCESSES[name]
    t = jnp.asarray(0.3, dtype)
    for clock in (process.alpha, process.sigma, process.beta, process.noise_to_signal, process.from_noise_to_signal):
        assert clock(t).dtype == dtype


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan")])
def test_rate_must_be_positive_and_finite(beta):
    with pytest.raises(ValueError, match="beta must be (positive|finite), got"):
        sj.VP(beta=beta)


@pytest.mark.parametrize("arguments", [(0.0, 1.0), (1.0, -1.0), (1.0, 2.0, 0.0)])
def test_linear_schedule_refuses_what_is_not_positive(arguments):
    with pytest.raises(ValueError, match="must be (positive|finite)"):
        sj.VP.linear(*arguments)


@pytest.mark.parametrize("offset", [0.0, 1.0, -0.1])
def test_cosine_offset_must_be_a_fraction(offset):
    with pytest.raises(ValueError, match="offset must lie between 0 and 1"):
        sj.VP.cosine(offset)


def test_sigma_data_must_be_positive():
    with pytest.raises(ValueError, match="sigma_data must be positive, got 0"):
        sj.EDM(sigma_data=0.0)
