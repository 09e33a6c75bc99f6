r"""Mode responses of Gaussian data: what softening is there without any pattern (theory.md section 10).

For a covariance with eigenpairs $\nu_j, u_j$ the Jacobian of the reverse drift is $J = \sum_j\lambda_ju_ju_j^T$ with
$\lambda_j = a - w/(\alpha^2\nu_j + \sigma^2)$, at every state; under VP $\beta[\tfrac12 - 1/(\alpha^2\nu_j +
\sigma^2)]$. So $\|Jv\|^2 = \sum_j\lambda_j^2(u_j\cdot v)^2$ needs no trajectory.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require, require_positive, wider
from softjax._linalg import matmul
from softjax._types import Array, Channel, Times
from softjax.fields import AbstractGaussianField, channels_of
from softjax.jacobian import ModeResponse
from softjax.spectral import FourierModes, in_channels


@public(mixed=True)
def gaussian_responses(
    field: AbstractGaussianField,
    ts: Times,
    modes: FourierModes,
    channels: int | None = None,
    channel: Channel = "equal",
) -> ModeResponse:
    r"""Response of a Gaussian field's reverse drift to Fourier modes, at all times, exact and the same at every state.

    * `field`: `GaussianField` or `CovarianceField`, of one class where there are classes;
    * `ts`: (times,), positive, in units of the process's time, in any order;
    * `modes`: directions of the lattice;
    * `channels`: how many channels configurations have, by default what the field says;
    * `channel`: "equal", directions that are equal in all channels; a number, in that channel.

    Returns what `ModeProbe` does at each time, per unit of t: `rayleigh` and `magnitude` (times, shells),
    `direction_rayleigh` and `direction_magnitude` (times, modes). `.magnitude` is the null that `excess` takes.

    Many classes are `jax.vmap` over `field.with_label(label)`. Raises `ValueError` for times that are not positive,
    shapes that do not fit, and blocks of channels, which `ModeProbe` has at any state.

    >>> field = sj.GaussianField(sj.spectral.free_field_spectrum((8, 8), 0.1, 1.0), sj.VP())
    >>> null = sj.theory.gaussian_responses(field, [4.0, 2.0], sj.fourier_modes((8, 8), 2))
    >>> print(np.asarray(null.rayleigh).round(3))
    [[-0.358 -0.492 -0.51 ]
     [ 0.049 -0.442 -0.576]]
    """
    require_positive("ts", ts)
    require(channel != "block", "channel='block' has no short cut: ModeProbe(field, modes, channel='block') has it.")
    field, ts, modes = wider(field, ts, modes)
    channels = channels_of(field, channels)
    shape = (*modes.directions.shape[1:], *((channels,) if channels else ()))
    return _responses(field, ts, in_channels(modes, shape, channels, channel))


@eqx.filter_jit
def _responses(field: AbstractGaussianField, ts: Times, modes: FourierModes) -> ModeResponse:
    process = field.process
    shares, variances = field.principal_shares(modes.directions)

    def growth_rates(t: Array) -> Array:
        noisy = process.alpha(t) ** 2 * variances + process.sigma(t) ** 2
        return process.damping(t) - process.drift_weight(t) / noisy

    rates = jax.vmap(growth_rates)(ts)
    rayleigh, magnitude = matmul(shares, rates.T), jnp.sqrt(matmul(shares, rates.T**2))
    return ModeResponse(modes.shell_mean(rayleigh).T, modes.shell_mean(magnitude).T, rayleigh.T, magnitude.T)
