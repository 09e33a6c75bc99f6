r"""Response of a drift to Fourier modes (theory.md section 5; App. B and Eqs. 46-48).

For a unit direction v and J the Jacobian of the drift f at x: the Rayleigh quotient $\langle v, Jv\rangle$, which for
a Fourier mode of a convolution is the real part of its eigenvalue, and the magnitude $\|Jv\|$.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from softjax._checks import output_like, public, require, require_positive, wider
from softjax._repr import readable, spread
from softjax._types import Array, Channel, Configuration, Float
from softjax.jacobian._linearise import Drift, as_precise, linearise
from softjax.spectral import FourierModes, in_channels


class ModeResponse(eqx.Module):
    """Response to each direction, and its mean over the directions of each shell; in units of 1/t.

    * `rayleigh`, `magnitude`: (shells,);
    * `direction_rayleigh`, `direction_magnitude`: (modes,).

    With `channel="block"` each has two axes more, the channel of the response and that of the direction.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> found = sj.mode_response(f, jnp.zeros((8, 8)), sj.fourier_modes((8, 8), 1))
    >>> print(np.asarray(found.rayleigh).round(3), found.direction_rayleigh.shape)
    [-0.2   -0.317] (5,)
    """

    rayleigh: Float[Array, "shells ..."]
    magnitude: Float[Array, "shells ..."]
    direction_rayleigh: Float[Array, "modes ..."]
    direction_magnitude: Float[Array, "modes ..."]

    @readable
    def __repr__(self) -> list[str]:
        shells = f"shells: rayleigh {spread(self.rayleigh)}"
        return [f"{self.direction_rayleigh.shape[0]} directions", shells, f"magnitude {spread(self.magnitude)}"]


@public(mixed=True)
def mode_response(
    f: Drift,
    x: Configuration,
    modes: FourierModes,
    method: Literal["jvp", "finite_difference"] = "jvp",
    step: float | Array = 1e-2,
    batch_size: int | None = None,
    channels: int | None = None,
    channel: Channel = "equal",
) -> ModeResponse:
    r"""Response of the drift `f` at `x` to every direction of `modes`.

    * `f`: a map of configurations that keeps their shape;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `modes`: directions of the lattice, `fourier_modes(lattice)`;
    * `method`, `step`: how J is applied, below; the step in units of the state;
    * `batch_size`: directions in memory at a time, by default all;
    * `channels`: how many channels the last axis of `x` holds, 0 or None for none;
    * `channel`: "equal", directions that are equal in all channels, of unit norm; a number, in that channel; "block",
      in each. Magnitudes are those of the response in all channels; a block has the response in each.

    `method="jvp"` is exact: one linearisation shared by all directions. `"finite_difference"` is the paper's
    $(f(x + \epsilon v) - f(x - \epsilon v))/2\epsilon$, Eq. (46), with $\epsilon$ = `step` in units of the
    state; the paper scales it with the noise, `step=1e-2 * process.sigma(t)`. Outside `jit` it takes black boxes, which
    JAX can't trace: NumPy, torch, another program. `f` is then called with JAX arrays that `numpy.asarray` reads,
    twice for each direction, one after the other, and never traced.

    Not compiled here, since `f` is usually a closure: wrap the caller in `jax.jit`. For a softjax field at many
    times, `ModeProbe` is faster. Raises `ValueError` for a state that is not finite or does not fit the modes, a
    step that is not positive, and a drift of another shape.

    >>> modes = sj.fourier_modes((8, 8), 1)
    >>> response = sj.mode_response(lambda x: -jnp.sin(x), jnp.zeros((8, 8)), modes)
    >>> print(np.asarray(response.rayleigh).round(3), np.asarray(response.magnitude).round(3))
    [-1. -1.] [1. 1.]
    """
    modes = in_channels(modes, x.shape, channels, channel)
    block = channels if channels and channel == "block" else 0
    require(batch_size is None or batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")
    require_positive("step", step)
    x, modes = wider(x, modes)
    if method == "finite_difference" and not isinstance(x, Tracer):
        return respond(_one_by_one(f, x, modes, step), modes, block)
    x, modes = wider(as_precise(f, x), modes)
    jacobian = linearise(f, x) if method == "jvp" else _differences(f, x, step)
    if batch_size is None:
        return respond(jax.vmap(jacobian)(modes.directions), modes, block)
    return respond(jax.lax.map(jacobian, modes.directions, batch_size=batch_size), modes, block)


def _differences(f: Drift, x: Configuration, step: float | Array) -> Drift:
    """The map v -> J v by central differences."""

    def value(x: Configuration) -> Configuration:
        return output_like("f", f(x), x.shape).astype(x.dtype)

    step = jnp.asarray(step, x.dtype)
    return lambda v: (value(x + step * v) - value(x - step * v)) / (2 * step)


def _one_by_one(f: Drift, x: Configuration, modes: FourierModes, step: float | Array) -> Array:
    """By differences of a function that may be a black box: called with known states, one after the other."""
    if isinstance(modes.directions, Tracer):
        raise ValueError("modes are traced and x is not: close over the modes, or pass x through jit too.")
    return jnp.stack([_differences(f, x, step)(v) for v in modes.directions])


def respond(jv: Float[Array, "modes ..."], modes: FourierModes, block: int = 0) -> ModeResponse:
    """Rayleigh quotients and magnitudes from the Jacobian's action on every direction, (modes, *lattice).

    For a `block` of that many channels, `modes` are those of `in_channels`.
    """
    if block:
        return _respond_in_each(jv, modes, block)
    rayleigh = _sum_over_sites(modes.directions * jv)
    return averaged(modes, rayleigh, jnp.sqrt(_sum_over_sites(jv**2)))


def averaged(modes: FourierModes, rayleigh: Float[Array, " modes"], magnitude: Float[Array, " modes"]) -> ModeResponse:
    """The responses of all directions, with their means over shells."""
    return ModeResponse(modes.shell_mean(rayleigh), modes.shell_mean(magnitude), rayleigh, magnitude)


def _respond_in_each(jv: Float[Array, "modes ..."], modes: FourierModes, channels: int) -> ModeResponse:
    """The response of every channel to directions in every channel."""
    alone = jnp.sum(modes.directions, axis=-1, keepdims=True)  # the direction in its one channel
    to_each = jnp.moveaxis(alone * jv, -1, 0), jnp.moveaxis(jv**2, -1, 0)
    rayleigh, square = (jax.vmap(_sum_over_sites)(part).reshape(channels, -1, channels) for part in to_each)
    rayleigh, magnitude = jnp.moveaxis(rayleigh, 0, 1), jnp.moveaxis(jnp.sqrt(square), 0, 1)
    modes = eqx.tree_at(lambda m: m.shells, modes, modes.shells[::channels])
    return ModeResponse(modes.shell_mean(rayleigh), modes.shell_mean(magnitude), rayleigh, magnitude)


def _sum_over_sites(values: Float[Array, "modes ..."]) -> Float[Array, " modes"]:
    """Rows first: one long sum per mode is slower, and rounds more."""
    return jnp.sum(jnp.sum(values, axis=-1), axis=tuple(range(1, values.ndim - 1)))
