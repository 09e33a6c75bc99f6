import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

LOG = sj.log_grid(10.0, 0.01, 200)
UNEVEN = jnp.asarray(np.exp(np.sort(np.random.default_rng(0).uniform(-3, 2, 150))[::-1]), FLOAT)
GRIDS = {"log": LOG, "uneven": UNEVEN, "linear": jnp.linspace(5.0, 0.1, 120, dtype=FLOAT)}


@pytest.mark.float32
@pytest.mark.parametrize("ts", GRIDS.values(), ids=GRIDS)
def test_a_constant_stays_and_has_no_slope(ts):
    values = jnp.full(ts.shape, 2.5, FLOAT)
    assert_close(sj.smooth(ts, values), values)
    # Differences of rounded values, over steps down to 1e-3 of log t.
    np.testing.assert_allclose(sj.log_derivative(ts, values), 0, atol=1e5 * float(jnp.finfo(FLOAT).eps))


@pytest.mark.float32
def test_log_t_keeps_its_value_and_slope_away_from_the_ends():
    inside = slice(30, -30)  # 10 bandwidths on a grid of 1/30 of a bandwidth
    values = 3 * jnp.log(LOG)
    assert_close(sj.smooth(LOG, values)[inside], values[inside], loosen=5)
    slope = sj.log_derivative(LOG, values)[inside]
    np.testing.assert_allclose(slope, 3, rtol=2000 * float(jnp.finfo(FLOAT).eps))  # differences over steps of 0.035


@pytest.mark.parametrize("ts", GRIDS.values(), ids=GRIDS)
def test_a_parabola_in_log_t_has_the_slope_of_second_order_differences(ts):
    # A bandwidth below the steps does not smooth: what is left is exact for parabolas, and one-sided at the ends.
    u = np.log(np.asarray(ts))
    slope = np.asarray(sj.log_derivative(ts, jnp.asarray(u**2), bandwidth=1e-5))
    loosen = 1e5 * float(jnp.finfo(FLOAT).eps) * 10
    np.testing.assert_allclose(slope[1:-1], 2 * u[1:-1], atol=loosen)
    np.testing.assert_allclose(slope[[0, -1]], [u[0] + u[1], u[-2] + u[-1]], atol=loosen)


@pytest.mark.parametrize("frequency", [1.0, 5.0])
def test_a_wave_in_log_t_is_damped_as_by_a_gaussian(frequency):
    bandwidth, u = 0.2, np.log(np.asarray(LOG))
    smoothed = sj.smooth(LOG, jnp.asarray(np.cos(frequency * u)), bandwidth)
    damped = np.exp(-0.5 * (frequency * bandwidth) ** 2) * np.cos(frequency * u)
    inside = slice(40, -40)  # seven bandwidths from the ends: the kernel's tail is 1e-11
    np.testing.assert_allclose(smoothed[inside], damped[inside], atol=1e-10 if np.float64 == FLOAT else 1e-5)


@pytest.mark.parametrize("ts", GRIDS.values(), ids=GRIDS)
def test_smoothed_values_stay_within_their_range_up_to_the_ends(ts):
    values = jr.uniform(jr.key(0), ts.shape, FLOAT)
    smoothed = sj.smooth(ts, values, 0.5)
    assert np.min(values) <= np.min(smoothed) < np.max(smoothed) <= np.max(values)
    assert np.std(smoothed) < 0.5 * np.std(values)


def test_batch_axes_come_first():
    values = jr.normal(jr.key(0), (2, 3, 201), FLOAT)
    for f in (sj.smooth, sj.log_derivative):
        out = f(LOG, values)
        assert out.shape == values.shape
        assert_close(out[1, 2], f(LOG, values[1, 2]), loosen=5)


@pytest.mark.parametrize("f", [sj.smooth, sj.log_derivative])
@pytest.mark.parametrize(
    ("ts", "bandwidth", "message"),
    [
        ([2.0, 1.0, 0.0], 0.1, "ts must be positive"),
        ([1.0, 2.0, 3.0], 0.1, "decrease strictly"),
        ([3.0, np.nan, 1.0], 0.1, "ts must be finite"),
        ([3.0, 2.0, 1.0], 0.0, "bandwidth must be positive, got 0.0"),
    ],
)
def test_bad_requests_are_refused(f, ts, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        f(jnp.asarray(ts, FLOAT), jnp.ones(3, FLOAT), bandwidth)
