"""Smoothing and differentiation of curves on a time grid, in log t (App. C.7)."""

import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_decreasing
from softjax._linalg import matmul
from softjax._types import Array, Float, Times


@public
def smooth(ts: Times, values: Float[Array, "*batch times"], bandwidth: float = 0.1) -> Float[Array, "*batch times"]:
    """Gaussian smoothing of curves in log t, normalised at the ends of the grid.

    `bandwidth` is the kernel's standard deviation in units of log t. `ts` (times,) must be positive and decrease.
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

    Second-order differences, one-sided at the ends. Divide by `ts` for the derivative with respect to t; mind that on
    a logarithmic grid noise makes that grow like 1/t, so that its largest value sits at the end of the grid and not
    at a transition. Arguments as for `smooth`.
    """
    log_t = _log(ts)
    smoothed = smooth(ts, values, bandwidth)
    back, ahead = jnp.diff(log_t)[:-1], jnp.diff(log_t)[1:]
    slopes = jnp.diff(smoothed, axis=-1) / jnp.diff(log_t)
    inner = (ahead * slopes[..., :-1] + back * slopes[..., 1:]) / (back + ahead)
    return jnp.concatenate([slopes[..., :1], inner, slopes[..., -1:]], axis=-1)


def _log(ts: Times) -> Array:
    require_decreasing("ts", ts)
    values = concrete(ts)
    require(values is None or bool(np.all(values > 0)), "ts must be positive, for its logarithm.")
    return jnp.log(ts)
