"""A scorer with a known effect: trials that vary much more than the effect, by a start which both conditions share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

GROUPS, TRIALS, REPEATS = 10, 40, 300


def scores(rng, effect):
    """(groups, trials) twice: skewed noise of each trial, and a start in common that is ten times as large."""
    shared = 10 * rng.normal(size=(GROUPS, TRIALS)) + rng.normal(size=(GROUPS, 1))
    first, second = (rng.exponential(size=(GROUPS, TRIALS)) for _ in range(2))
    return jnp.asarray(shared + effect + first, FLOAT), jnp.asarray(shared + second, FLOAT)


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_intervals_cover_the_effect_at_their_rate_and_nothing_is_found_where_nothing_is(effect):
    rng, covered, of_groups, found = np.random.default_rng(0), 0, 0, 0
    for n in range(REPEATS):
        first, second = scores(rng, effect)
        result = sj.paired_difference(first, second, key=jax.random.key(n), num_resamples=600)
        low, high = (float(end) for end in result.interval)
        covered += low <= effect <= high
        low, high = np.asarray(result.group_interval).T
        of_groups += np.mean((low <= effect) & (effect <= high))
        found += float(result.p_value) <= 0.05
    error = np.sqrt(0.95 * 0.05 / REPEATS)
    assert abs(covered / REPEATS - 0.95) < 3 * error
    assert abs(of_groups / REPEATS - 0.95) < 0.03  # percentiles of 40 trials: 0.93 to 0.95
    if effect == 0:
        assert abs(found / REPEATS - 0.05) < 3 * error
    else:
        assert found / REPEATS > 0.7  # the effect is 2.8 standard errors


def test_means_are_those_of_the_pairs():
    rng = np.random.default_rng(1)
    first, second = scores(rng, 1.0)
    result = sj.paired_difference(first, second, key=jax.random.key(0), num_resamples=20_000)
    differences = np.asarray(first) - np.asarray(second)
    assert_close(result.group_mean, differences.mean(1), loosen=100)
    assert_close(result.mean, differences.mean(), loosen=100)
    error = np.sqrt(np.mean(differences.var(1, ddof=1)) / TRIALS / GROUPS)
    width = float(result.interval[1] - result.interval[0])
    assert width == pytest.approx(2 * 1.96 * error, rel=0.05)  # Student's t of 390: 1.966
    assert float(result.p_value) == pytest.approx(1 / 20_001)


def test_equal_scores_have_no_difference():
    first = jnp.ones((3, 5), FLOAT)
    result = sj.paired_difference(first, first, key=jax.random.key(0), num_resamples=100)
    assert (float(result.mean), float(result.p_value)) == (0, 1)
    np.testing.assert_array_equal(result.interval, [0, 0])


def test_nonsense_is_refused(without_type_checks):
    ones = jnp.ones((3, 5), FLOAT)
    for second in (ones[:2], ones[:, :4]):
        with pytest.raises(ValueError, match="must both have shape"):
            sj.paired_difference(ones, second, key=jax.random.key(0))
    with pytest.raises(ValueError, match="trials >= 2"):
        sj.paired_difference(ones[:, :1], ones[:, :1], key=jax.random.key(0))
    with pytest.raises(ValueError, match="second must be finite"):
        sj.paired_difference(ones, ones.at[0, 0].set(jnp.nan), key=jax.random.key(0))
    with pytest.raises(ValueError, match="confidence"):
        sj.paired_difference(ones, ones, key=jax.random.key(0), confidence=1.0)
