"""Smoothing and differentiation of curves on a time grid, in log t (App. C.7)."""

from functools import reduce

import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_decreasing
from softjax._linalg import matmul
from softjax._types import Array, Float, Times


@public
def smooth(ts: Times, values: Float[Array, "*batch times"], bandwidth: float = 0.1) -> Float[Array, "*batch times"]:
    """Gaussian smoothing of curves in log t, normalised at the ends of the grid.

    * `ts`: (times,), positive and decreasing;
    * `values`: (..., times), in any unit;
    * `bandwidth`: the kernel's standard deviation, in units of log t.

    >>> ts = sj.log_grid(8.0, 1.0, 16)
    >>> print(f"{sj.smooth(ts, 1 / ts, bandwidth=0.1)[8]:.3f} {1 / ts[8]:.3f}")
    0.355 0.354
    """
    log_t = _log(ts)
    require(bandwidth > 0, f"bandwidth must be positive, got {bandwidth}.")
    kernel = jnp.exp(-0.5 * ((log_t[:, None] - log_t) / bandwidth) ** 2)
    return matmul(values, (kernel / jnp.sum(kernel, axis=1, keepdims=True)).T)


@public
def log_derivative(
    ts: Times, values: Float[Array, "*batch times"], bandwidth: float = 0.1
) -> Float[Array, "*batch times"]:
    """Derivative of the curves with respect to log t, smoothed first; in units of the values per e-fold of t.

    * `ts`: (times,), positive and decreasing;
    * `values`: (..., times), in any unit;
    * `bandwidth`: standard deviation of the smoothing, in units of log t.

    Second-order differences, one-sided at the ends. Divide by `ts` for the derivative with respect to t; mind that on
    a logarithmic grid noise makes that grow like 1/t, so that its largest value sits at the end of the grid and not at
    a transition.

    >>> ts = sj.log_grid(8.0, 1.0, 16)
    >>> slope = sj.log_derivative(ts, 3 * jnp.log(ts), bandwidth=0.01)
    >>> print(f"{slope[8]:.3f}")
    3.000
    """
    log_t = _log(ts)
    smoothed = smooth(ts, values, bandwidth)
    back, ahead = jnp.diff(log_t)[:-1], jnp.diff(log_t)[1:]
    slopes = jnp.diff(smoothed, axis=-1) / jnp.diff(log_t)
    inner = (ahead * slopes[..., :-1] + back * slopes[..., 1:]) / (back + ahead)
    return jnp.concatenate([slopes[..., :1], inner, slopes[..., -1:]], axis=-1)


def local_quadratic(log_t: Array, values: Array, bandwidth: Array) -> Array:
    """Curves (*batch, times) smoothed by a parabola about each point, with Gaussian weights; parabolas stay parabolas.

    The weights are `bandwidth` wide in log t, and at least as wide as the larger of the two gaps beside a point. Beside
    spikes a parabola overshoots, and could make a peak where there is none: no value leaves the range of the seven
    around it. Grids of one or two points are left as they are.
    """
    if log_t.shape[0] < 3:
        return values
    gaps = jnp.abs(jnp.diff(log_t))
    ends = gaps[:1] + gaps[1:2], gaps[-1:] + gaps[-2:-1]
    width = jnp.maximum(jnp.concatenate([ends[0], jnp.maximum(gaps[1:], gaps[:-1]), ends[1]]), bandwidth)
    d = (log_t - log_t[:, None]) / width[:, None]
    kernel = jnp.exp(-0.5 * d**2)
    s = [jnp.sum(kernel * d**power, axis=1, keepdims=True) for power in range(5)]
    first, second, third = s[2] * s[4] - s[3] ** 2, s[2] * s[3] - s[1] * s[4], s[1] * s[3] - s[2] ** 2
    weights = kernel * (first + second * d + third * d**2) / (s[0] * first + s[1] * second + s[2] * third)
    start = values[..., :1]
    smoothed = start + matmul(values - start, weights.T)  # so that what is constant stays exactly so
    return jnp.clip(smoothed, -_largest_near(-values), _largest_near(values))


def _largest_near(values: Array) -> Array:
    """The largest of the seven values around each, fewer at the ends."""
    padded = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(3, 3)], constant_values=-jnp.inf)
    shifted = [padded[..., i : i + values.shape[-1]] for i in range(7)]
    return reduce(jnp.maximum, shifted)


def _log(ts: Times) -> Array:
    require_decreasing("ts", ts)
    values = concrete(ts)
    require(values is None or bool(np.all(values > 0)), "ts must be positive, for its logarithm.")
    return jnp.log(ts)
