r"""Response of a drift to Fourier modes (theory.md section 5; App. B and Eqs. 46-48).

For a unit direction v and J the Jacobian of the drift f at x: the Rayleigh quotient $\langle v, Jv\rangle$, which for
a Fourier mode of a convolution is the real part of its eigenvalue, and the magnitude $\|Jv\|$.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from softjax._checks import output_like, public, require, require_positive, require_shape, wider
from softjax._types import Array, Configuration, Float
from softjax.jacobian._linearise import Drift, as_precise, linearise
from softjax.spectral import FourierModes


class ModeResponse(eqx.Module):
    """Response to each direction, and its mean over the directions of each shell; in units of 1/t.

    * `rayleigh`, `magnitude`: (shells,);
    * `direction_rayleigh`, `direction_magnitude`: (modes,).
    """

    rayleigh: Float[Array, " shells"]
    magnitude: Float[Array, " shells"]
    direction_rayleigh: Float[Array, " modes"]
    direction_magnitude: Float[Array, " modes"]


@public(mixed=True)
def mode_response(
    f: Drift,
    x: Configuration,
    modes: FourierModes,
    method: Literal["jvp", "finite_difference"] = "jvp",
    step: float | Array = 1e-2,
    batch_size: int | None = None,
) -> ModeResponse:
    r"""Response of the drift `f`, a map (*lattice) -> (*lattice), at `x` to every direction of `modes`.

    `method="jvp"` is exact: one linearisation shared by all directions. `"finite_difference"` is the paper's
    $(f(x + \epsilon v) - f(x - \epsilon v))/2\epsilon$, Eq. (46), with $\epsilon$ = `step` in units of the
    state; the paper scales it with the noise, `step=1e-2 * process.sigma(t)`. Outside `jit` it takes black boxes, which
    JAX can't trace: NumPy, torch, another program. `f` is then called with JAX arrays that `numpy.asarray` reads,
    twice for each direction, one after the other, and never traced. `batch_size` directions are in memory at a time, by
    default all.

    Not compiled here, since `f` is usually a closure: wrap the caller in `jax.jit`. For a softjax field at many
    times, `ModeProbe` is faster. Raises `ValueError` for a state that is not finite or does not fit the modes, a
    step that is not positive, and a drift of another shape.
    """
    require_shape("x", x.shape, modes.directions.shape[1:])
    require(batch_size is None or batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")
    require_positive("step", step)
    x, modes = wider(x, modes)
    if method == "finite_difference" and not isinstance(x, Tracer):
        return _one_by_one(f, x, modes, step)
    x, modes = wider(as_precise(f, x), modes)
    jacobian = linearise(f, x) if method == "jvp" else _differences(f, x, step)
    if batch_size is None:
        return respond(jax.vmap(jacobian)(modes.directions), modes)
    return respond(jax.lax.map(jacobian, modes.directions, batch_size=batch_size), modes)


def _differences(f: Drift, x: Configuration, step: float | Array) -> Drift:
    """The map v -> J v by central differences."""

    def value(x: Configuration) -> Configuration:
        return output_like("f", f(x), x.shape).astype(x.dtype)

    step = jnp.asarray(step, x.dtype)
    return lambda v: (value(x + step * v) - value(x - step * v)) / (2 * step)


def _one_by_one(f: Drift, x: Configuration, modes: FourierModes, step: float | Array) -> ModeResponse:
    """By differences of a function that may be a black box: called with known states, one after the other."""
    if isinstance(modes.directions, Tracer):
        raise ValueError("modes are traced and x is not: close over the modes, or pass x through jit too.")
    responses = [_differences(f, x, step)(v) for v in modes.directions]
    return respond(jnp.stack(responses), modes)


def respond(jv: Float[Array, "modes ..."], modes: FourierModes) -> ModeResponse:
    """Rayleigh quotients and magnitudes from the Jacobian's action on every direction, (modes, *lattice)."""
    rayleigh = _sum_over_sites(modes.directions * jv)
    magnitude = jnp.sqrt(_sum_over_sites(jv**2))
    return ModeResponse(modes.shell_mean(rayleigh), modes.shell_mean(magnitude), rayleigh, magnitude)


def _sum_over_sites(values: Float[Array, "modes ..."]) -> Float[Array, " modes"]:
    """Rows first: one long sum per mode is slower, and rounds more."""
    return jnp.sum(jnp.sum(values, axis=-1), axis=tuple(range(1, values.ndim - 1)))
