"""Differences between two conditions tried on the same trials (App. F.7), with errors that use the pairing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import public, require
from softjax._repr import number, readable, with_interval
from softjax._types import Array, Float, PRNGKeyArray
from softjax.analysis._bootstrap import expanded_tails


class PairedDifference(eqx.Module):
    """How much higher a score is under one condition than under another.

    * `mean`: mean difference over all trials, every group counting the same;
    * `interval`: (2,), lower and upper end of its bootstrap interval;
    * `p_value`: share of random sign flips of the pairs with a mean as far from 0: two-sided, small for a true effect;
    * `group_mean`: (groups,), mean difference of each group;
    * `group_interval`: (groups, 2), lower and upper end of its interval.

    >>> found = sj.paired_difference([[3.0, 4.0, 5.0]], [[1.0, 2.0, 3.0]], key=jr.key(0))
    >>> print(f"{found.mean:.2f}", found.group_mean.shape, bool(found.p_value > 0.05))
    2.00 (1,) True
    """

    mean: Float[Array, ""]
    interval: Float[Array, "2"]
    p_value: Float[Array, ""]
    group_mean: Float[Array, " groups"]
    group_interval: Float[Array, "groups 2"]

    @readable
    def __repr__(self) -> list[str]:
        mean = with_interval(self.mean, self.interval)
        return [mean, f"p={number(self.p_value)}", f"{self.group_mean.shape[-1]} groups"]


@public
def paired_difference(
    first: Float[Array, "groups trials"],
    second: Float[Array, "groups trials"],
    *,
    key: PRNGKeyArray,
    num_resamples: int = 4000,
    confidence: float = 0.95,
) -> PairedDifference:
    """How much higher `first` is than `second`, trial by trial: classes and trials of the pulse experiment.

    * `first`, `second`: (groups, trials), what was measured in the two conditions, in one unit;
    * `key`: fixes the resamples;
    * `num_resamples`, `confidence`: their number, and the level of the intervals.

    Trial j of group i must differ between the two in the condition only. Intervals are expanded percentiles of means
    over resampled trials, groups kept: further out than nominal ones, as few trials need it. The p-value is exact
    where differences are symmetric under no effect, as those of exchangeable conditions are. Raises `ValueError` for
    shapes that differ, fewer than two trials and values that are not finite.

    >>> with_pulse, without = [[3.0, 4.5, 5.0], [2.0, 2.5, 3.5]], [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]
    >>> found = sj.paired_difference(with_pulse, without, key=jr.key(0))
    >>> print(f"{found.mean:.2f}", np.asarray(found.group_mean).round(2), bool(found.interval[0] > 0))
    1.92 [2.17 1.67] True
    """
    require(
        first.shape == second.shape and first.ndim == 2 and first.shape[1] >= 2,
        f"first and second must both have shape (groups, trials >= 2), got {first.shape} and {second.shape}.",
    )
    require(num_resamples >= 1, f"num_resamples must be at least 1, got {num_resamples}.")
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence}.")
    groups, trials = first.shape
    levels = expanded_tails(confidence, trials, groups * (trials - 1)), expanded_tails(confidence, trials)
    return _paired(first - second, key, num_resamples, *(jnp.asarray(level, first.dtype) for level in levels))


@eqx.filter_jit
def _paired(
    differences: Float[Array, "groups trials"], key: PRNGKeyArray, num_resamples: int, tails: Array, group_tails: Array
) -> PairedDifference:
    groups, trials = differences.shape
    key_bootstrap, key_flips = jr.split(key)
    group_mean = jnp.mean(differences, axis=1)

    def resampled(key: PRNGKeyArray) -> Float[Array, " groups"]:
        chosen = jr.randint(key, (groups, trials), 0, trials)
        return jnp.mean(jnp.take_along_axis(differences, chosen, axis=1), axis=1)

    def flipped(key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.mean(jr.rademacher(key, (groups, trials), differences.dtype) * differences)

    means = jax.lax.map(resampled, jr.split(key_bootstrap, num_resamples), batch_size=64)
    null = jnp.abs(jax.lax.map(flipped, jr.split(key_flips, num_resamples), batch_size=64))
    mean = jnp.mean(group_mean)
    # Sums in another order differ by rounding: means as far as the observed one must count.
    as_far = null >= jnp.abs(mean) * (1 - 1e-4)
    return PairedDifference(
        mean=mean,
        interval=jnp.quantile(jnp.mean(means, axis=1), tails),
        p_value=(1 + jnp.sum(as_far, dtype=means.dtype)) / (1 + num_resamples),
        group_mean=group_mean,
        group_interval=jnp.quantile(means, group_tails, axis=0).T,
    )
