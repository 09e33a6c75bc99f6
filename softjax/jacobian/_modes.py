r"""Response of a drift to Fourier modes (theory.md section 5; App. B and Eqs. 46-48).

For a unit direction v and J the Jacobian of the drift f at x: the Rayleigh quotient $\langle v, Jv\rangle$, which for
a Fourier mode of a convolution is the real part of its eigenvalue, and the magnitude $\|Jv\|$.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import require, require_finite, require_option, require_shape
from softjax._types import Array, Configuration, Float
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
    f: Callable[[Configuration], Configuration],
    x: Configuration,
    modes: FourierModes,
    method: Literal["jvp", "finite_difference"] = "jvp",
    step: float | Array = 1e-2,
) -> ModeResponse:
    r"""Response of the drift `f`, a map (*lattice) -> (*lattice), at `x` to every direction of `modes`.

    `method="jvp"` is exact: one linearisation shared by all directions. `"finite_difference"` is the paper's
    $(f(x + \epsilon v) - f(x - \epsilon v))/2\epsilon$, Eq. (46), with $\epsilon$ = `step` in units of the
    state, for black-box functions; the paper scales it with the noise, `step=1e-2 * process.sigma(t)`.

    Not compiled here, since `f` is usually a closure: wrap the caller in `jax.jit`. For a softjax field at many
    times, `ModeProbe` is faster. Raises `ValueError` for a state that is not finite or does not fit the modes, and
    for a drift of another shape.
    """
    require_option("method", method, ("jvp", "finite_difference"))
    require_shape("x", x.shape, modes.directions.shape[1:])
    require_finite("x", x)
    drift = jax.eval_shape(f, x)
    require(drift.shape == x.shape, f"f must return the shape of its configuration, {x.shape}; got {drift.shape}.")
    if method == "jvp":
        _, tangent_map = jax.linearize(f, x)
        return respond(jax.vmap(tangent_map)(modes.directions), modes)
    ahead = jax.vmap(lambda v: f(x + step * v))(modes.directions)
    behind = jax.vmap(lambda v: f(x - step * v))(modes.directions)
    return respond((ahead - behind) / (2 * step), modes)


def respond(jv: Float[Array, "modes ..."], modes: FourierModes) -> ModeResponse:
    """Rayleigh quotients and magnitudes from the Jacobian's action on every direction, (modes, *lattice)."""
    axes = tuple(range(1, jv.ndim))
    rayleigh = jnp.sum(modes.directions * jv, axes)
    magnitude = jnp.sqrt(jnp.sum(jv**2, axes))
    return ModeResponse(modes.shell_mean(rayleigh), modes.shell_mean(magnitude), rayleigh, magnitude)
