r"""How far Fourier modes are from eigenvectors of a drift's Jacobian (theory.md section 5)."""

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, wider
from softjax._repr import readable, spread
from softjax._types import Array, Channel, Configuration, Float
from softjax.jacobian._linearise import Drift, as_precise, linearise
from softjax.spectral import FourierModes, in_channels


class ModeLeakage(eqx.Module):
    r"""What the Jacobian sends out of each mode's own Fourier pair.

    * `leakage`: (shells,), share $\|Jv - PJv\|/\|Jv\|$ of the response, from 0 to 1, mean over the shell's directions;
    * `direction_leakage`: (modes,), the same per direction;
    * `direction_residual`: (modes,), $\|Jv - PJv\|$ itself, in units of 1/t.

    With `channel="block"` each has a last axis more, the channel of the direction.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> found = sj.mode_leakage(f, jnp.zeros((8, 8)), sj.fourier_modes((8, 8), 1))
    >>> print(found.leakage.shape, bool((found.leakage < 1e-5).all()))
    (2,) True
    """

    leakage: Float[Array, "shells ..."]
    direction_leakage: Float[Array, "modes ..."]
    direction_residual: Float[Array, "modes ..."]

    @readable
    def __repr__(self) -> list[str]:
        count = self.direction_leakage.shape[0]
        return [f"{count} directions", f"leakage of the shells {spread(self.leakage)}"]


@public
def mode_leakage(
    f: Drift,
    x: Configuration,
    modes: FourierModes,
    channels: int | None = None,
    channel: Channel = "equal",
) -> ModeLeakage:
    r"""Off-diagonal leakage of the drift `f` at `x`, for every direction of `modes`.

    * `f`: a map of configurations that keeps their shape;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `modes`: directions of the lattice;
    * `channels`: how many channels the last axis of `x` holds, 0 or None for none;
    * `channel`: "equal", directions that are equal in all channels; a number, in one channel; "block", in each.

    P projects on the cosine and the sine of the direction's wavevector, in every channel. For a convolution $Jv = PJv$,
    so that the leakage is 0 up to rounding, whatever the phase speed; a response entirely in other wavevectors has
    leakage 1, a vanishing one 0. Where $\lambda(k)$ passes through zero the share goes to 1 for any inhomogeneous
    state: compare `direction_residual` with the gaps of the spectrum there.

    Not compiled here, as `mode_response`. Raises `ValueError` as `mode_response` does.

    >>> modes = sj.fourier_modes((8, 8), 1)
    >>> uneven = jnp.arange(64.0).reshape(8, 8) / 64
    >>> print(np.asarray(sj.mode_leakage(lambda x: uneven * x, uneven, modes).leakage).round(3))
    [0.506 0.497]
    """
    spread = in_channels(modes, x.shape, channels, channel)
    x, spread = wider(as_precise(f, x), spread)
    jv = jax.vmap(linearise(f, x))(spread.directions)
    axes = tuple(range(1, jv.ndim))
    spectrum = jnp.fft.fftn(jv, axes=axes[: modes.wavevectors.shape[1]], norm="ortho")
    each = jnp.arange(jv.shape[0])
    for n in (spread.wavevectors, -spread.wavevectors):
        spectrum = spectrum.at[(each, *n.T)].set(0)
    residual = jnp.sqrt(jnp.sum(jnp.abs(spectrum) ** 2, axes))
    magnitude = jnp.sqrt(jnp.sum(jv**2, axes))
    leakage = jnp.where(magnitude > 0, residual / jnp.where(magnitude > 0, magnitude, 1), 0)
    if channels and channel == "block":
        leakage, residual = leakage.reshape(-1, channels), residual.reshape(-1, channels)
    return ModeLeakage(modes.shell_mean(leakage), leakage, residual)
