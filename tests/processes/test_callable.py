import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, tolerance
from scipy.integrate import quad
from scipy.optimize import root_scalar

import softjax as sj
from softjax.processes import CallableSchedule

pytestmark = pytest.mark.float32


def bumpy(t):
    return 0.3 + jnp.sin(2 * t) ** 2 + 0.1 * t


def linear(t):
    return 0.1 + 19.9 * t


@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.7, 5.0])
def test_integral_is_that_of_the_rate(t):
    exact, _ = quad(lambda u: 0.3 + np.sin(2 * u) ** 2 + 0.1 * u, 0, t, epsabs=0, epsrel=1e-13)
    np.testing.assert_allclose(CallableSchedule(bumpy).integral(t), exact, rtol=tolerance())


@pytest.mark.parametrize("scale", ["alpha", "sigma", "beta", "damping", "noise_to_signal"])
def test_a_known_rate_gives_the_known_process(scale):
    ts = jnp.asarray([1e-5, 1e-3, 0.1, 0.9], FLOAT)
    given, known = sj.VP(beta=linear), sj.VP.linear()
    assert_close(jax.vmap(getattr(given, scale))(ts), jax.vmap(getattr(known, scale))(ts))


def test_cosine_rate_up_to_its_steep_end():
    known = sj.VP.cosine()
    given = sj.VP(CallableSchedule(known.schedule.rate, 0.99))
    ts = jnp.asarray([1e-4, 0.3, 0.95, 0.985], FLOAT)
    np.testing.assert_allclose(jax.vmap(given.sigma)(ts), jax.vmap(known.sigma)(ts), rtol=max(1e-9, tolerance()))


@pytest.mark.parametrize("t", [1e-5, 0.02, 1.0, 4.0])
def test_inverse_finds_the_time(t):
    schedule = CallableSchedule(bumpy, 6.0)
    np.testing.assert_allclose(schedule.inverse(schedule.integral(jnp.asarray(t, FLOAT))), t, rtol=tolerance())


def test_inverse_ends_at_t_max():
    schedule = CallableSchedule(bumpy, 3.0)
    end = schedule.integral(jnp.asarray(3.0, FLOAT))
    np.testing.assert_allclose(schedule.inverse(end), 3.0, rtol=tolerance())
    assert np.isnan(schedule.inverse(1.01 * end))


def test_critical_time_of_any_rate():
    t_c = sj.theory.critical_time(sj.VP(beta=bumpy), 9)
    solution = root_scalar(lambda t: quad(lambda u: float(bumpy(u)), 0, t)[0] - np.arcsinh(9), bracket=(0.1, 19))
    np.testing.assert_allclose(t_c, solution.root, rtol=1e-8 if X64 else 1e-5)


class Power(eqx.Module):
    scale: jax.Array

    def __call__(self, t):
        return self.scale * (1 + t)


def test_gradients_reach_the_rate_and_new_arrays_do_not_retrace():
    traces = []

    @eqx.filter_jit
    def critical(rate):
        traces.append(rate)
        return sj.theory.critical_time(sj.VP(CallableSchedule(rate, jnp.asarray(9.0, FLOAT))), 9)

    rate = Power(jnp.asarray(0.8, FLOAT))
    gradient = eqx.filter_grad(critical)(rate).scale
    t_c = float(critical(rate))
    # scale (t + t^2/2) is fixed: dt/dscale = -(t + t^2/2) / (scale (1 + t))
    np.testing.assert_allclose(gradient, -(t_c + 0.5 * t_c**2) / (0.8 * (1 + t_c)), rtol=100 * tolerance())
    critical(Power(jnp.asarray(0.9, FLOAT)))
    assert len(traces) == 1


def test_trajectory_of_a_given_rate():
    field = sj.GaussianField(jnp.ones((8,)), sj.VP(beta=linear))
    known = sj.GaussianField(jnp.ones((8,)), sj.VP.linear())
    ts, key = sj.log_grid(1.0, 1e-3, 50), jax.random.key(0)
    ends = [sj.simulate(f, ts, shape=(8,), key=key).x for f in (field, known)]
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (lambda t: t - 1, "positive and finite on"),
        (lambda t: 1 / (t - t), "positive and finite on"),
        (lambda t: jnp.ones(2), "one number for one time"),
    ],
)
def test_bad_rates_are_refused(rate, message):
    with pytest.raises(ValueError, match=message):
        sj.VP(beta=rate)


def test_range_must_be_positive():
    with pytest.raises(ValueError, match="t_max must be positive"):
        CallableSchedule(bumpy, -1.0)
