"""Critical times from ensembles of curves, with bootstrap intervals over trajectories (App. E.7)."""

import math
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_decreasing, require_positive
from softjax._repr import number, readable, with_interval
from softjax._types import Array, Float, Int, PRNGKeyArray, Times
from softjax.analysis._bootstrap import (
    expanded_tails,
    nominal_tails,
    resampled_means,
    resampled_medians,
    resamples,
)
from softjax.analysis._locate import Located, curve_peak, first_zero, last_zero
from softjax.analysis._smoothing import local_quadratic

Average = tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]
"""Over trajectories: of the curves themselves, and of all resamples."""
_MEAN: Average = (partial(jnp.mean, axis=0), resampled_means)
_MEDIAN: Average = (partial(jnp.median, axis=0), resampled_medians)

REASONS = (
    "",
    "the curve is flat",
    "the curve has no interior peak: it only rises or falls",
    "the peak is at the edge of the grid or window: the maximum may lie outside",
    "the curve does not cross",
)


class CriticalPoint(eqx.Module):
    """A critical time with its bootstrap interval.

    * `location`: the time, or noise level; NaN when there is none;
    * `interval`: (2,), lower and upper end of the confidence interval; NaN without a location;
    * `peak`: value of the curve there; NaN without a location;
    * `lost`: share of the resamples, 0 to 1, whose curve had no peak, or no crossing. They count as having it at the
      end of the grid: with many of them an end of the interval is that of the grid, and the true one may lie beyond;
    * `reason_code`: the index in `REASONS` of what `reason` says.

    >>> ts = sj.log_grid(8.0, 1.0, 30)
    >>> peaks = jnp.exp(-2 * (jnp.log(ts) - np.log([[2.9], [3.0], [3.1]])) ** 2)
    >>> found = sj.critical_point(ts, peaks, key=jr.key(0))
    >>> print(f"{found.location:.2f}", found.interval.shape, found.lost)
    3.00 (2,) 0.0
    """

    location: Float[Array, ""]
    interval: Float[Array, "2"]
    peak: Float[Array, ""]
    lost: Float[Array, ""]
    reason_code: Int[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        code = concrete(self.reason_code)
        reason = REASONS[int(code)] if code is not None and code.ndim == 0 else ""
        if code is not None and code.ndim == 0 and not np.isfinite(self.location):
            return [f"none: {reason}"]
        place = with_interval(self.location, self.interval)
        share = concrete(self.lost)
        lost = [f"lost by {share:.2g} of resamples"] if share is not None and share.ndim == 0 and share > 0 else []
        return [place, f"peak={number(self.peak)}", *lost, *([reason] if reason else [])]

    @property
    def reason(self) -> str:
        """Why there is no location, or what is to be known about it; empty for a good one. Outside `jit`, of one."""
        return REASONS[int(self.reason_code)]


@public
def critical_point(
    ts: Times,
    lengths: Float[Array, "trajectories times"],
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    window: tuple[float, float] | None = None,
    bandwidth: float = 0.05,
) -> CriticalPoint:
    """The time at which the median over trajectories of `lengths` peaks.

    * `ts`: (times,), positive and decreasing; the location is in their units;
    * `lengths`: (trajectories, times), any curves;
    * `key`: fixes the resamples;
    * `num_bootstrap`, `confidence`: the number of resamples of the trajectories and the level of the interval;
    * `window`: a lowest and a highest time, which keep the search away from where single curves have spikes: the
      equilibrium length has them at small t, where a few sites carry the whole response;
    * `bandwidth`: in units of log t, of a local quadratic fit that smooths the median first and leaves parabolas in log
      t as they are; 0 for none. At points further apart than that, the fit is as wide as they are apart. Wider ones
      move a peak that is not symmetric: that of the default patch model from 3.76 to 3.88 at 0.1;

    A parabola in log t through the maximum and its neighbours gives the location between grid points; the interval is
    the percentile interval of resampled trajectories, whose measured coverage the guide has (Critical points).
    With one trajectory it has no width. A flat or monotone median has no peak: NaN, and `reason` says why; a maximum at
    an end of a curve that is not monotone is given, and flagged there.

    Raises `ValueError` for shapes that do not fit, values that are not finite, fewer than one resample, a negative
    bandwidth, and a window with fewer than three grid points.

    >>> ts = sj.log_grid(8.0, 1.0, 30)
    >>> peaks = jnp.exp(-2 * (jnp.log(ts) - np.log([[2.9], [3.0], [3.1]])) ** 2)
    >>> found = sj.critical_point(ts, peaks, key=jr.key(0))
    >>> print(f"{found.location:.2f}", bool(found.interval[0] < 3.0 < found.interval[1]))
    3.00 True
    """
    if window is not None:
        inside = within(ts, window)
        ts, lengths = ts[inside], lengths[..., inside]
    return _located(ts, lengths, _MEDIAN, curve_peak, key, num_bootstrap, confidence, bandwidth)


@public
def zero_crossing(
    ts: Times,
    rates: Float[Array, "trajectories times"],
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    bandwidth: float = 0.1,
) -> CriticalPoint:
    """The first time, coming from noise, at which the mean over trajectories of `rates` stops being negative.

    * `ts`: (times,), the grid, decreasing and positive;
    * `rates`: (trajectories, times), growth rates, per unit of t;
    * `key`: fixes the resamples;
    * `num_bootstrap`, `confidence`: the number of resamples and the level of the interval;
    * `bandwidth`: in log t, of the smoothing before, 0 for none.

    Linear in log t between grid points, after smoothing; `location` is NaN without a crossing, and `reason` says so.
    The interval is an expanded percentile interval, with tails of Student's t. Without smoothing, white noise crosses
    zero before its mean does. Errors as for `critical_point`.

    >>> ts = sj.log_grid(8.0, 1.0, 30)
    >>> rates = jnp.log(3.0 / ts) * jnp.asarray([[1.0], [1.1], [0.9]])
    >>> print(f"{sj.zero_crossing(ts, rates, key=jr.key(0)).location:.2f}")
    3.00
    """
    return _located(ts, rates, _MEAN, first_zero, key, num_bootstrap, confidence, bandwidth)


@public
def onset(
    ts: Times,
    lengths: Float[Array, "trajectories times"],
    threshold: float = 1.0,
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    bandwidth: float = 0.1,
) -> CriticalPoint:
    """The time, coming from noise, from which on the median over trajectories of `lengths` stays above `threshold`.

    * `ts`: (times,), the grid, decreasing and positive;
    * `lengths`: (trajectories, times), in sites;
    * `threshold`: in the units of `lengths`;
    * `key`: fixes the resamples;
    * `num_bootstrap`, `confidence`: the number of resamples and the level of the interval;
    * `bandwidth`: in log t, of the smoothing before, 0 for none.

    One lattice site is the default threshold: with the length of Eq. (45) a pattern then reaches beyond single pixels.
    White noise has a first-moment length too, which grows with the lattice: take `noise_floor` off, or say how far the
    threshold is above it. Of several upward crossings the last one counts, as the length of noise passes the threshold
    by chance too, and the more often the more grid points there are; the length of a grown pattern hardly does. Linear
    in log t between grid points, after smoothing; `location` is NaN where the median does not cross, or ends below.
    `peak` is the threshold. Errors as for `critical_point`, and `ValueError` for a threshold that is not finite.

    >>> ts = sj.log_grid(8.0, 1.0, 30)
    >>> lengths = 3.0 / ts * jnp.ones((4, 1))
    >>> print(f"{sj.onset(ts, lengths, 1.0, key=jr.key(0)).location:.2f}")
    3.00
    """
    require(math.isfinite(threshold), f"threshold must be finite, got {threshold}.")
    point = _located(ts, lengths - threshold, _MEDIAN, last_zero, key, num_bootstrap, confidence, bandwidth)
    return eqx.tree_at(lambda p: p.peak, point, point.peak + threshold)


def _located(
    ts: Times,
    curves: Array,
    average: Average,
    locate: Callable[[Array, Array], Located],
    key: PRNGKeyArray,
    num_bootstrap: int,
    confidence: float,
    bandwidth: float,
) -> CriticalPoint:
    require_decreasing("ts", ts)
    require(
        curves.ndim == 2 and curves.shape[1] == ts.shape[0] and curves.shape[0] >= 1,
        f"curves must have shape (trajectories, times = {ts.shape[0]}), got {curves.shape}.",
    )
    require(num_bootstrap >= 1, f"num_bootstrap must be at least 1, got {num_bootstrap}.")
    require_positive("ts", ts)
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence}.")
    require(0 <= bandwidth < math.inf, f"bandwidth must be finite and not negative, got {bandwidth}.")
    expanded = expanded_tails(confidence, curves.shape[0], shrunk=average is _MEAN)
    tails = jnp.asarray(nominal_tails(confidence) if locate is curve_peak else expanded, curves.dtype)
    smoothing = jnp.asarray(bandwidth, curves.dtype) if bandwidth else None
    return _bootstrap(ts, curves, average, locate, key, num_bootstrap, tails, smoothing)


@eqx.filter_jit
def _bootstrap(
    ts: Times,
    curves: Array,
    average: Average,
    locate: Callable[[Array, Array], Located],
    key: PRNGKeyArray,
    num_bootstrap: int,
    tails: Array,
    bandwidth: Array | None,
) -> CriticalPoint:
    log_t = jnp.log(ts)
    replicas = average[1](curves, resamples(key, num_bootstrap, curves.shape[0]))
    both = jnp.concatenate([average[0](curves)[None], replicas])
    both = both if bandwidth is None else local_quadratic(log_t, both, bandwidth)
    each = jax.vmap(partial(locate, log_t))(both)
    found = jnp.isfinite(each.location[0])
    return CriticalPoint(
        location=jnp.exp(each.location[0]),
        interval=jnp.where(found, jnp.exp(jnp.quantile(each.anywhere[1:], tails)), jnp.nan),
        peak=jnp.where(found, each.value[0], jnp.nan),
        lost=jnp.mean(jnp.isnan(each.location[1:]), dtype=ts.dtype),
        reason_code=each.reason[0],
    )


def within(ts: Times, window: tuple[float, float]) -> np.ndarray:
    """Indices of the grid points in a window of times."""
    known = concrete(ts)
    require(known is not None, "a window needs times that are known: call this outside jit.")
    inside = np.flatnonzero((np.asarray(known) >= window[0]) & (np.asarray(known) <= window[1]))
    require(inside.size >= 3, f"window {window} holds {inside.size} grid points; at least three are needed.")
    return inside
