r"""EDM's sampler: Heun's method on the probability flow, with optional churn (Karras et al. 2022, Algorithms 1 and 2).

One step from noise $\sigma$ to $\sigma'$ follows the slope $d = (D(x, \sigma) - x)/\sigma$ per unit decrease of
$\sigma$, then replaces it by the mean of the slopes at both ends: second order. The last step of a `karras_grid`, into
$\sigma' = 0$ where the flow has no slope, keeps the first. So n steps need 2 n - 1 evaluations of the denoiser.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import concrete, public, require, require_not_negative
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Times
from softjax.dynamics._drift import flow_drift
from softjax.dynamics._engines import observed
from softjax.dynamics._simulate import Observe, Trajectory, finished, members_of, prepare, run_members, run_one
from softjax.fields import AbstractField

_LARGEST_RISE = 2**0.5 - 1  # of the noise level in one churned step, relative: the noise added is at most that present


class Churn(eqx.Module):
    r"""Fresh noise before each step of `heun`, which makes it stochastic (Algorithm 2 of Karras et al. 2022).

    A step that starts at noise $\sigma$ between `t_min` and `t_max` first raises it to $(1 + \gamma)\sigma$ with
    $\gamma = \min(S/n, \sqrt2 - 1)$, S the `strength` and n the number of steps; the noise that is added has
    `noise_scale` times the standard deviation which that rise asks for. In the paper: S_churn, S_min, S_max, S_noise.
    Raises `ValueError` for negative numbers, and for `t_min` above `t_max`.
    """

    strength: float
    t_min: float
    t_max: float
    noise_scale: float

    @public(infinite=("strength", "t_max"))
    def __init__(self, strength: float, t_min: float = 0.0, t_max: float = float("inf"), noise_scale: float = 1.0):
        require(
            strength >= 0 and noise_scale >= 0,
            f"strength and noise_scale must not be negative, got {strength} and {noise_scale}.",
        )
        require(0 <= t_min <= t_max, f"churn needs 0 <= t_min <= t_max, got t_min = {t_min} and t_max = {t_max}.")
        self.strength, self.t_min, self.t_max, self.noise_scale = strength, t_min, t_max, noise_scale

    def raised(
        self, t: Array, x: Configuration, noise: Configuration, num_steps: int
    ) -> tuple[Float[Array, ""], Configuration]:
        """Noise level and state after the rise, for standard normal `noise` of the shape of `x`."""
        active = (t >= self.t_min) & (t <= self.t_max)
        rise = jnp.where(active, jnp.asarray(min(self.strength / num_steps, _LARGEST_RISE), t.dtype), 0)
        return (1 + rise) * t, x + self.noise_scale * t * jnp.sqrt(rise * (2 + rise)) * noise


def heun_step(field: AbstractField, t: Array, t_next: Array, x: Configuration) -> Configuration:
    """One step of Heun's method from noise level `t` to `t_next`; into 0, which has no slope, a step of Euler's."""
    slope = flow_drift(field, t, x)
    predicted = x + (t - t_next) * slope

    def corrected() -> Configuration:
        return x + 0.5 * (t - t_next) * (slope + flow_drift(field, t_next, predicted))

    return jax.lax.cond(t_next > 0, corrected, lambda: predicted)


@public(mixed=True)
def heun(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    shape: Sequence[int] | None = None,
    observe: Observe | None = None,
    x0: Configuration | None = None,
    churn: Churn | None = None,
) -> Trajectory:
    """Sample one configuration of an EDM field along the decreasing noise levels `ts`, usually a `karras_grid`.

    Give `x0`, shape (*lattice), to start from it at `ts[0]`, or `shape` to start from Gaussian noise of standard
    deviation `ts[0]`. Without `churn` the sampler is deterministic after its start.

    `observe(t, x)` is called once on every grid point of positive noise: on `ts[:-1]` and, if it is known to be
    positive, on `ts[-1]`. At zero noise the slope and the score have no value: the end is in `x` of the trajectory.

    The same key gives the same trajectory, from the same start as `simulate`, and is member i of `heun_ensemble` for
    `jax.random.fold_in(key, i)`. Raises `ValueError` for a process other than EDM and for negative noise levels;
    otherwise as `simulate`.
    """
    run, ts, x0 = _prepared(field, ts, shape, x0, None if x0 is None else x0.shape, observe, churn)
    return finished(run_one, run, ts, x0, key)


@public(mixed=True)
def heun_ensemble(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    num: int,
    shape: Sequence[int],
    observe: Observe | None = None,
    churn: Churn | None = None,
    chunk: int | None = None,
    members: Int[Array, " num"] | None = None,
) -> Trajectory:
    """Sample `num` independent configurations; the final state and what was observed gain a leading axis.

    Member i is `heun` with `jax.random.fold_in(key, i)`, whatever `num` and `chunk`; `chunk` and `members` as for
    `simulate_ensemble`. Given starts are a `jax.vmap` of `heun` over `x0`. Raises `ValueError` as `heun`, and for
    `num` or `chunk` below 1.
    """
    members = members_of(num, chunk, members)
    run, ts, _ = _prepared(field, ts, shape, None, None, observe, churn)
    return finished(run_members, run, ts, None, key, members, chunk or num)


class HeunRun(eqx.Module):
    """Everything that one trajectory needs besides its noise levels, start and key."""

    field: AbstractField
    observe: Observe | None
    churn: Churn | None
    shape: tuple[int, ...] = eqx.field(static=True)
    observe_end: bool = eqx.field(static=True)

    def __call__(self, ts: Times, x0: Configuration | None, key: PRNGKeyArray) -> Trajectory:
        key_start, key_noise = jr.split(key)
        if x0 is None:
            x0 = self.field.process.prior_scale(ts[0]) * jr.normal(key_start, self.shape, ts.dtype)

        def step(x: Configuration, interval: tuple[Array, Array, Array]) -> tuple[Configuration, Any]:
            index, t, t_next = interval
            kept = observed(self.observe, t, x)
            if self.churn is not None:
                noise = jr.normal(jr.fold_in(key_noise, index), x.shape, x.dtype)
                t, x = self.churn.raised(t, x, noise, ts.shape[0] - 1)
            return heun_step(self.field, t, t_next, x), kept

        x, path = jax.lax.scan(step, x0, (jnp.arange(ts.shape[0] - 1), ts[:-1], ts[1:]))
        if self.observe_end:
            last = observed(self.observe, ts[-1], x)
            path = jax.tree.map(lambda path, end: jnp.concatenate([path, end[None]]), path, last)
        return Trajectory(ts, x, path)


def _prepared(
    field: AbstractField,
    ts: Times,
    shape: Sequence[int] | None,
    x0: Array | None,
    lattice: Sequence[int] | None,
    observe: Observe | None,
    churn: Churn | None,
) -> tuple[HeunRun, Times, Array | None]:
    """Checks what the user gave: EDM's flow, and otherwise what a simulation of the flow by Euler's steps accepts."""
    require(
        field.process.has_edm_clock(),
        f"heun integrates fields of an EDM process, got {type(field.process).__name__}; for the probability flow of "
        "another use simulate(field, ts, kind='flow', solver=diffrax.Heun()).",
    )
    require_not_negative("ts", ts)
    last = concrete(ts)
    run, ts, x0 = prepare(field, ts, shape, x0, lattice, observe, "flow", "euler", "scan")
    return HeunRun(field, observe, churn, run.shape, last is not None and bool(last[-1] > 0)), ts, x0
