"""Where one curve peaks or crosses zero, in log t, between the points of its grid."""

from typing import NamedTuple

import jax.numpy as jnp

from softjax._types import Array


class Located(NamedTuple):
    """Something looked for on a curve.

    * `location`: in log t; NaN for none;
    * `beyond`: the end of the grid, in log t, beyond which it lies if there is none;
    * `value`: the curve's there;
    * `reason`: index in `REASONS`.
    """

    location: Array
    beyond: Array
    value: Array
    reason: Array

    @property
    def anywhere(self) -> Array:
        """The location, or the end of the grid where there is none."""
        return jnp.where(jnp.isnan(self.location), self.beyond, self.location)


def curve_peak(log_t: Array, curve: Array) -> Located:
    """Where a curve (times,) is largest."""
    location, value = _parabolic_peak(log_t, curve)
    steps, top = jnp.diff(curve), jnp.argmax(curve)
    flat, monotone = jnp.all(steps == 0), jnp.all(steps >= 0) | jnp.all(steps <= 0)
    at_edge = (top == 0) | (top == curve.shape[0] - 1)
    reason = jnp.where(flat, 1, jnp.where(monotone, 2, jnp.where(at_edge, 3, 0))).astype(jnp.int32)
    return Located(jnp.where(monotone, jnp.nan, location), log_t[top], value, reason)


def first_zero(log_t: Array, curve: Array) -> Located:
    """Where a curve first stops being negative; a curve that never is crossed before the grid, others do after it."""
    rises = _rises(curve)
    beyond = jnp.where(curve[0] >= 0, log_t[0], log_t[-1])
    return _zero(log_t, curve, jnp.argmax(rises), jnp.any(rises), beyond)


def last_zero(log_t: Array, curve: Array) -> Located:
    """From where on a curve stays above zero; one that ends below does so after the grid, others before it."""
    rises, ends_above = _rises(curve), curve[-1] >= 0
    last = rises.shape[0] - 1 - jnp.argmax(rises[::-1])
    return _zero(log_t, curve, last, jnp.any(rises) & ends_above, jnp.where(ends_above, log_t[0], log_t[-1]))


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


def _zero(log_t: Array, curve: Array, index: Array, exists: Array, beyond: Array) -> Located:
    """The zero between grid point `index` and the next, by linear interpolation; NaN where there is none."""
    below, above = curve[index], curve[index + 1]
    fraction = below / jnp.where(below == above, 1, below - above)
    where = log_t[index] + fraction * (log_t[index + 1] - log_t[index])
    reason = jnp.where(exists, 0, 4).astype(jnp.int32)
    return Located(jnp.where(exists, where, jnp.nan), beyond, jnp.zeros_like(below), reason)
