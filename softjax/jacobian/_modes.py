r"""Response of a drift to Fourier modes (theory.md section 5; App. B and Eqs. 46-48).

For a unit direction v and J the Jacobian of the drift f at x: the Rayleigh quotient $\langle v, Jv\rangle$, which for
a Fourier mode of a convolution is the real part of its eigenvalue, and the magnitude $\|Jv\|$.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import require, require_option, require_shape
from softjax._types import Array, Configuration, Float
from softjax.jacobian._linearise import Drift, linearise, require_drift
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
    state, for black-box functions; the paper scales it with the noise, `step=1e-2 * process.sigma(t)`.
    `batch_size` directions are in memory at a time, by default all.

    Not compiled here, since `f` is usually a closure: wrap the caller in `jax.jit`. For a softjax field at many
    times, `ModeProbe` is faster. Raises `ValueError` for a state that is not finite or does not fit the modes, and
    for a drift of another shape.
    """
    require_option("method", method, ("jvp", "finite_difference"))
    require_shape("x", x.shape, modes.directions.shape[1:])
    require(batch_size is None or batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")
    jacobian = linearise(f, x) if method == "jvp" else _differences(f, x, step)
    if batch_size is None:
        return respond(jax.vmap(jacobian)(modes.directions), modes)
    return respond(jax.lax.map(jacobian, modes.directions, batch_size=batch_size), modes)


def _differences(f: Drift, x: Configuration, step: float | Array) -> Drift:
    """The map v -> J v by central differences."""
    require_drift(f, x)
    return lambda v: (f(x + step * v) - f(x - step * v)) / (2 * step)


def respond(jv: Float[Array, "modes ..."], modes: FourierModes) -> ModeResponse:
    """Rayleigh quotients and magnitudes from the Jacobian's action on every direction, (modes, *lattice)."""
    rayleigh = _sum_over_sites(modes.directions * jv)
    magnitude = jnp.sqrt(_sum_over_sites(jv**2))
    return ModeResponse(modes.shell_mean(rayleigh), modes.shell_mean(magnitude), rayleigh, magnitude)


def _sum_over_sites(values: Float[Array, "modes ..."]) -> Float[Array, " modes"]:
    """Rows first: one long sum per mode is slower, and rounds more."""
    return jnp.sum(jnp.sum(values, axis=-1), axis=tuple(range(1, values.ndim - 1)))
