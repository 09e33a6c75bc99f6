import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close

import softjax as sj

TS = sj.log_grid(10.0, 0.1, 60)
LOG_T = jnp.log(TS)
UNEVEN = jnp.asarray(np.exp(np.sort(np.random.default_rng(0).uniform(-2, 2, 80))[::-1]), FLOAT)
# Where a parabola is flat, rounding of its values moves the vertex by eps / (curvature x step).
LOOSEN = 20 if X64 else 50


def parabolas(ts, centres, height=2.0):
    return height - 0.7 * (jnp.log(ts) - jnp.log(jnp.asarray(centres, FLOAT))[:, None]) ** 2


def growths(ts, onsets, threshold=1.0):
    """Lengths that pass `threshold` at the times `onsets`, lines in log t."""
    return threshold + jnp.log(jnp.asarray(onsets, FLOAT))[:, None] - jnp.log(ts)


@pytest.mark.float32
@pytest.mark.parametrize("ts", [TS, UNEVEN], ids=["log", "uneven"])
@pytest.mark.parametrize("centre", [0.31, 1.0, 3.456])
def test_peak_of_a_log_parabola_is_exact_between_grid_points(ts, centre):
    point = sj.critical_point(ts, parabolas(ts, [centre] * 3), key=jr.key(0), num_bootstrap=20)
    assert_close(point.location, np.asarray(centre), LOOSEN)
    assert_close(point.peak, np.asarray(2.0))
    assert_close(point.interval, np.full(2, centre), LOOSEN)


@pytest.mark.float32
@pytest.mark.parametrize("ts", [TS, UNEVEN], ids=["log", "uneven"])
@pytest.mark.parametrize("zero", [0.31, 1.0, 3.456])
def test_crossing_of_a_line_in_log_t_is_exact_between_grid_points(ts, zero):
    rates = jnp.asarray([0.5, 1.0, 3.0], FLOAT)[:, None] * (jnp.log(jnp.asarray(zero, FLOAT)) - jnp.log(ts))
    point = sj.zero_crossing(ts, rates, key=jr.key(0), num_bootstrap=20)
    assert_close(point.location, np.asarray(zero), 5)
    assert_close(point.interval, np.full(2, zero), 5)
    assert point.peak == 0


@pytest.mark.float32
@pytest.mark.parametrize("ts", [TS, UNEVEN], ids=["log", "uneven"])
@pytest.mark.parametrize("threshold", [1.0, 2.5])
def test_onset_is_where_the_median_passes_the_threshold_between_grid_points(ts, threshold):
    slopes = jnp.asarray([[1.0], [2.0], [30.0]], FLOAT)  # the last would move a mean
    lengths = threshold + slopes * growths(ts, [0.5, 1.234, 6.0], 0.0)
    point = sj.onset(ts, lengths, threshold, key=jr.key(0), num_bootstrap=20)
    assert_close(point.location, np.asarray(1.234), LOOSEN)
    assert point.peak == threshold


@pytest.mark.parametrize("num_steps", [10, 400])
def test_interval_of_the_onset_is_that_of_the_median_on_every_grid(num_steps):
    # The onset of the median of parallel lines is the median onset. Of seven resampled ones it is the least with
    # probability 0.010, the least or the next with 0.10. The expanded tails are 0.0001 of 0.005, and 0.026 of 0.05.
    onsets = np.asarray([0.31, 0.47, 0.83, 1.13, 1.71, 2.77, 4.1])
    ts = sj.log_grid(10.0, 0.1, num_steps)
    for confidence, ends in ((0.99, [0, 6]), (0.9, [1, 5])):
        point = sj.onset(ts, growths(ts, onsets), key=jr.key(0), num_bootstrap=2000, confidence=confidence)
        assert_close(point.location, onsets[3], LOOSEN)
        assert_close(point.interval, onsets[ends], LOOSEN)


def test_onset_is_the_crossing_after_which_the_length_stays_above():
    lengths = growths(TS, [1.5]).at[:, 5:8].set(1.2).at[:, 0].set(3.0)
    assert_close(sj.onset(TS, lengths, key=jr.key(0), num_bootstrap=10).location, np.asarray(1.5), LOOSEN)


def test_onset_of_smoothed_lengths_is_that_of_the_signal_in_noise():
    # Noise as of 28 x 28 sites, 0.4 +- 0.3, and a pattern: one site together at t = 2. Single lengths pass it before.
    ts = sj.log_grid(8.0, 0.1, 200)
    lengths = 0.4 + 0.6 * (2 / ts) ** 2 + 0.3 * jr.normal(jr.key(0), (16, ts.size), FLOAT)
    assert np.mean(lengths[:, ts > 4] > 1) > 0.03
    point = sj.onset(ts, sj.smooth(ts, lengths), key=jr.key(1), num_bootstrap=200)
    assert float(point.location) == pytest.approx(2.0, rel=0.05)
    assert 1.7 < point.interval[0] < 2 < point.interval[1] < 2.3


def test_resamples_without_an_onset_count_as_having_it_at_the_end_of_the_grid():
    lengths = jnp.concatenate([growths(TS, [1.0, 1.5, 2.0]), jnp.zeros((2, 61), FLOAT)])
    point = sj.onset(TS, lengths, key=jr.key(0))
    assert_close(point.location, np.asarray(1.0), LOOSEN)
    # Three and more of five draws are one of the two without an onset.
    share = sum(math.comb(5, k) * 0.4**k * 0.6 ** (5 - k) for k in range(3, 6))
    assert abs(point.lost - share) < 4 * np.sqrt(share * (1 - share) / 1000)
    assert_close(point.interval, np.asarray([0.1, 2.0]), LOOSEN)
    assert "lost by 0.3" in repr(point)
    early = sj.onset(TS, lengths.at[3:].set(2.0), key=jr.key(0))
    assert_close(early.interval[1], TS[0])
    assert sj.onset(TS, lengths[:3], key=jr.key(0)).lost == 0


def test_a_length_that_ends_below_the_threshold_has_no_onset():
    falls_back = growths(TS, [1.5]).at[:, -1].set(0.5)
    assert np.isnan(sj.onset(TS, falls_back, key=jr.key(0), num_bootstrap=10).location)


def test_peak_is_that_of_the_median_curve():
    lengths = parabolas(TS, [0.5, 2.0, 6.0])
    lengths = lengths.at[1].add(0.1)
    spoiled = lengths.at[2].add(100 * jnp.exp(-((LOG_T - 1) ** 2)))  # an outlier moves a mean, not this median
    centre = sj.critical_point(TS, spoiled, key=jr.key(0)).location
    assert 1.5 < centre < 2.5


def test_first_crossing_coming_from_noise_counts():
    rates = jnp.sin(3 * LOG_T + 0.5)[None]
    upward = [np.exp((k * np.pi - 0.5) / 3) for k in range(-4, 5)]
    # Along decreasing t the sine rises where it falls in log t: at odd multiples of pi.
    largest = max(t for k, t in zip(range(-4, 5), upward, strict=True) if k % 2 and t < 10)
    location = sj.zero_crossing(TS, rates, key=jr.key(0), num_bootstrap=10).location
    np.testing.assert_allclose(location, largest, rtol=1e-3)  # a line through points 0.08 apart on a sine


def test_zero_on_a_grid_point_is_found_there():
    rates = (jnp.arange(61, dtype=FLOAT) - 20)[None]
    assert_close(sj.zero_crossing(TS, rates, key=jr.key(0), num_bootstrap=10).location, TS[20])


@pytest.mark.parametrize("estimate", [sj.zero_crossing, sj.onset])
@pytest.mark.parametrize("value", [2.0, -1.0])
def test_without_a_crossing_there_is_no_time(estimate, value):
    point = estimate(TS, jnp.full((3, 61), value, FLOAT), key=jr.key(0), num_bootstrap=10)
    assert np.isnan(point.location)
    assert np.all(np.isnan(point.interval))


@pytest.mark.parametrize(
    ("curve", "reason"), [(LOG_T, "only rises or falls"), (-LOG_T, "only rises or falls"), (0 * LOG_T, "flat")]
)
def test_a_curve_without_a_peak_has_no_critical_point_and_says_why(curve, reason):
    point = sj.critical_point(TS, curve[None], key=jr.key(0), num_bootstrap=10)
    assert np.all(np.isnan([point.location, point.peak, *point.interval]))
    assert reason in point.reason


@pytest.mark.parametrize(("slope", "end"), [(1.0, 0), (-1.0, -1)])
def test_a_maximum_at_an_end_of_the_grid_is_flagged(slope, end):
    curve = (slope * LOG_T).at[30].add(0.5)  # not monotone
    point = sj.critical_point(TS, curve[None], key=jr.key(0), num_bootstrap=10)
    assert_close(point.location, TS[end])
    assert_close(point.peak, slope * LOG_T[end])
    assert "edge" in point.reason


def test_a_good_peak_and_a_missing_crossing_say_so():
    assert sj.critical_point(TS, parabolas(TS, [1.0]), key=jr.key(0), num_bootstrap=10).reason == ""
    assert "cross" in sj.zero_crossing(TS, jnp.ones((2, 61), FLOAT), key=jr.key(0), num_bootstrap=10).reason


@pytest.mark.parametrize("ts", [TS[:2], TS[:3]])
def test_short_grids_work(ts):
    rates = jnp.arange(ts.size, dtype=FLOAT)[None] - 1
    assert_close(sj.zero_crossing(ts, rates, key=jr.key(0), num_bootstrap=10).location, ts[1])
    point = sj.critical_point(ts, jnp.arange(ts.size, dtype=FLOAT)[None], key=jr.key(0), num_bootstrap=10)
    assert np.isnan(point.location)


def test_a_plateau_has_its_peak_on_itself():
    lengths = jnp.zeros((1, 61), FLOAT).at[0, 20:25].set(1.0)
    point = sj.critical_point(TS, lengths, key=jr.key(0), num_bootstrap=10)
    assert TS[25] <= point.location <= TS[19]


@pytest.mark.parametrize(("estimate", "curves"), [(sj.critical_point, parabolas), (sj.onset, growths)])
def test_one_trajectory_has_an_interval_without_width(estimate, curves):
    point = estimate(TS, curves(TS, [2.222]), key=jr.key(0), num_bootstrap=50)
    assert_close(point.location, np.asarray(2.222), LOOSEN)
    assert_close(point.interval, jnp.full(2, point.location))


def test_interval_of_the_median_is_that_of_resampled_trajectories():
    # Three well separated trajectories: a resample's median is the middle one, or an outer one with two or
    # three copies of it, (3 * 2 + 1) / 27 of the time each.
    lengths = parabolas(TS, [0.5, 1.0, 2.0])
    lengths = lengths - jnp.asarray([5.0, 0.0, -5.0])[:, None]
    for confidence, expected in ((0.9, (0.5, 2.0)), (0.3, (1.0, 1.0))):
        point = sj.critical_point(TS, lengths, key=jr.key(0), confidence=confidence)
        assert_close(point.interval, np.asarray(expected), LOOSEN)


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("estimate", "curves", "level"),
    [
        (sj.zero_crossing, lambda c, u: c - u, 0.95),
        pytest.param(sj.zero_crossing, lambda c, u: c - u, 0.7, marks=pytest.mark.slow),
        (sj.critical_point, lambda c, u: -((u - c) ** 2), 0.95),
    ],
)
def test_interval_covers_the_truth_as_often_as_it_says(estimate, curves, level):
    # 400 ensembles of 25 trajectories, each with its own time around t = 1. A percentile interval of 25 is a
    # few per cent too narrow for a mean, too wide for a median: 0.03 beside four binomial errors of 0.011 to 0.023.
    ensembles, trajectories = 400, 25
    ts = sj.log_grid(3.0, 1 / 3, 20)
    centres = 0.3 * jr.normal(jr.key(0), (ensembles, trajectories, 1), FLOAT)

    @jax.jit
    @jax.vmap
    def intervals(key, centres):
        return estimate(ts, curves(centres, jnp.log(ts)), key=key, num_bootstrap=200, confidence=level).interval

    low, high = np.asarray(intervals(jr.split(jr.key(1), ensembles), centres)).T
    covered = np.mean((low <= 1) & (high >= 1))
    assert abs(covered - level) < 4 * np.sqrt(level * (1 - level) / ensembles) + 0.03


@pytest.mark.parametrize(
    ("estimate", "curves"), [(sj.critical_point, parabolas), (sj.zero_crossing, parabolas), (sj.onset, growths)]
)
def test_key_decides_the_interval_and_nothing_else(estimate, curves):
    curves = curves(TS, np.linspace(0.5, 2.0, 30)) - (1.5 if curves is parabolas else 0.0)
    one, same, other = (estimate(TS, curves, key=jr.key(i), num_bootstrap=100) for i in (0, 0, 1))
    assert_close(one, same)
    assert one.location == other.location
    assert np.any(one.interval != other.interval)
    assert one.interval[0] <= one.location <= one.interval[1]


@pytest.mark.parametrize("estimate", [sj.critical_point, sj.zero_crossing, sj.onset])
@pytest.mark.parametrize(
    ("curves", "options", "message"),
    [
        (jnp.ones((2, 60), FLOAT), {}, r"shape \(trajectories, times = 61\), got \(2, 60\)"),
        (jnp.ones((61,), FLOAT), {}, r"shape \(trajectories, times = 61\), got \(61,\)"),
        (jnp.ones((0, 61), FLOAT), {}, r"got \(0, 61\)"),
        (jnp.ones((2, 61), FLOAT).at[1, 3].set(np.nan), {}, "(lengths|rates) must be finite, got 1 NaN"),
        (jnp.ones((2, 61), FLOAT), {"confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(estimate, curves, options, message):
    with pytest.raises(ValueError, match=message):
        estimate(TS, curves, key=jr.key(0), **options)


def test_a_threshold_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="threshold must be finite, got nan"):
        sj.onset(TS, growths(TS, [1.0]), np.nan, key=jr.key(0))


def test_a_window_keeps_the_search_from_late_spikes():
    ts = sj.log_grid(6.0, 1e-2, 200)
    bump = jnp.exp(-(((jnp.log(ts) - jnp.log(3.0)) / 0.3) ** 2))
    curves = jnp.stack([bump, bump, bump]).at[:, 180].set(20.0)
    assert float(sj.critical_point(ts, curves, key=jr.key(0)).location) < 0.1
    found = sj.critical_point(ts, curves, key=jr.key(0), window=(1.0, 6.0))
    assert float(found.location) == pytest.approx(3.0, rel=1e-3)
    with pytest.raises(ValueError, match="at least three"):
        sj.critical_point(ts, curves, key=jr.key(0), window=(7.0, 8.0))


def test_spikes_where_a_curve_is_steep_make_no_peak():
    """As of minus a response magnitude, which grows like 1/t, at the end of the grid."""
    ts = sj.log_grid(6.0, 1e-3, 400)
    heavy = 1 + jr.pareto(jr.key(0), 0.7, (8, len(ts)))
    curves = -0.5 / ts - 0.3 * (jnp.log(ts / 3.5)) ** 2 - jnp.where(ts < 0.5, heavy / ts, 0)
    point = sj.critical_point(ts, curves, key=jr.key(1))
    best = ts[jnp.argmax(-0.5 / ts - 0.3 * (jnp.log(ts / 3.5)) ** 2)]
    np.testing.assert_allclose(point.interval, best, rtol=0.05)
