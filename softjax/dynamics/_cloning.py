"""Cloning: when a reverse trajectory decides on its class (Biroli et al. 2024; section 8 of docs/theory.md)."""

from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import outputs, public, require
from softjax._repr import readable, spread, times
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Times
from softjax.dynamics._engines import EngineIntegrator
from softjax.dynamics._simulate import Run, members_of, prepare
from softjax.fields import AbstractField


class CloningAgreement(eqx.Module):
    """Probability that two clones agree, per cloning time.

    * `ts`: (times,), the times of cloning, in units of the process's time;
    * `agreement`: (times,), the probability, from 0 to 1;
    * `standard_error`: (times,), of the agreement, over trajectories.

    >>> field = sj.EmpiricalField(jnp.asarray([[1.0, 1.0], [-1.0, -1.0]]), sj.VP())
    >>> ts = sj.log_grid(6.0, 0.01, 20)
    >>> found = sj.cloning_agreement(field, ts, at=[19], key=jr.key(0), num=8, shape=(2,), classify=jnp.sign)
    >>> print(found.agreement, found.standard_error)
    [1.] [0.]
    """

    ts: Times
    agreement: Float[Array, " times"]
    standard_error: Float[Array, " times"]

    @readable
    def __repr__(self) -> list[str]:
        return [times(self.ts), f"agreement {spread(self.agreement)}", f"standard error {spread(self.standard_error)}"]


@public(mixed=True)
def cloning_agreement(
    field: AbstractField,
    ts: Times,
    at: Sequence[int],
    *,
    key: PRNGKeyArray,
    num: int,
    shape: Sequence[int],
    classify: Callable[[Configuration], Array],
    solver: Literal["euler", "sea"] = "euler",
    chunk: int | None = None,
) -> CloningAgreement:
    r"""Agreement $\phi(t)$ of two reverse trajectories that share their past until t and go on independently.

    * `field`: the data, with their process;
    * `ts`: (times,), the grid, decreasing and positive;
    * `at`: indices of the grid, its ends excluded, at which trajectories are cloned;
    * `key`: fixes all trajectories;
    * `num`: how many of them;
    * `shape`: of a configuration;
    * `classify`: from a final configuration (*lattice) to a label, or an array of labels (one per site, say), over
      which agreement is averaged;
    * `solver`: "euler" or "sea", as for `simulate`;
    * `chunk`: how many run side by side, by default all.

    The standard error is over trajectories, which are the same for all times. Raises `ValueError` for indices outside
    the grid, and what `simulate` raises for its arguments.

    >>> field = sj.EmpiricalField(jnp.asarray([[1.0, 1.0], [-1.0, -1.0]]), sj.VP())
    >>> ts = sj.log_grid(6.0, 0.01, 20)
    >>> found = sj.cloning_agreement(field, ts, at=[1, 19], key=jr.key(0), num=8, shape=(2,), classify=jnp.sign)
    >>> print(found.agreement.shape, found.agreement[1])
    (2,) 1.0
    """
    steps = len(ts) - 1
    require(len(at) >= 1, "at must name at least one grid index.")
    require(all(0 < i < steps for i in at), f"at must hold grid indices between 1 and {steps - 1}, got {list(at)}.")
    members_of(num, chunk, None)
    require(num >= 2, f"a standard error needs at least two trajectories, got num = {num}.")
    run, ts, _ = prepare(field, ts, EngineIntegrator("sde", solver, "scan"), shape=shape)
    same = _cloned(run, ts, jnp.asarray(at), key, classify, num, chunk or num)
    return CloningAgreement(ts[jnp.asarray(at)], jnp.mean(same, axis=1), jnp.std(same, axis=1) / (num - 1) ** 0.5)


@eqx.filter_jit
def _cloned(
    run: Run,
    ts: Times,
    at: Int[Array, " cloning"],
    key: PRNGKeyArray,
    classify: Callable[[Configuration], Array],
    num: int,
    chunk: int,
) -> Float[Array, "cloning num"]:
    """Fraction of equal labels per cloning time and trajectory. Steps that are not wanted are given no length."""

    def one(index: Array, member: Array) -> Array:
        key_past, *key_clones = jr.split(jr.fold_in(key, member), 3)
        past = run(jnp.maximum(ts, ts[index]), None, key_past).x
        labels = [outputs("classify", classify(run(jnp.minimum(ts, ts[index]), past, k).x)) for k in key_clones]
        return jnp.mean((labels[0] == labels[1]).astype(ts.dtype))

    members = jnp.arange(num)
    return jax.lax.map(lambda index: jax.lax.map(lambda m: one(index, m), members, batch_size=chunk), at)
