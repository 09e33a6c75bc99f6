"""How many evaluations of the drift does a trajectory need for errors of 1% in what is measured on it?

Weak errors, of means over trajectories of the patch model, against many steps of the same law. All solvers see the
same Brownian paths, summed over their own steps, and all schedules the same noise levels, so that what differs is the
discretisation, and errors far below the scatter of the trajectories can be told from zero. A clone shares its path
with the trajectory before the time of cloning and has one of its own after it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import softjax as sj
from softjax.dynamics import _brownian, _dpm, _engines
from softjax.dynamics._dpm import coefficients
from softjax.dynamics._problem import AbstractIntegrator, Problem
from softjax.dynamics._scan import scan_grid
from softjax.dynamics._simulate import prepare
from softjax.dynamics._stochasticity import integrator_of

FINE, COMMON = 640, 10  # intervals of the finest grid, and of that whose times all grids share
FIRST, LAST = 6.0, 1e-3  # integrals of the rate from 0: times under the constant rate 1
RESPONDING = 2  # of the common times after the start, those of mode responses, 2.5 and 1.1: later ones have long tails
MOST = 320  # evaluations
CLONED = (1, 2)  # the common times of cloning, 2.5 and 1.1
SCHEDULES = {"constant": sj.VP, "linear": sj.VP.linear, "cosine": sj.VP.cosine}


class ExponentialEuler(AbstractIntegrator):
    """Exact in the linear part, the denoised state held fixed: SDE-DPM-Solver-1."""

    @property
    def skips_end(self) -> bool:
        return True

    def __call__(self, problem: Problem) -> tuple[jax.Array, Any]:
        def step(index: jax.Array, t: jax.Array, t_next: jax.Array, x: jax.Array) -> jax.Array:
            return linear_step(problem, index, t, t_next, x, problem.field.denoise(t, x))

        return scan_grid(step, problem.ts, problem.x0, problem.observe)


class ExponentialMidpoint(AbstractIntegrator):
    """Exact in the linear part, the denoised state that of the middle: one step, of two evaluations, for two intervals.

    The middle is reached by `ExponentialEuler`, noise included. Observed on every second point of the grid.
    """

    @property
    def skips_end(self) -> bool:
        return True

    def __call__(self, problem: Problem) -> tuple[jax.Array, Any]:
        ts, denoise = problem.ts, problem.field.denoise

        def one(x: jax.Array, pair: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            index, t, t_mid, t_end = pair
            x_mid = linear_step(problem, index, t, t_mid, x, denoise(t, x))
            ahead = denoise(t_mid, x_mid)
            half = linear_step(problem, index, t, t_mid, x, ahead)
            end = linear_step(problem, index + 1, t_mid, t_end, half, ahead)
            return end, end

        x, path = jax.lax.scan(one, problem.x0, (jnp.arange(0, len(ts) - 1, 2), ts[:-1:2], ts[1::2], ts[2::2]))
        return x, jnp.concatenate([problem.x0[None], path])


def linear_step(
    problem: Problem, index: jax.Array, t: jax.Array, t_next: jax.Array, x: jax.Array, denoised: jax.Array
) -> jax.Array:
    keep, pull, noise, _ = coefficients(problem.field.process, t, t_next, jnp.ones_like(t))
    w, _ = _brownian.interval_noise(problem.key, index, t - t_next, x.shape)
    return keep * x + pull * denoised + noise / jnp.sqrt(t - t_next) * w


class Way(NamedTuple):
    """A solver, how often it evaluates the drift in an interval, and how many intervals a point it observes takes."""

    integrator: AbstractIntegrator
    evaluations: int = 1
    stride: int = 1
    any_schedule: bool = False  # sees signal and noise scales alone, so that the schedule doesn't matter


WAYS = {
    "euler": Way(integrator_of("sde", "euler", "scan", None)),
    "sea": Way(integrator_of("sde", "sea", "scan", None)),
    "shark": Way(integrator_of("sde", "shark", "diffrax", None), evaluations=2),
    "exponential Euler": Way(ExponentialEuler(), any_schedule=True),
    "exponential midpoint": Way(ExponentialMidpoint(), stride=2, any_schedule=True),
    "dpmpp_2m": Way(integrator_of("sde", "dpmpp_2m", "scan", None), any_schedule=True),
}


def grid(process: sj.VP, intervals: int) -> jax.Array:
    """Times at which the integral of the rate is that of the constant schedule on a logarithmic grid."""
    with jax.enable_x64(True):
        levels = FIRST * (LAST / FIRST) ** (np.arange(intervals + 1) / intervals)
        return jnp.asarray(np.asarray(process.schedule.inverse(jnp.asarray(levels))), jnp.float32)


class Noise(NamedTuple):
    """Increments and space-time Levy areas of the finest grid, standardised; (..., FINE, side, side) each."""

    increments: jax.Array
    areas: jax.Array


@partial(jax.jit, static_argnums=2)
@partial(jax.vmap, in_axes=(0, None, None))
def summed(noise: Noise, lengths: jax.Array, intervals: int) -> tuple[jax.Array, jax.Array]:
    """Increments W and Levy areas H of a coarser grid, of every path; `lengths` (FINE,) of the fine intervals."""
    h = lengths.reshape(intervals, -1, 1, 1)
    w, levy = (values.reshape(intervals, -1, *values.shape[1:]) for values in noise)
    w, levy = jnp.sqrt(h) * w, jnp.sqrt(h / 12) * levy
    total, before = jnp.sum(w, axis=1), jnp.cumsum(w, axis=1) - w
    integral = jnp.sum(h * (before + 0.5 * w + levy), axis=1)
    return total, integral / jnp.sum(h, axis=1) - 0.5 * total


@contextmanager
def path(increments: jax.Array, areas: jax.Array) -> Iterator[None]:
    """Solvers traced here take these increments for their own; (intervals, side, side) each."""

    def given(key: Any, index: jax.Array, step: jax.Array, shape: Any) -> tuple[jax.Array, jax.Array]:
        del key, shape
        lost = jnp.where(jnp.isnan(step), step, 0)  # off the grid
        return increments[index] + lost, areas[index] + lost

    with (
        patch.object(_brownian, "interval_noise", given),
        patch.object(_engines, "interval_noise", given),
        patch.object(_dpm, "interval_noise", given),
    ):
        yield


def trajectories(process: sj.VP, way: Way, intervals: int, side: int, num: int) -> Any:
    """From starts (num, side, side), increments and areas to states at the common times, (num, COMMON + 1, ...).

    Lowered and not yet compiled: what stands for the noise while a solver is traced is the same for all threads.
    """
    field = sj.PatchField(sj.PatchDictionary.ising(5, key=jr.key(0)), process)
    ts = grid(process, intervals)
    run, ts, _ = prepare(field, ts, way.integrator, shape=(side, side), observe=lambda t, x: x)

    def one(x0: jax.Array, increments: jax.Array, areas: jax.Array) -> jax.Array:
        with path(increments, areas):
            return run(ts, x0, jr.key(0)).observed[:: intervals // COMMON // way.stride]

    shapes = [jax.ShapeDtypeStruct((num, *more, side, side), ts.dtype) for more in ((), (intervals,), (intervals,))]
    return jax.jit(jax.vmap(one)).lower(*shapes)


@partial(jax.jit, static_argnums=(1, 2))
def drawn(key: jax.Array, num: int, side: int) -> tuple[jax.Array, Noise]:
    """Starts and paths of `num` trajectories and, after them, of their clones at each time of `CLONED`."""
    keys = jr.split(key, 5)
    start = jnp.tile(jr.normal(keys[0], (num, side, side)), (1 + len(CLONED), 1, 1))

    def with_clones(key: jax.Array, key_clones: jax.Array) -> jax.Array:
        own, other = (jr.normal(k, (num, FINE, side, side)) for k in (key, key_clones))
        cuts = (cut * FINE // COMMON for cut in CLONED)
        return jnp.concatenate([own, *(jnp.concatenate([own[:, :cut], other[:, cut:]], axis=1) for cut in cuts)])

    return start, Noise(with_clones(keys[1], keys[2]), with_clones(keys[3], keys[4]))


def measured_on(side: int) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """From states (num and clones, COMMON + 1, side, side) to what is measured, (num, ...) each."""
    field = sj.PatchField(sj.PatchDictionary.ising(5, key=jr.key(0)), sj.VP())
    probe, ts = sj.ModeProbe(field, sj.fourier_modes((side, side), 3)), grid(sj.VP(), COMMON)

    def look(states: jax.Array) -> dict[str, jax.Array]:
        clones = states[:, -1].reshape(1 + len(CLONED), -1, side, side) > 0
        states = states[: clones.shape[1]]
        lengths = jax.vmap(jax.vmap(lambda x: sj.correlation_length(sj.binarize(x))))(states[:, 1:])
        responding = slice(1, 1 + RESPONDING)
        responses = jax.vmap(jax.vmap(lambda t, x: probe(t, x).magnitude), (None, 0))(
            ts[responding], states[:, responding]
        )
        agreement = jnp.mean(clones[1:] == clones[0], axis=(2, 3)).T
        return {"correlation length": lengths, "mode responses": responses, "clone agreement": agreement}

    return jax.jit(look)


def cases(size: Callable) -> dict[tuple[str, int], list[str]]:
    """The solvers of every schedule and number of intervals; of those for any schedule one is tried on the others."""
    full, sparse = (
        size((20,), (10, 20, 40, 80, 160, 320), (10, 20, 40, 80, 160, 320)),
        size((), (20, 80, 320), (20, 80, 320)),
    )
    found = {}
    for schedule in SCHEDULES:
        for intervals in full if schedule == "constant" else sparse:
            fits = {name: way for name, way in WAYS.items() if intervals // COMMON % way.stride == 0}
            fits = {name: way for name, way in fits.items() if intervals * way.evaluations <= MOST}
            if schedule != "constant":
                fits = {n: way for n, way in fits.items() if not way.any_schedule or (n, intervals) == ("dpmpp_2m", 80)}
            found[schedule, intervals] = list(fits)
    return found


def bench_weak_errors(benchmark, record, size):
    side, num, chunks = size((16, 4, 1), (32, 32, 5), (32, 128, 8))
    chosen = {("constant", FINE): ["dpmpp_2m"], **cases(size)}
    processes = {schedule: process() for schedule, process in SCHEDULES.items()}
    lengths = {schedule: -jnp.diff(grid(process, FINE)) for schedule, process in processes.items()}
    lowered = {
        (schedule, n, name): trajectories(processes[schedule], WAYS[name], n, side, num * (1 + len(CLONED)))
        for (schedule, n), names in chosen.items()
        for name in names
    }
    with ThreadPoolExecutor() as pool:
        programs = dict(zip(lowered, pool.map(lambda one: one.compile(), lowered.values()), strict=True))
    look, seen = measured_on(side), {case: [] for case in programs}

    def all_of_them() -> None:
        for chunk in range(chunks):
            start, noise = drawn(jr.fold_in(jr.key(1), chunk), num, side)
            for (schedule, n), names in chosen.items():
                given = summed(noise, lengths[schedule], n)
                for name in names:
                    states = programs[schedule, n, name](start, *given)
                    seen[schedule, n, name].append(jax.tree.map(np.asarray, look(states)))

    benchmark.pedantic(all_of_them, rounds=1)
    values = {case: jax.tree.map(lambda *a: np.concatenate(a).astype(float), *kept) for case, kept in seen.items()}
    exact = values.pop(("constant", FINE, "dpmpp_2m"))
    for (schedule, intervals, name), found in values.items():
        for observable, wanted in exact.items():
            record(
                schedule=schedule,
                solver=name,
                evaluations=intervals * WAYS[name].evaluations,
                observable=observable,
                side=side,
                trajectories=num * chunks,
                **error(found[observable], wanted),
            )


def error(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The largest error of a mean over trajectories (first axis), as a share of it, and its standard error."""
    difference, mean = found - wanted, np.mean(wanted, axis=0)
    relative = np.abs(np.mean(difference, axis=0) / mean)
    place = np.unravel_index(np.argmax(relative), relative.shape)
    spread = np.std(difference, axis=0, ddof=1) / np.sqrt(len(found)) / np.abs(mean)
    alone = np.std(wanted, axis=0, ddof=1) / np.sqrt(len(found)) / np.abs(mean)
    return {
        "error": float(relative[place]),
        "standard_error": float(spread[place]),
        "standard_error_unpaired": float(alone[place]),
        "at": FIRST * (LAST / FIRST) ** (float(place[0] + 1) / COMMON),
    }
