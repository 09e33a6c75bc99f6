"""What steps a state through the grid: diffrax, a plain scan, and the loop of the multistep solver."""

from collections.abc import Callable
from typing import Any, Literal

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from equinox.internal import nondifferentiable_backward

from softjax._checks import require, require_option
from softjax._types import Array, Configuration, Times
from softjax.dynamics._brownian import GridBrownian, interval_noise
from softjax.dynamics._dpm import dpm
from softjax.dynamics._drift import flow_drift, sde_drift, stochastic_drift
from softjax.dynamics._problem import AbstractIntegrator, Problem
from softjax.dynamics._scan import observed, scan_grid
from softjax.fields import AbstractField

Kind = Literal["sde", "flow"]
Engine = Literal["diffrax", "scan"]
SOLVERS: dict[str, Callable[[], dfx.AbstractSolver]] = {"euler": dfx.Euler, "sea": dfx.SEA, "shark": dfx.ShARK}
MULTISTEP = "dpmpp_2m"


class EngineIntegrator(AbstractIntegrator):
    """The integrator of `simulate`, with the options of that name. Raises `ValueError` for those that do not fit."""

    kind: Kind = eqx.field(static=True)
    solver: str | dfx.AbstractSolver
    engine: Engine = eqx.field(static=True)
    stochasticity: Array | None = None  # of the reverse SDE, where it is not 1

    def __check_init__(self):
        solver = self.solver
        if isinstance(solver, str):
            require_option("solver", solver, (*SOLVERS, MULTISTEP))
        require(
            self.engine == "diffrax" or solver in ("euler", "sea", MULTISTEP),
            f"engine 'scan' offers 'euler', 'sea' and '{MULTISTEP}'; got {solver!r}.",
        )
        require(
            self.noisy or solver not in ("sea", "shark"),
            f"solver {solver!r} is for additive noise; for kind 'flow', which is stochasticity 0, take 'euler', "
            f"'{MULTISTEP}' or a diffrax ODE solver.",
        )

    def __call__(self, problem: Problem) -> tuple[Configuration, Any]:
        if self.solver == MULTISTEP:
            return dpm(problem, float(self.noisy) if self.stochasticity is None else self.stochasticity)
        return (_diffrax if self.engine == "diffrax" else _scan)(self, problem)

    @property
    def skips_end(self) -> bool:
        return self.solver in ("euler", MULTISTEP)

    @property
    def noisy(self) -> bool:
        """Whether the reverse SDE is integrated, not the flow."""
        return self.kind == "sde"

    def drift(self, field: AbstractField, t: Array, x: Configuration) -> Configuration:
        """Change of the state per unit decrease of t."""
        if self.stochasticity is not None:
            return stochastic_drift(field, t, x, self.stochasticity)
        return (sde_drift if self.noisy else flow_drift)(field, t, x)

    def noise(self, field: AbstractField, t: Array) -> Array:
        """Amplitude of the Brownian increments."""
        beta = field.process.beta(t)
        return jnp.sqrt(beta if self.stochasticity is None else self.stochasticity.astype(beta.dtype) * beta)


_FORWARD_ONLY = (
    "engine 'diffrax' differentiates in forward mode only (jax.jvp, jax.jacfwd); for jax.grad and jax.vjp take "
    "engine='scan' with solver 'euler' or 'sea', or solver='dpmpp_2m'."
)


def _scan(integrator: EngineIntegrator, problem: Problem) -> tuple[Configuration, Any]:
    """The scan engine: euler is x + h f(t, x) + g W, and sea, with g' the noise at the end of the step, is diffrax's.

    That is x + h f(t, x + g (W/2 + H)) + g W + (g' - g) (W/2 - H).
    """
    field = problem.field

    def step(index: Array, t: Array, t_next: Array, x: Configuration) -> Configuration:
        h = t - t_next
        if not integrator.noisy:
            return x + h * integrator.drift(field, t, x)
        w, levy = interval_noise(problem.key, index, h, x.shape)
        g = integrator.noise(field, t)
        if integrator.solver == "euler":
            return x + h * integrator.drift(field, t, x) + g * w
        change = integrator.noise(field, t_next) - g
        x_mid = x + g * (0.5 * w + levy)
        return x + h * integrator.drift(field, t, x_mid) + g * w + change * (0.5 * w - levy)

    return scan_grid(step, problem.ts, problem.x0, problem.observe)


def _diffrax(integrator: EngineIntegrator, problem: Problem) -> tuple[Configuration, Any]:
    """Any diffrax solver, one step per grid interval."""
    solver, observe = integrator.solver, problem.observe
    stepper = SOLVERS[solver]() if isinstance(solver, str) else solver
    s = -problem.ts
    final = dfx.SubSaveAt(t1=True)
    saved = [final]
    if observe is not None:
        saved.append(dfx.SubSaveAt(t0=True, steps=1, fn=lambda s, x, args: observed(observe, -jnp.asarray(s), x)))
    solution = dfx.diffeqsolve(
        _terms(integrator, problem, stepper, s),
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
    path = (solution.ys[0][0], solution.ys[1] if observe is not None else None)
    return nondifferentiable_backward(path, msg=_FORWARD_ONLY)


def _terms(integrator: EngineIntegrator, problem: Problem, stepper: dfx.AbstractSolver, s: Times) -> Any:
    field = problem.field
    drift = dfx.ODETerm(lambda s, x, args: integrator.drift(field, -jnp.asarray(s), x))
    if not integrator.noisy:
        return drift
    path = GridBrownian(s, problem.x0.shape, _levy_area(stepper), key=problem.key)
    # A diagonal operator, never lineax's identity: with it diffrax's additive-noise solvers count the noise twice.
    return dfx.MultiTerm(
        drift,
        dfx.ControlTerm(
            lambda s, x, args: lx.DiagonalLinearOperator(integrator.noise(field, -jnp.asarray(s)) * jnp.ones_like(x)),
            path,
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
