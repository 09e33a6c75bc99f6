"""The two engines that step a state through the grid: diffrax, and a plain scan."""

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from equinox.internal import nondifferentiable_backward

from softjax._checks import outputs
from softjax._types import Array, Configuration, PRNGKeyArray, Times
from softjax.dynamics._brownian import GridBrownian, interval_noise
from softjax.dynamics._drift import flow_drift, sde_drift
from softjax.fields import AbstractField

SOLVERS: dict[str, Callable[[], dfx.AbstractSolver]] = {"euler": dfx.Euler, "sea": dfx.SEA, "shark": dfx.ShARK}


class Problem(eqx.Module):
    """One trajectory to integrate: a field, what to observe, the grid, the start, and the noise."""

    field: AbstractField
    observe: Callable[[Array, Configuration], Any] | None
    noisy: bool = eqx.field(static=True)
    ts: Times
    x0: Configuration
    key: PRNGKeyArray

    def drift(self, t: Array, x: Configuration) -> Configuration:
        """Change of the state per unit decrease of t."""
        return (sde_drift if self.noisy else flow_drift)(self.field, t, x)

    def noise(self, t: Array) -> Array:
        """Amplitude of the Brownian increments."""
        return jnp.sqrt(self.field.process.beta(t))

    def kept(self, t: Array, x: Configuration) -> Any:
        """What is kept of this grid point."""
        return observed(self.observe, t, x)


def observed(observe: Callable[[Array, Configuration], Any] | None, t: Array, x: Configuration) -> Any:
    """What a user's function keeps of a grid point, as arrays; None where there is no function."""
    return None if observe is None else outputs("observe", observe(t, x))


_FORWARD_ONLY = (
    "engine 'diffrax' differentiates in forward mode only (jax.jvp, jax.jacfwd); for jax.grad and jax.vjp take "
    "engine='scan' with solver 'euler' or 'sea'."
)


def _scan(problem: Problem, solver: str | dfx.AbstractSolver) -> tuple[Configuration, Any]:
    """The scan engine: euler is x + h f(t, x) + g W, and sea, with g' the noise at the end of the step, is diffrax's.

    That is x + h f(t, x + g (W/2 + H)) + g W + (g' - g) (W/2 - H).
    """

    def step(x: Configuration, interval: tuple[Array, Array, Array]) -> tuple[Configuration, Any]:
        index, t, t_next = interval
        h, kept = t - t_next, problem.kept(t, x)
        if not problem.noisy:
            return x + h * problem.drift(t, x), kept
        w, levy = interval_noise(problem.key, index, h, x.shape)
        g = problem.noise(t)
        if solver == "euler":
            return x + h * problem.drift(t, x) + g * w, kept
        change = problem.noise(t_next) - g
        x_mid = x + g * (0.5 * w + levy)
        return x + h * problem.drift(t, x_mid) + g * w + change * (0.5 * w - levy), kept

    ts = problem.ts
    x, kept = jax.lax.scan(step, problem.x0, (jnp.arange(ts.shape[0] - 1), ts[:-1], ts[1:]))
    last = problem.kept(ts[-1], x)
    return x, jax.tree.map(lambda path, end: jnp.concatenate([path, jnp.asarray(end)[None]]), kept, last)


def _diffrax(problem: Problem, solver: str | dfx.AbstractSolver) -> tuple[Configuration, Any]:
    """Any diffrax solver, one step per grid interval."""
    stepper = SOLVERS[solver]() if isinstance(solver, str) else solver
    s = -problem.ts
    final = dfx.SubSaveAt(t1=True)
    saved = [final]
    if problem.observe is not None:
        saved.append(dfx.SubSaveAt(t0=True, steps=1, fn=lambda s, x, args: problem.kept(-jnp.asarray(s), x)))
    solution = dfx.diffeqsolve(
        _terms(problem, stepper, s),
        stepper,
        s[0],
        s[-1],
        None,
        problem.x0,
        stepsize_controller=dfx.StepTo(ts=s),
        saveat=dfx.SaveAt(subs=saved),
        max_steps=s.shape[0] - 1,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    assert solution.ys is not None
    path = (solution.ys[0][0], solution.ys[1] if problem.observe is not None else None)
    return nondifferentiable_backward(path, msg=_FORWARD_ONLY)


def _terms(problem: Problem, stepper: dfx.AbstractSolver, s: Times) -> Any:
    drift = dfx.ODETerm(lambda s, x, args: problem.drift(-jnp.asarray(s), x))
    if not problem.noisy:
        return drift
    path = GridBrownian(s, problem.x0.shape, _levy_area(stepper), key=problem.key)
    # A diagonal operator, never lineax's identity: with it diffrax's additive-noise solvers count the noise twice.
    return dfx.MultiTerm(
        drift,
        dfx.ControlTerm(
            lambda s, x, args: lx.DiagonalLinearOperator(problem.noise(-jnp.asarray(s)) * jnp.ones_like(x)), path
        ),
    )


def _levy_area(stepper: dfx.AbstractSolver) -> type:
    """What the solver needs to know of the Brownian path on one step."""
    needed = getattr(stepper, "minimal_levy_area", dfx.AbstractBrownianIncrement)
    if issubclass(needed, dfx.AbstractSpaceTimeTimeLevyArea):
        raise ValueError(
            f"{type(stepper).__name__} needs space-time-time Levy areas, which grid increments do not carry; "
            "for additive noise 'sea' and 'shark' do as well."
        )
    return dfx.SpaceTimeLevyArea if issubclass(needed, dfx.AbstractSpaceTimeLevyArea) else dfx.BrownianIncrement


ENGINES = {"diffrax": _diffrax, "scan": _scan}
