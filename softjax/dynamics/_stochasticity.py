"""What a stochasticity means: which program runs, and whether a grid is fine enough for it (theory.md section 1)."""

import warnings

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, require, require_not_negative
from softjax._types import Array, ArrayLike
from softjax.dynamics._engines import MULTISTEP, Engine, EngineIntegrator, Kind
from softjax.dynamics._problem import AbstractIntegrator
from softjax.processes import AbstractProcess

# Largest linear rate times step: where Euler's method turns unstable, and where the multistep solver, which is stable,
# is about 1% off.
_UNSTABLE, _COARSE = 2.0, 4.0


def integrator_of(
    kind: Kind, solver: str | dfx.AbstractSolver, engine: Engine, stochasticity: ArrayLike | None
) -> EngineIntegrator:
    """The integrator of `simulate`. Stochasticity 0 and 1 are the very programs of the flow and of the SDE without it.

    Any other is an array, so that new values do not compile anew.
    """
    if stochasticity is None:
        return EngineIntegrator(kind, solver, engine)
    require(
        np.ndim(stochasticity) == 0,
        f"stochasticity must be one number, got shape {np.shape(stochasticity)}. For several use jax.vmap.",
    )
    require_not_negative("stochasticity", stochasticity)
    known = concrete(stochasticity)
    if known is not None and known == 0:
        return EngineIntegrator("flow", solver, engine)
    given = "a traced value" if known is None else f"{known.item():g}"
    require(kind == "sde", f"kind 'flow' is stochasticity 0, got {given}: leave out one of the two.")
    if known is not None and known == 1:
        return EngineIntegrator(kind, solver, engine)
    return EngineIntegrator(kind, solver, engine, jnp.asarray(stochasticity, float))


def warn_of_long_steps(process: AbstractProcess, ts: np.ndarray, integrator: AbstractIntegrator) -> None:
    """Warns where steps are too long for a stochasticity that is known."""
    if not isinstance(integrator, EngineIntegrator) or integrator.stochasticity is None:
        return
    value = concrete(integrator.stochasticity)
    if value is None:
        return
    multistep = integrator.solver == MULTISTEP
    found = concrete((_log_steps if multistep else _steps)(process, jnp.asarray(ts), float(value)))
    limit = _COARSE if multistep else _UNSTABLE
    if found is None or not np.any(found > limit):
        return
    worst, wanted = int(np.argmax(found)), int(np.ceil(np.max(found) / limit * (ts.size - 1)))
    trouble = "errors exceed 1%" if multistep else "steps are unstable"
    instead = "" if multistep else f", or solver '{MULTISTEP}', which is stable"
    warnings.warn(
        f"ts is too coarse for stochasticity={value:g}: from t = {ts[worst]:g} to {ts[worst + 1]:g} the linear rate "
        f"times the step is {found[worst]:.3g}; above {limit:g} {trouble}. Take about {wanted} steps of the same "
        f"kind{instead}.",
        stacklevel=5,
    )


def _log_steps(process: AbstractProcess, ts: Array, stochasticity: float) -> Array:
    """Integral of the linear rate (1 + stochasticity) d ln(sigma / alpha) over each step; none into zero noise."""
    ratio = jax.vmap(process.noise_to_signal)(ts)
    return jnp.where(ratio[1:] > 0, (1 + stochasticity) * jnp.log(ratio[:-1] / ratio[1:]), 0)


def _steps(process: AbstractProcess, ts: Array, stochasticity: float) -> Array:
    """Linear rate of the drift at the start of each step, times the step; none into zero noise."""
    noise, beta, damping = (jax.vmap(rate)(ts) for rate in (process.sigma, process.beta, process.damping))
    rate = damping - 0.5 * (1 + stochasticity) * beta / noise**2
    return jnp.where(noise[1:] > 0, jnp.abs(rate[:-1]) * -jnp.diff(ts), 0)
