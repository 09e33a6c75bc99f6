"""Cloning: when does a reverse trajectory decide on its class? (Biroli et al. 2024; section 8 of docs/theory.md)"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import require
from softjax._types import Array, Configuration, Float, PRNGKeyArray, Times
from softjax.dynamics._simulate import Trajectory, simulate_ensemble
from softjax.fields import AbstractField


class CloningAgreement(eqx.Module):
    """Probability that two clones agree, per cloning time; each (times,)."""

    ts: Times
    agreement: Float[Array, " times"]
    standard_error: Float[Array, " times"]


def cloning_agreement(
    field: AbstractField,
    ts: Times,
    at: Sequence[int],
    *,
    key: PRNGKeyArray,
    num: int,
    shape: Sequence[int],
    classify: Callable[[Configuration], Array],
    solver: str = "euler",
    chunk: int | None = None,
) -> CloningAgreement:
    r"""Agreement $\phi(t)$ of two reverse trajectories that share their past until t and go on independently.

    `ts` is the decreasing grid, `at` the increasing grid indices at which `num` trajectories are cloned, `classify` a map
    from a final configuration (*lattice) to a label, or to an array of labels (one per site, say), over which agreement is
    averaged. The standard error is over trajectories, which are the same for all times. Raises `ValueError` for indices
    that do not increase inside the grid, and what `simulate_ensemble` raises.
    """
    steps = len(ts) - 1
    inside = len(at) >= 1 and all(0 < i < steps for i in at) and all(a < b for a, b in zip(at, at[1:], strict=False))
    require(inside, f"at must be increasing grid indices between 1 and {steps - 1}, got {list(at)}.")

    def run(grid: Times, key: PRNGKeyArray, **start: Any) -> Trajectory:
        return simulate_ensemble(field, grid, key=key, num=num, solver=solver, engine="scan", chunk=chunk, **start)

    rows, past, begin = [], None, 0
    for i in at:
        key, key_past, *key_clones = jr.split(key, 4)
        start = {"shape": tuple(shape)} if past is None else {"x0": past}
        past = run(ts[begin : i + 1], key_past, **start).x
        first, second = (jax.vmap(classify)(run(ts[i:], k, x0=past).x) for k in key_clones)
        rows.append(np.mean(np.asarray(first == second).reshape(num, -1), axis=1))
        begin = i
    same = jnp.asarray(np.stack(rows), ts.dtype)
    error = jnp.std(same, axis=1) / np.sqrt(max(num - 1, 1))
    return CloningAgreement(ts[jnp.asarray(at)], jnp.mean(same, axis=1), error)
