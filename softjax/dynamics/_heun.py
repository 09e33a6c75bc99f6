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
from softjax._repr import fields, readable
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Times
from softjax.dynamics._drift import flow_drift
from softjax.dynamics._problem import AbstractIntegrator, Problem
from softjax.dynamics._scan import Observe, scan_grid
from softjax.dynamics._simulate import Trajectory, finished, members_of, prepare, run_members, run_one
from softjax.fields import AbstractField

_LARGEST_RISE = 2**0.5 - 1  # of the noise level in one churned step, relative: the noise added is at most that present


class Churn(eqx.Module):
    r"""Fresh noise before each step of `heun`, which makes it stochastic (Algorithm 2 of Karras et al. 2022).

    * `strength`: S, the noise of all steps together, without unit;
    * `t_min`, `t_max`: levels between which noise is added, in units of the data;
    * `noise_scale`: standard deviation of that noise, over the one that the rise asks for.

    A step that starts at noise $\sigma$ between `t_min` and `t_max` first raises it to $(1 + \gamma)\sigma$ with
    $\gamma = \min(S/n, \sqrt2 - 1)$, n the number of steps. In the paper: S_churn, S_min, S_max, S_noise. Raises
    `ValueError` for negative numbers, and for `t_min` above `t_max`.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.EDM())
    >>> ts = sj.karras_grid(10.0, 0.1, 6)
    >>> churned = sj.heun(field, ts, key=jr.key(0), shape=(4, 4), churn=sj.Churn(2.0))
    >>> bool(jnp.allclose(churned.x, sj.heun(field, ts, key=jr.key(0), shape=(4, 4)).x))
    False
    """

    strength: float
    t_min: float
    t_max: float
    noise_scale: float

    @readable
    def __repr__(self) -> list[str]:
        return fields(self)

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
        """Noise level and state after the rise, for standard normal `noise` of the shape of `x`.

        * `t`: the noise level of the step, in units of the data;
        * `x`: the state at it, in units of the data;
        * `noise`: standard normal, of the shape of `x`;
        * `num_steps`: n, the steps of the whole grid.
        """
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

    * `field`: of an EDM process;
    * `ts`: (levels,), decreasing noise levels in units of the data, usually a `karras_grid`;
    * `key`: fixes start and churn;
    * `shape`: of the configuration, to start from Gaussian noise of standard deviation `ts[0]`; or give
    * `x0`: (*lattice), the start itself, at `ts[0]`;
    * `observe`: called with (t, x), returns what to keep, a pytree of arrays;
    * `churn`: noise that is added on the way; without it the sampler is deterministic after its start.

    `observe(t, x)` is called once on every grid point of positive noise: on `ts[:-1]` and, if it is known to be
    positive, on `ts[-1]`. At zero noise the slope and the score have no value: the end is in `x` of the trajectory.

    The same key gives the same trajectory, from the same start as `simulate`, and is member i of `heun_ensemble` for
    `jax.random.fold_in(key, i)`. Raises `ValueError` for a process other than EDM and for negative noise levels;
    otherwise as `simulate`.

    >>> field = sj.MixtureField(jnp.asarray([[1.0, 1.0], [-1.0, -1.0]]), sj.EDM(), width=0.1)
    >>> path = sj.heun(field, sj.karras_grid(10.0, 0.05, 12), key=jr.key(0), x0=jnp.asarray([9.0, 9.0]))
    >>> print(np.asarray(path.x).round(1))
    [1.1 1.1]
    """
    run, ts, x0 = prepare(field, ts, _integrator(field, ts, churn), shape=shape, x0=x0, observe=observe)
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

    * `field`, `ts`, `shape`, `observe`, `churn`: as for `heun`;
    * `key`: of the ensemble;
    * `num`: how many configurations;
    * `chunk`: how many run side by side, by default all;
    * `members`: (num,), which members of the ensemble, by default the first.

    Member i is `heun` with `jax.random.fold_in(key, i)`, whatever `num` and `chunk`. Given starts are a `jax.vmap` of
    `heun` over `x0`. Raises `ValueError` as `heun`, and for `num` or `chunk` below 1.

    >>> field = sj.MixtureField(jnp.asarray([[1.0, 1.0], [-1.0, -1.0]]), sj.EDM(), width=0.1)
    >>> paths = sj.heun_ensemble(field, sj.karras_grid(10.0, 0.05, 12), key=jr.key(0), num=3, shape=(2,))
    >>> print(abs(np.asarray(paths.x)).round(0)[:, 0])
    [1. 1. 1.]
    """
    members = members_of(num, chunk, members)
    run, ts, _ = prepare(field, ts, _integrator(field, ts, churn), shape=shape, observe=observe)
    return finished(run_members, run, ts, None, key, members, chunk or num)


class HeunIntegrator(AbstractIntegrator):
    """Heun's method with its options: churn, and whether the end of the grid, of positive noise, is observed."""

    churn: Churn | None
    observe_end: bool = eqx.field(static=True)

    @property
    def skips_end(self) -> bool:
        return True  # where its noise is zero

    def __call__(self, problem: Problem) -> tuple[Configuration, Any]:
        num_steps = problem.ts.shape[0] - 1

        def step(index: Array, t: Array, t_next: Array, x: Configuration) -> Configuration:
            if self.churn is not None:
                noise = jr.normal(jr.fold_in(problem.key, index), x.shape, x.dtype)
                t, x = self.churn.raised(t, x, noise, num_steps)
            return heun_step(problem.field, t, t_next, x)

        return scan_grid(step, problem.ts, problem.x0, problem.observe, self.observe_end)


def _integrator(field: AbstractField, ts: Times, churn: Churn | None) -> HeunIntegrator:
    """Checks what `heun` asks for beyond `simulate`: EDM's process, and times that are noise levels."""
    require(
        field.process.has_edm_clock(),
        f"heun integrates fields of an EDM process, got {type(field.process).__name__}; for the probability flow of "
        "another use simulate(field, ts, kind='flow', solver=diffrax.Heun()).",
    )
    require_not_negative("ts", ts)
    last = concrete(ts)
    return HeunIntegrator(churn, last is not None and bool(last[-1] > 0))
