"""A plain scan over a grid that keeps something of every point: the loop of all that is not left to diffrax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from softjax._checks import outputs
from softjax._types import Array, Configuration, Times

Observe = Callable[[Array, Configuration], Any]
Step = Callable[[Array, Array, Array, Any], Any]
"""The state after an interval of the grid: from its index, its start, its end, and the state before."""


def observed(observe: Callable[[Array, Any], Any] | None, t: Array, x: Any) -> Any:
    """What a user's function keeps of a grid point, as arrays; None where there is no function."""
    return None if observe is None else outputs("observe", observe(t, x))


def scan_grid(
    step: Step, ts: Times, x0: Any, observe: Callable[[Array, Any], Any] | None, observe_end: bool = True
) -> tuple[Any, Any]:
    """The state at the end of the grid, and what was observed on every point; the last one with `observe_end`."""

    def one(x: Any, interval: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        index, t, t_next = interval
        kept = observed(observe, t, x)
        return step(index, t, t_next, x), kept

    x, path = jax.lax.scan(one, x0, (jnp.arange(ts.shape[0] - 1), ts[:-1], ts[1:]))
    if observe_end:
        last = observed(observe, ts[-1], x)
        path = jax.tree.map(lambda path, end: jnp.concatenate([path, end[None]]), path, last)
    return x, path
