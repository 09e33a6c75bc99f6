from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, within_standard_errors

from softjax.dynamics import GridBrownian

GRID = jnp.asarray([-6.0, -4.0, -3.9, -1.0, -0.25], FLOAT)
SAMPLES = 50_000


def path(shape=(SAMPLES,), grid=GRID, levy_area: type = dfx.SpaceTimeLevyArea, seed=0):
    return GridBrownian(grid, shape, levy_area, key=jr.key(seed))


def interval(n, **options):
    increment: Any = path(**options).evaluate(GRID[n], GRID[n + 1], use_levy=True)
    return np.asarray(increment.W), np.asarray(increment.H)


@pytest.mark.parametrize("n", range(4))
def test_increment_and_levy_area_have_their_variances_and_no_mean(n):
    step = float(GRID[n + 1] - GRID[n])
    for values, variance in zip(interval(n), (step, step / 12), strict=True):
        assert within_standard_errors(np.mean(values), 0, np.sqrt(variance / SAMPLES))
        assert within_standard_errors(np.var(values), variance, variance * np.sqrt(2 / SAMPLES))
        fourth = np.mean((values / np.sqrt(variance)) ** 4)  # 3 for a normal variable, with variance 96 / samples
        assert within_standard_errors(fourth, 3, np.sqrt(96 / SAMPLES))


def test_increments_and_levy_areas_of_all_intervals_are_uncorrelated():
    correlation = np.corrcoef(np.concatenate([interval(n) for n in range(4)]))
    apart = correlation[np.triu_indices(8, 1)]
    assert within_standard_errors(apart, 0, np.full(apart.shape, 1 / np.sqrt(SAMPLES)))


def test_keys_give_independent_paths():
    correlation = np.corrcoef(interval(1)[0], interval(1, seed=1)[0])[0, 1]
    assert within_standard_errors(correlation, 0, 1 / np.sqrt(SAMPLES))


def test_increment_depends_on_key_number_and_length_of_the_interval_alone():
    other = jnp.concatenate([GRID[:1] - 1, GRID[1:3], GRID[3:] + 1])
    here = path(shape=(5,)).evaluate(GRID[1], GRID[2])
    there = path(shape=(5,), grid=other).evaluate(other[1], other[2])
    np.testing.assert_array_equal(here, there)


def test_increment_is_the_same_with_and_without_levy_area():
    w = path(shape=(5,)).evaluate(GRID[2], GRID[3])
    np.testing.assert_array_equal(w, interval(2, shape=(5,))[0])
    plain = path(shape=(5,), levy_area=dfx.BrownianIncrement).evaluate(GRID[2], GRID[3], use_levy=True)
    assert isinstance(plain, dfx.BrownianIncrement)
    np.testing.assert_array_equal(w, plain.W)


@pytest.mark.parametrize(
    ("start", "end"),
    [(-6.0, -3.9), (-6.0, -5.0), (-5.0, -4.0), (-3.5, -1.5), (-4.0, -6.0), (-7.0, -6.0), (-0.25, 1.0), (-1.0, -1.0)],
)
def test_off_grid_intervals_have_no_increment(start, end):
    increment: Any = path(shape=(3,)).evaluate(jnp.asarray(start, FLOAT), jnp.asarray(end, FLOAT), use_levy=True)
    assert np.all(np.isnan(increment.W))
    assert np.all(np.isnan(increment.H))
