"""Excess over the null, on responses whose lengths and peaks are known."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

TS = sj.log_grid(10.0, 0.1, 60)
WAVENUMBERS = jnp.arange(5, dtype=FLOAT) * 0.2


def responses(centres, height=2.0, softest=0.3):
    """(trajectories, times, shells) with an equilibrium length that is a parabola in log t about each centre."""
    lengths = height - 0.2 * (jnp.log(TS) - jnp.log(jnp.asarray(centres, FLOAT))[:, None]) ** 2
    return softest * (1 + lengths[..., None] ** 2 * WAVENUMBERS**2)


def compared(magnitudes, null, num_bootstrap=200, **options):
    return sj.excess(TS, magnitudes, null, WAVENUMBERS, key=jr.key(0), num_bootstrap=num_bootstrap, **options)


def test_shift_and_excess_are_those_that_were_put_in():
    found = compared(responses([2.0] * 5, height=3.0), responses([1.25])[0])
    assert float(found.shift) == pytest.approx(0.75, rel=1e-4)
    np.testing.assert_allclose(found.shift_interval, [0.75, 0.75], rtol=1e-4)
    assert not found.explained
    assert found.reason == ""
    np.testing.assert_allclose(found.null_length, 2.0 - 0.2 * np.log(np.asarray(TS) / 1.25) ** 2, rtol=2e-4)
    np.testing.assert_allclose(found.length - found.null_length, found.length_excess, atol=1e-5)
    assert found.length_interval.shape == (61, 2)
    assert found.response_interval.shape == (61, 5, 2)
    assert_close(found.response, responses([2.0], height=3.0)[0] - responses([1.25])[0], loosen=4)


def test_what_equals_its_null_is_explained():
    magnitudes = responses([1.0, 1.5, 2.0, 2.5])
    found = compared(magnitudes, magnitudes)
    assert found.explained
    assert float(found.shift) == 0
    for values in (found.response_interval, found.length_interval, found.shift_interval):
        np.testing.assert_array_equal(values, np.zeros_like(values))


def test_what_all_trajectories_share_with_their_null_drops_out():
    """Centres that differ by a factor between trajectories, the measured one always 0.5 higher in length."""
    centres = np.exp(np.random.default_rng(0).normal(0.5, 0.3, 15))
    null, magnitudes = responses(centres), responses(centres, height=2.5)
    paired, shared = compared(magnitudes, null), compared(magnitudes, responses([np.median(centres)])[0])
    assert float(np.ptp(paired.shift_interval)) < 1e-3 < 0.1 < float(np.ptp(shared.shift_interval))
    assert float(np.max(np.ptp(np.asarray(paired.length_interval), axis=1))) < 1e-3
    assert float(np.max(np.ptp(np.asarray(shared.length_interval), axis=1))) > 0.05


def test_points_and_intervals_are_those_of_critical_point_against_an_exact_null():
    magnitudes = responses(np.exp(np.random.default_rng(1).normal(0.5, 0.3, 12)))
    null, window = responses([1.4])[0], (0.3, 8.0)
    found = compared(magnitudes, null, window=window, confidence=0.9)
    lengths = sj.equilibrium_correlation_length(WAVENUMBERS, magnitudes).length
    alone = sj.critical_point(TS, lengths, key=jr.key(0), num_bootstrap=200, window=window, confidence=0.9)
    assert_close(found.point, alone)
    # Quantiles between two resamples are taken in t here, in log t there.
    np.testing.assert_allclose(found.shift_interval, alone.interval - found.null_point.location, rtol=1e-4)
    assert_close(found.length, np.median(lengths, axis=0))


def test_mean_responses_have_the_interval_of_their_standard_error():
    noise = jnp.asarray(np.random.default_rng(2).normal(size=(40, 61, 5)) * 0.01, FLOAT)
    found = compared(responses([2.0] * 40) + noise, responses([2.0])[0], num_bootstrap=2000)
    width = np.ptp(np.asarray(found.response_interval), axis=-1)
    wanted = 2 * 2.023 * np.std(np.asarray(noise), axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(np.mean(width / wanted), 1, atol=0.02)
    low, high = np.moveaxis(np.asarray(found.response_interval), -1, 0)
    assert abs(np.mean((low <= 0) & (high >= 0)) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 305)  # of 305 intervals


@pytest.mark.parametrize(("flat", "reason"), [("measured", "measured: the curve is flat"), ("null", "null: the curve")])
def test_without_a_peak_there_is_no_shift_and_a_reason(flat, reason):
    peaked, level = responses([2.0] * 3), jnp.full((3, 61, 5), 0.5, FLOAT)
    found = compared(level, peaked) if flat == "measured" else compared(peaked, level[0])
    assert np.isnan(found.shift)
    assert np.all(np.isnan(found.shift_interval))
    assert found.reason.startswith(reason)
    assert not found.explained
    assert np.all(np.isfinite(found.length_interval))


def test_one_trajectory_has_intervals_without_width_and_jit_changes_nothing():
    magnitudes, null = responses([2.0]), responses([1.5])[0]
    found = compared(magnitudes, null)
    assert_close(found.shift_interval, jnp.stack([found.shift] * 2), loosen=4)
    inside = jax.jit(compared)(magnitudes, null)
    assert_close(inside, found, loosen=20)


def test_nonsense_is_refused(without_type_checks):
    magnitudes = responses([1.0, 2.0])
    with pytest.raises(ValueError, match=r"magnitudes must have shape \(trajectories, times = 61, shells\)"):
        compared(magnitudes[0], magnitudes[0])
    with pytest.raises(ValueError, match="null must have the shape of magnitudes"):
        compared(magnitudes, magnitudes[:1])
    with pytest.raises(ValueError, match="magnitudes must be positive, got 0"):
        compared(0 * magnitudes, magnitudes)
    with pytest.raises(ValueError, match="null must be positive"):
        compared(magnitudes, -magnitudes)
    with pytest.raises(ValueError, match="num_shells must lie between 1 and 4"):
        compared(magnitudes, magnitudes, num_shells=5)
    with pytest.raises(ValueError, match="holds 0 grid points"):
        compared(magnitudes, magnitudes, window=(20.0, 30.0))


@pytest.mark.slow
@pytest.mark.optimised
@pytest.mark.parametrize("count", [8, 32])
def test_intervals_of_the_shift_cover_none_at_their_rate(count):
    """Peaks of trajectories that scatter about that of the null: 95% of the intervals should contain 0."""
    repeats, ts = 200, TS[::3]
    centres = 1.5 * np.exp(np.random.default_rng(count).normal(0, 0.3, (repeats, count)))
    null = responses([1.5])[0, ::3]

    def explained(magnitudes, key):
        return sj.excess(ts, magnitudes, null, WAVENUMBERS, key=key, num_bootstrap=200).explained

    magnitudes = jnp.stack([responses(row)[:, ::3] for row in centres])
    covered = float(jnp.mean(jax.jit(jax.vmap(explained))(magnitudes, jr.split(jr.key(0), repeats))))
    assert 0.9 < covered < 0.99
