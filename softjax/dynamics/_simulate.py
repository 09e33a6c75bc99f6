"""Reverse-time trajectories of a field on a prescribed time grid.

Reverse time is integrated forward in s = -t, so that no solver sees a negative step.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import (
    concrete,
    public,
    require,
    require_decreasing,
    require_lattice,
    require_not_negative,
    wider,
)
from softjax._repr import readable, times
from softjax._types import Array, ArrayLike, Configuration, Int, PRNGKeyArray, Times
from softjax.dynamics._engines import MULTISTEP, Engine, Kind
from softjax.dynamics._problem import AbstractIntegrator, Problem
from softjax.dynamics._scan import Observe
from softjax.dynamics._stochasticity import integrator_of, warn_of_long_steps
from softjax.fields import AbstractField
from softjax.processes import AbstractProcess


class Trajectory(eqx.Module):
    """A reverse trajectory, or with a leading axis an ensemble of them.

    * `ts`: (times,), the grid, decreasing;
    * `x`: (*lattice), the final configuration;
    * `observed`: what `observe` returned on every grid point, leading axis time; None without `observe`.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> ts = sj.log_grid(6.0, 0.1, 4)
    >>> path = sj.simulate(field, ts, key=jr.key(0), shape=(4, 4), observe=lambda t, x: x.mean())
    >>> path.ts.shape, path.x.shape, path.observed.shape
    ((5,), (4, 4), (5,))
    """

    ts: Times
    x: Configuration
    observed: Any

    @readable
    def __repr__(self) -> list[str]:
        arrays = jax.tree.leaves(self.observed)
        seen = [f"observed of shape {leaf.shape}" for leaf in arrays]
        seen = seen if len(arrays) < 3 else [f"{len(arrays)} arrays observed"]
        return [times(self.ts), f"x of shape {self.x.shape}", *seen]


@public(mixed=True)
def simulate(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    shape: Sequence[int] | None = None,
    observe: Observe | None = None,
    x0: Configuration | None = None,
    kind: Kind = "sde",
    solver: str | dfx.AbstractSolver = "euler",
    engine: Engine = "diffrax",
    stochasticity: ArrayLike | None = None,
) -> Trajectory:
    r"""Integrate one reverse trajectory over the decreasing grid `ts`, from noise to data.

    * `field`: the data, with their process.
    * `ts`: (times,), the grid, decreasing, in units of the process's time.
    * `key`: fixes start and noise.
    * `shape`: of the configuration, to start from Gaussian noise of the process's `prior_scale`; or give
    * `x0`: (*lattice) or (*lattice, channels), the start itself, at `ts[0]`, in units of the data.
    * `observe`: called with (t, x) once on every grid point, returns what to keep, a pytree of arrays; the state is not
      stored on the way.
    * `kind`: `"sde"`, the reverse SDE, or `"flow"`, the probability flow.
    * `stochasticity`: $\Lambda\ge0$, one number without unit: how fast the state relaxes towards the equilibrium of
      its time, $dx = [ax + \tfrac12(1 + \Lambda)\beta s]\,d\tau + \sqrt{\Lambda\beta}\,dW$ in $\tau = -t$. An exact
      score has the same marginals at every $\Lambda$. 0 is the flow, 1 the SDE, the default (theory.md section 1).
    * `solver`: `"euler"` (Euler-Maruyama, the paper's Eq. 42); `"sea"` (additive noise, one score call per step, far
      less biased than Euler for a constant beta, not for one that varies in time); `"shark"` (additive noise, strong
      order 3/2, two calls); `"dpmpp_2m"` (DPM-Solver++(2M), for any stochasticity: one call, exact in the stiff linear
      part, weak order 2 and strong order 1); or any diffrax solver that takes one Brownian increment per step.
    * `engine`: `"diffrax"`, or `"scan"`, a plain `jax.lax.scan` (euler and sea) that also differentiates in reverse
      mode. Both follow the same path for the same key. `"dpmpp_2m"` is the same scan under both.

    Steps for 1% of the final variances on `log_grid(6, 1e-3, n)`: with `"dpmpp_2m"` n = 110, or 7 times the
    stochasticity if that is more; with `"euler"` 2400, 850 and 1600 at stochasticity 1, 8 and 64.

    The same key gives the same trajectory, and is member i of an ensemble for `jax.random.fold_in(key, i)`. `observe`
    is compiled in: pass the same function, or an `equinox.Module` that holds arrays, to avoid compiling again.

    Warns of a grid that is known and too coarse for a known stochasticity other than 0 and 1: whose largest linear rate
    times the step exceeds 2, or 4 for `"dpmpp_2m"`. Raises `ValueError` for a grid that does not decrease or reaches
    t = 0 under VP, for a state that is not finite or whose shape does not fit the field, for a negative stochasticity
    or one that contradicts `kind`, and for unknown options; `FloatingPointError` when the trajectory itself stops being
    finite (outside `jit` only).

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> ts = sj.log_grid(8.0, 1e-3, 40)
    >>> path = sj.simulate(field, ts, key=jr.key(0), shape=(4, 4), observe=lambda t, x: x.mean())
    >>> print(path.observed.shape, abs(np.asarray(path.x)).round(0)[0])
    (41,) [1. 1. 1. 1.]
    """
    integrator = integrator_of(kind, solver, engine, stochasticity)
    run, ts, x0 = prepare(field, ts, integrator, shape=shape, x0=x0, observe=observe)
    return finished(run_one, run, ts, x0, key)


@public(mixed=True)
def simulate_ensemble(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    num: int,
    shape: Sequence[int] | None = None,
    observe: Observe | None = None,
    x0: Configuration | None = None,
    kind: Kind = "sde",
    solver: str | dfx.AbstractSolver = "euler",
    engine: Engine = "diffrax",
    chunk: int | None = None,
    members: Int[Array, " num"] | None = None,
    stochasticity: ArrayLike | None = None,
) -> Trajectory:
    """Integrate `num` independent reverse trajectories; every array gains a leading trajectory axis.

    * `field`, `ts`, `shape`, `observe`, `kind`, `solver`, `engine`, `stochasticity`: as for `simulate`;
    * `key`: of the ensemble; trajectory i is `simulate` with `jax.random.fold_in(key, i)`, whatever `num` and `chunk`;
    * `num`: how many trajectories;
    * `x0`: (num, *lattice), a start for each;
    * `chunk`: how many run side by side, for memory, by default all;
    * `members`: (num,), which trajectories of the ensemble, by default the first; others go on with it later.

    Warnings and errors as for `simulate`; `ValueError` also for `num` or `chunk` below 1.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> ts = sj.log_grid(8.0, 0.01, 4)
    >>> paths = sj.simulate_ensemble(field, ts, key=jr.key(0), num=3, shape=(4, 4))
    >>> second = sj.simulate(field, ts, key=jr.fold_in(jr.key(0), 1), shape=(4, 4))
    >>> paths.x.shape, bool(jnp.allclose(paths.x[1], second.x, atol=1e-5))
    ((3, 4, 4), True)
    """
    members = members_of(num, chunk, members)
    if x0 is not None:
        require(x0.ndim >= 2 and x0.shape[0] == num, f"x0 must have shape (num = {num}, *lattice), got {x0.shape}.")
    integrator = integrator_of(kind, solver, engine, stochasticity)
    run, ts, x0 = prepare(field, ts, integrator, shape=shape, x0=x0, one_start_each=True, observe=observe)
    return finished(run_members, run, ts, x0, key, members, chunk or num)


def members_of(num: int, chunk: int | None, members: Int[Array, " num"] | None) -> Int[Array, " num"]:
    """Checks of the numbers of an ensemble; by default the first `num` members."""
    require(num >= 1, f"num must be at least 1, got {num}.")
    require(chunk is None or chunk >= 1, f"chunk must be at least 1, got {chunk}.")
    if members is None:
        return jnp.arange(num)
    require(members.shape == (num,), f"members must have shape ({num},), got {members.shape}.")
    require_not_negative("members", members)
    return members


class Run(eqx.Module):
    """Everything that one trajectory needs besides its times, start and key."""

    field: AbstractField
    observe: Observe | None
    shape: tuple[int, ...] = eqx.field(static=True)
    integrator: AbstractIntegrator

    def __call__(self, ts: Times, x0: Configuration | None, key: PRNGKeyArray) -> Trajectory:
        key_start, key_noise = jr.split(key)
        if x0 is None:
            x0 = self.field.process.prior_scale(ts[0]) * jr.normal(key_start, self.shape, ts.dtype)
        _require_same_shape(self.field, ts[0], x0)
        x, observed = self.integrator(Problem(self.field, self.observe, ts, x0, key_noise))
        return Trajectory(ts, x, observed)


@eqx.filter_jit
def run_one(run: Run, ts: Times, x0: Configuration | None, key: PRNGKeyArray) -> Trajectory:
    return run(ts, x0, key)


@eqx.filter_jit
def run_members(run: Run, ts: Times, x0: Array | None, key: PRNGKeyArray, members: Array, chunk: int) -> Trajectory:
    keys = jax.vmap(lambda i: jr.fold_in(key, i))(members)

    def one(start: tuple[PRNGKeyArray, Configuration | None]) -> tuple[Configuration, Any]:
        trajectory = run(ts, start[1], start[0])
        return trajectory.x, trajectory.observed

    x, observed = (
        jax.lax.map(one, (keys, x0), batch_size=chunk) if chunk < members.shape[0] else jax.vmap(one)((keys, x0))
    )
    return Trajectory(ts, x, observed)


def prepare(
    field: AbstractField,
    ts: Times,
    integrator: AbstractIntegrator,
    *,
    shape: Sequence[int] | None,
    x0: Array | None = None,
    one_start_each: bool = False,
    observe: Observe | None = None,
) -> tuple[Run, Times, Array | None]:
    """What was given, checked: the run, its times and its start, or with `one_start_each` the starts of an ensemble.

    The state takes the wider precision of the field and the start, without a start the default one; the times that of
    the state.
    """
    if x0 is not None:
        _, x0 = wider(field, x0)
    lattice, times = lattice_and_times(ts, shape, x0, one_start_each)
    known = concrete(ts)
    if known is not None:
        _check_range(field.process, known, integrator)
        warn_of_long_steps(field.process, known, integrator)
    return Run(field, observe, lattice, integrator), times, x0


def lattice_and_times(
    ts: Times, shape: Sequence[int] | None, x0: Array | None, one_start_each: bool = False
) -> tuple[tuple[int, ...], Times]:
    """The lattice of one state, from the one of `shape` and `x0` that is given; the grid in the state's precision."""
    require_decreasing("ts", ts)
    require((shape is None) != (x0 is None), "give either shape or x0, and not both.")
    lattice = tuple(shape or ()) if x0 is None else x0.shape[1:] if one_start_each else x0.shape
    require_lattice("shape" if x0 is None else "x0", lattice)
    dtype = jnp.result_type(float) if x0 is None else x0.dtype
    used = jnp.asarray(ts, dtype)
    require_decreasing(f"ts in {dtype.name}", used)
    return lattice, used


def _check_range(process: AbstractProcess, ts: np.ndarray, integrator: AbstractIntegrator) -> None:
    """Refuses grids that start where no signal is left, or end where the score diverges, where that is known."""
    require_not_negative("ts", ts)
    _check_start(process, ts[0])
    _warn_beyond_schedule(process, ts[0])
    t_end = ts[-1]
    noise, rate = concrete(process.sigma(t_end)), concrete(process.beta(t_end))
    if t_end > 0 or noise is None or rate is None or noise > 0:
        return
    name = type(process).__name__
    require(
        bool(rate == 0), f"under {name} the score diverges at t = 0: end ts at a small positive time, got {t_end:g}."
    )
    require(
        integrator.skips_end,
        f"a grid may end at sigma = 0 only with solver 'euler' or '{MULTISTEP}', which do not evaluate the field "
        f"there; got ts[-1] = {t_end:g}: end at a small positive time, or take one of them.",
    )


def _check_start(process: AbstractProcess, t: np.ndarray | np.floating) -> None:
    try:
        ratio = concrete(process.noise_to_signal(t))
    except ValueError:  # refused by the process itself
        ratio = np.asarray(np.inf)
    signal = ratio is None or bool(np.isfinite(ratio) and ratio > 0)
    require(signal, f"no signal is left at ts[0] = {t:g} under {type(process).__name__}: start at a smaller time.")


def _warn_beyond_schedule(process: AbstractProcess, t: np.ndarray | np.floating) -> None:
    """Warns where the grid starts beyond the last time of a schedule, whose formula goes on."""
    schedule = getattr(process, "schedule", None)
    if schedule is None or not hasattr(schedule, "t_max"):
        return
    end = concrete(schedule.t_max)
    if end is not None and np.ndim(end) == 0 and t > end * (1 + 1e-5):
        warnings.warn(
            f"ts[0] = {t:g} lies beyond t_max = {end:g} of {type(schedule).__name__}, whose rate goes on as before: "
            "start there, or give the schedule a larger t_max.",
            stacklevel=6,
        )


def _require_same_shape(field: AbstractField, t: Array, x: Configuration) -> None:
    denoised = jax.eval_shape(lambda t, x: field.denoise(t, x), t, x)  # a bound method of traced arrays has no hash
    require(
        denoised.shape == x.shape,
        f"field.denoise must return the shape of its configuration, {x.shape}; got {denoised.shape}.",
    )


def finished(run: Callable[..., Trajectory], *arguments: Any) -> Trajectory:
    """What a compiled run returns, or an error that says what to do about it."""
    try:
        return require_finite_end(run(*arguments))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(
            "the device's memory is exhausted: bound how many trajectories run side by side with chunk, and keep less "
            "in observe."
        ) from error


def require_finite_end(trajectory: Trajectory) -> Trajectory:
    """The trajectory; `FloatingPointError` where it is known that its end is not finite."""
    final = concrete(trajectory.x)
    if final is not None and not np.all(np.isfinite(final)):
        lost = np.sum(~np.all(np.isfinite(final), axis=tuple(range(1, final.ndim)))) if final.ndim > 1 else 1
        raise FloatingPointError(
            f"the final state is not finite ({lost} of its leading entries). Usual causes: steps too long for the "
            "stiff end of the grid (take more steps, or a larger t_min), a field that is not finite, or a solver that "
            "asks for Brownian increments inside a grid step."
        )
    return trajectory
