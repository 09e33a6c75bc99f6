"""Brownian increments that belong to the intervals of a grid."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from softjax._types import Array, Float, PRNGKeyArray


class GridBrownian(dfx.AbstractBrownianPath):
    """Independent Brownian increments, one per interval of an increasing grid, for solvers that step on the grid.

    * `grid`: (times,), increasing, in units of the process's time;
    * `shape`: of an increment;
    * `levy_area`: what the solver asks for, `diffrax.BrownianIncrement` or `diffrax.SpaceTimeLevyArea`;
    * `key`: fixes the path.

    The increment of interval n depends on the key and n alone, so that any engine which steps on this grid sees
    the same path. Asking for the increment between times that are not neighbours on the grid gives NaN.

    >>> import diffrax as dfx
    >>> grid = jnp.asarray([0.0, 1.0, 3.0])
    >>> path = sj.dynamics.GridBrownian(grid, (4, 4), dfx.BrownianIncrement, key=jr.key(0))
    >>> path.evaluate(grid[0], grid[1]).shape, bool(jnp.isnan(path.evaluate(grid[0], grid[2])).all())
    ((4, 4), True)
    """

    t0: Any
    t1: Any
    levy_area: type = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    grid: Float[Array, " times"]
    key: PRNGKeyArray

    def __init__(self, grid: Float[Array, " times"], shape: tuple[int, ...], levy_area: type, *, key: PRNGKeyArray):
        self.t0, self.t1 = grid[0], grid[-1]
        self.levy_area = levy_area
        self.shape = shape
        self.grid = grid
        self.key = key

    def evaluate(self, t0, t1=None, left=True, use_levy=False):  # noqa: ANN001, ANN201
        """Increment over the grid interval from `t0` to `t1`, as diffrax asks for it.

        * `t0`, `t1`: neighbouring times of the grid;
        * `left`: ignored, part of diffrax's interface;
        * `use_levy`: whether to return the solver's class with increment, step and Levy area, or the increment alone.
        """
        del left
        assert t1 is not None
        index = jnp.clip(jnp.searchsorted(self.grid, t0, side="right") - 1, 0, self.grid.shape[0] - 2)
        step = self.grid[index + 1] - self.grid[index]
        on_grid = (t0 == self.grid[index]) & (t1 == self.grid[index + 1])
        w, h = interval_noise(self.key, index, jnp.where(on_grid, step, jnp.nan), self.shape)
        if not use_levy:
            return w
        if self.levy_area is dfx.BrownianIncrement:
            return dfx.BrownianIncrement(dt=step, W=w)
        return dfx.SpaceTimeLevyArea(dt=step, W=w, H=h)


def interval_noise(key: PRNGKeyArray, index: Array, step: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Increment W ~ N(0, step) of interval `index` and its space-time Levy area H ~ N(0, step / 12), each `shape`."""
    key_w, key_h = jr.split(jr.fold_in(key, index))
    w = jnp.sqrt(step) * jr.normal(key_w, shape, step.dtype)
    h = jnp.sqrt(step / 12) * jr.normal(key_h, shape, step.dtype)
    return w, h
