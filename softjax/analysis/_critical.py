"""Critical times from ensembles of curves, with bootstrap intervals over trajectories (App. E.7)."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import concrete, public, require, require_decreasing, require_positive
from softjax._repr import number, readable, with_interval
from softjax._types import Array, Float, Int, PRNGKeyArray, Times

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
    * `reason_code`: the index in `REASONS` of what `reason` says.
    """

    location: Float[Array, ""]
    interval: Float[Array, "2"]
    peak: Float[Array, ""]
    reason_code: Int[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        code = concrete(self.reason_code)
        reason = REASONS[int(code)] if code is not None and code.ndim == 0 else ""
        if code is not None and code.ndim == 0 and not np.isfinite(self.location):
            return [f"none: {reason}"]
        place = with_interval(self.location, self.interval)
        return [place, f"peak={number(self.peak)}", *([reason] if reason else [])]

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
) -> CriticalPoint:
    """The time at which the median over trajectories of `lengths` peaks.

    A parabola in log t through the maximum and its neighbours gives the location between grid points; the interval is
    the percentile interval of resampled trajectories. With one trajectory the interval has no width. `window`, a
    lowest and a highest time, keeps the search away from where single curves have spikes: the equilibrium length has
    them at small t, where a few sites carry the whole response. A flat or monotone median has no peak: NaN, and
    `reason` says why; a maximum at an end of a curve that is not monotone is given, and flagged there.

    Raises `ValueError` for shapes that do not fit, values that are not finite, fewer than one resample, and a window
    with fewer than three grid points.
    """
    if window is not None:
        inside = within(ts, window)
        ts, lengths = ts[inside], lengths[..., inside]
    return _located(ts, lengths, median_peak, key, num_bootstrap, confidence)


@public
def zero_crossing(
    ts: Times,
    rates: Float[Array, "trajectories times"],
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> CriticalPoint:
    """The first time, coming from noise, at which the mean over trajectories of `rates` stops being negative.

    Linear in log t between grid points; `location` is NaN without a crossing, and `reason` says so. Arguments and
    errors as for `critical_point`.
    """
    return _located(ts, rates, _mean_zero, key, num_bootstrap, confidence)


@public
def onset(
    ts: Times,
    lengths: Float[Array, "trajectories times"],
    threshold: float = 1.0,
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> CriticalPoint:
    """The time, coming from noise, from which on the median over trajectories of `lengths` stays above `threshold`.

    `threshold` is in the units of `lengths`, one lattice site by default: with the length of Eq. (45) a pattern then
    reaches beyond single pixels. Of several upward crossings the last one counts, as the length of noise passes the
    threshold by chance too, and the more often the more grid points there are; the length of a grown pattern hardly
    does. Where the two overlap, `smooth` the lengths first, so that little depends on which one counts. Linear in log t
    between grid points; `location` is NaN where the median does not cross, or ends below, and resamples without an
    onset are left out of the interval. `peak` is the threshold. Arguments and errors as for `critical_point`, and
    `ValueError` for a threshold that is not finite.
    """
    require(math.isfinite(threshold), f"threshold must be finite, got {threshold}.")
    point = _located(ts, lengths - threshold, _median_onset, key, num_bootstrap, confidence)
    return eqx.tree_at(lambda p: p.peak, point, point.peak + threshold)


Locate = Callable[[Array, Array], tuple[Array, Array, Array]]
"""From log t and curves (trajectories, times) to a location in log t, the value there and the code of a reason."""


def _located(
    ts: Times,
    curves: Array,
    locate: Locate,
    key: PRNGKeyArray,
    num_bootstrap: int,
    confidence: float,
) -> CriticalPoint:
    require_decreasing("ts", ts)
    require(
        curves.ndim == 2 and curves.shape[1] == ts.shape[0] and curves.shape[0] >= 1,
        f"curves must have shape (trajectories, times = {ts.shape[0]}), got {curves.shape}.",
    )
    require(num_bootstrap >= 1, f"num_bootstrap must be at least 1, got {num_bootstrap}.")
    require_positive("ts", ts)
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence}.")
    return _bootstrap(ts, curves, locate, key, num_bootstrap, confidence)


@eqx.filter_jit
def _bootstrap(
    ts: Times, curves: Array, locate: Locate, key: PRNGKeyArray, num_bootstrap: int, confidence: float
) -> CriticalPoint:
    count, log_t = curves.shape[0], jnp.log(ts)
    log_location, value, reason = locate(log_t, curves)
    draws = resamples(key, num_bootstrap, count)
    replicas = jax.lax.map(lambda rows: locate(log_t, curves[rows])[0], draws, batch_size=64)
    tail = 0.5 * (1 - confidence)
    interval = jnp.nanquantile(replicas, jnp.asarray([tail, 1 - tail], replicas.dtype))
    found = jnp.isfinite(log_location)
    interval = jnp.where(found, jnp.exp(interval), jnp.nan)
    return CriticalPoint(jnp.exp(log_location), interval, jnp.where(found, value, jnp.nan), reason)


def within(ts: Times, window: tuple[float, float]) -> np.ndarray:
    """Indices of the grid points in a window of times."""
    known = concrete(ts)
    require(known is not None, "a window needs times that are known: call this outside jit.")
    inside = np.flatnonzero((np.asarray(known) >= window[0]) & (np.asarray(known) <= window[1]))
    require(inside.size >= 3, f"window {window} holds {inside.size} grid points; at least three are needed.")
    return inside


def resamples(key: PRNGKeyArray, num_bootstrap: int, count: int) -> Int[Array, "resamples trajectories"]:
    """Which trajectories are in each resample; a function of the key and the numbers only, so that others pair."""
    return jr.randint(key, (num_bootstrap, count), 0, count)


def median_peak(log_t: Array, curves: Array) -> tuple[Array, Array, Array]:
    """A `Locate`: where the median over trajectories peaks."""
    curve = jnp.median(curves, axis=0)
    location, value = _parabolic_peak(log_t, curve)
    steps, top = jnp.diff(curve), jnp.argmax(curve)
    flat, monotone = jnp.all(steps == 0), jnp.all(steps >= 0) | jnp.all(steps <= 0)
    at_edge = (top == 0) | (top == curve.shape[0] - 1)
    reason = jnp.where(flat, 1, jnp.where(monotone, 2, jnp.where(at_edge, 3, 0))).astype(jnp.int32)
    return jnp.where(monotone, jnp.nan, location), value, reason


def _mean_zero(log_t: Array, curves: Array) -> tuple[Array, Array, Array]:
    curve = jnp.mean(curves, axis=0)
    rises = _rises(curve)
    return _zero(log_t, curve, jnp.argmax(rises), jnp.any(rises))


def _median_onset(log_t: Array, curves: Array) -> tuple[Array, Array, Array]:
    curve = jnp.median(curves, axis=0)
    rises = _rises(curve)
    last = rises.shape[0] - 1 - jnp.argmax(rises[::-1])
    return _zero(log_t, curve, last, jnp.any(rises) & (curve[-1] >= 0))


def _parabolic_peak(log_t: Array, curve: Array) -> tuple[Array, Array]:
    """Vertex of the parabola through the maximum and its neighbours; the maximum itself at the ends of the grid."""
    last = curve.shape[0] - 1
    top = jnp.argmax(curve)
    middle = jnp.clip(top, 1, max(last - 1, 1))
    x = log_t[jnp.clip(middle + jnp.arange(-1, 2), 0, last)] - log_t[middle]
    y = curve[jnp.clip(middle + jnp.arange(-1, 2), 0, last)]
    left, right = (y[0] - y[1]) / x[0], (y[2] - y[1]) / x[2]
    curvature = (right - left) / (x[2] - x[0])
    slope = left - curvature * x[0]
    inside = (top == middle) & (curvature < 0)
    shift = jnp.where(inside, -0.5 * slope / jnp.where(inside, curvature, -1), 0)
    value = jnp.where(inside, y[1] + 0.5 * slope * shift, curve[top])
    return log_t[top] + shift, value


def _rises(curve: Array) -> Array:
    """Whether the curve stops being negative between each grid point and the next."""
    return (curve[:-1] < 0) & (curve[1:] >= 0)


def _zero(log_t: Array, curve: Array, index: Array, exists: Array) -> tuple[Array, Array, Array]:
    """The zero between grid point `index` and the next, by linear interpolation; NaN where there is none."""
    below, above = curve[index], curve[index + 1]
    fraction = below / jnp.where(below == above, 1, below - above)
    where = log_t[index] + fraction * (log_t[index + 1] - log_t[index])
    reason = jnp.where(exists, 0, 4).astype(jnp.int32)
    return jnp.where(exists, where, jnp.nan), jnp.zeros_like(below), reason
