"""Time grids, from noise to data. Built in float64, then rounded once to the default float type."""

import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require
from softjax._types import Array, Float


@public
def log_grid(t_max: float, t_min: float, num_steps: int) -> Float[Array, " times"]:
    """Logarithmic grid t_n = t_max (t_min / t_max)^(n / num_steps), Eq. (41).

    * `t_max`, `t_min`: first and last time, in units of the process's time;
    * `num_steps`: intervals, one fewer than times.

    Returns `num_steps + 1` decreasing times whose ends are exactly `t_max` and `t_min`. Raises `ValueError` unless 0 <
    t_min < t_max and num_steps >= 1.

    >>> print(np.asarray(sj.log_grid(8.0, 0.5, 4)).round(3))
    [8.  4.  2.  1.  0.5]
    """
    require(0 < t_min < t_max, f"log_grid needs 0 < t_min < t_max, got t_min = {t_min} and t_max = {t_max}.")
    require(num_steps >= 1, f"num_steps must be at least 1, got {num_steps}.")
    return _rounded(np.geomspace(t_max, t_min, num_steps + 1))


@public
def karras_grid(
    sigma_max: float = 80.0, sigma_min: float = 0.002, num_steps: int = 32, rho: float = 7.0
) -> Float[Array, " times"]:
    """EDM's noise levels, equidistant in sigma^(1/rho) from `sigma_max` to `sigma_min`, then 0 (App. E.2).

    * `sigma_max`, `sigma_min`: first and last positive level, in units of the data;
    * `num_steps`: positive levels;
    * `rho`: the larger, the denser at small levels.

    Returns `num_steps + 1` decreasing levels, the last of them 0. Raises `ValueError` unless 0 < sigma_min <
    sigma_max, num_steps >= 2 and rho > 0.

    >>> print(np.asarray(sj.karras_grid(8.0, 0.125, 4, rho=3.0)).round(3))
    [8.    3.375 1.    0.125 0.   ]
    """
    require(
        0 < sigma_min < sigma_max,
        f"karras_grid needs 0 < sigma_min < sigma_max, got sigma_min = {sigma_min} and sigma_max = {sigma_max}.",
    )
    require(num_steps >= 2, f"num_steps must be at least 2, got {num_steps}.")
    require(rho > 0, f"rho must be positive, got {rho}.")
    levels = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps) ** rho
    levels[0], levels[-1] = sigma_max, sigma_min
    return jnp.append(_rounded(levels), 0.0)


def _rounded(ts: np.ndarray) -> Float[Array, " times"]:
    """The grid in the default float type, in which it must still fall to a positive number."""
    grid = np.asarray(ts, jnp.result_type(float))
    good = bool(np.all(np.diff(grid) < 0) and grid[-1] >= np.finfo(grid.dtype).tiny and np.isfinite(grid[0]))
    require(
        good, f"the grid from {ts[0]:g} to {ts[-1]:g} in {ts.size - 1} steps is too fine or too wide for {grid.dtype}."
    )
    return jnp.asarray(grid)
