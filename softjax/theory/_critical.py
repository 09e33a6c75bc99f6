r"""Critical times: where the least stable mode of the reverse drift at x = 0 turns unstable (Eqs. 17, 26-30)."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._types import Array, Float, Time
from softjax.fields import PatchDictionary
from softjax.processes import EDM, AbstractProcess
from softjax.theory._spectra import covariance_spectrum, require_volume


def critical_noise_variance(patch_volume: Time | int) -> Float[Array, ""]:
    r"""$\sigma_c^2 = 1 + P - \sqrt{1 + P^2}$ of a VP process, Eq. (17), for P >= 1 sites in the neighbourhood."""
    p = require_volume(patch_volume)
    return 2 * p / (1 + p + jnp.sqrt(1 + p**2))  # the same number, without cancellation at large P


def critical_time(process: AbstractProcess, patch_volume: Time | int) -> Float[Array, ""]:
    r"""Time at which the uniform mode of the two-pattern patch model turns unstable, mean field.

    Under VP $\int_0^{t_c}\beta = \mathrm{arcsinh}\,P$, Eqs. (29), (30): $t_c = \mathrm{arcsinh}(P)/\beta$ at
    constant rate. Under EDM, whose drift is that of the flow, $\sigma_c = \sqrt P$. `patch_volume` is P,
    the number of sites in the neighbourhood. Raises `ValueError` for P < 1.
    """
    return process.from_noise_to_signal(softest_ratio(process, require_volume(patch_volume)))


@eqx.filter_jit
def dictionary_critical_time(
    dictionary: PatchDictionary, process: AbstractProcess, shape: Sequence[int]
) -> Float[Array, ""]:
    r"""Largest time at which $\max_k \mathrm{Re}\,\lambda(k) = 0$ for the dictionary's patch model at x = 0.

    NaN when every mode is stable at all times. Solved on the clock of the noise-to-signal ratio: bracketed on a
    logarithmic grid from 1e-3 to 1e3, then bisected to rounding.
    """

    def excess(log_ratio: Array) -> Array:
        t = process.from_noise_to_signal(jnp.exp(log_ratio))
        top = jnp.max(covariance_spectrum(dictionary, process, t, shape).real)
        return softest_ratio(process, top) - jnp.exp(log_ratio)

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        unstable = excess(middle) > 0
        return jnp.where(unstable, middle, low), jnp.where(unstable, high, middle)

    grid = jnp.linspace(np.log(1e-3), np.log(1e3), 256)
    unstable = jax.lax.map(excess, grid) > 0
    last = jnp.max(jnp.where(unstable, jnp.arange(256), -1))
    bracket = (grid[jnp.maximum(last, 0)], grid[jnp.minimum(last + 1, 255)])
    low, high = jax.lax.fori_loop(0, 60, halve, bracket)
    t = process.from_noise_to_signal(jnp.exp(0.5 * (low + high)))
    return jnp.where(last >= 0, t, jnp.nan)


def softest_ratio(process: AbstractProcess, covariance: Array) -> Array:
    """The ratio sigma/alpha at which a mode of this covariance is marginal; 0 if it is stable at all times."""
    unstable = covariance > 0
    c = jnp.where(unstable, covariance, 1)  # no square root of 0, whose derivative is infinite
    # From exp(arcsinh P) - 1 = P + P^2 / (1 + sqrt(1 + P^2)), which is (sigma/alpha)^2 at the critical time.
    squared = c if isinstance(process, EDM) else c + c**2 / (1 + jnp.sqrt(1 + c**2))
    return jnp.where(unstable, jnp.sqrt(squared), 0)
