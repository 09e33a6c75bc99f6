r"""Critical times: where the least stable mode of the reverse drift at x = 0 turns unstable (Eqs. 17, 26-30)."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public
from softjax._types import Array, Float, Time
from softjax.fields import PatchDictionary
from softjax.processes import AbstractProcess
from softjax.theory._spectra import covariance_spectrum, require_volume

_WIDEST = 6.0  # the ratio is searched up to exp(6) times the root of the covariance


@public
def critical_noise_variance(patch_volume: Time | int) -> Float[Array, ""]:
    r"""$\sigma_c^2 = 1 + P - \sqrt{1 + P^2}$ of a VP process, Eq. (17), for P >= 1 sites in the neighbourhood.

    * `patch_volume`: P, at least 1.

    >>> print(f"{sj.theory.critical_noise_variance(9):.4f}")
    0.9446
    >>> print(f"{sj.VP().sigma(sj.theory.critical_time(sj.VP(), 9)) ** 2:.4f}")
    0.9446
    """
    p = require_volume(patch_volume)
    return 2 * p / (1 + p + jnp.sqrt(1 + p**2))  # the same number, without cancellation at large P


@public
def critical_time(process: AbstractProcess, patch_volume: Time | int) -> Float[Array, ""]:
    r"""Time at which the uniform mode of the two-pattern patch model turns unstable, mean field.

    * `process`: of the noise;
    * `patch_volume`: P, the number of sites in the neighbourhood; an array is taken element by element.

    Under VP $\int_0^{t_c}\beta = \mathrm{arcsinh}\,P$, Eqs. (29), (30): $t_c = \mathrm{arcsinh}(P)/\beta$ at constant
    rate. Under EDM, whose drift is that of the flow, $\sigma_c = \sqrt P$. Every process is solved from its damping
    and drift weight; infinite where the mode grows at all times. Raises `ValueError` for P < 1.

    >>> print(f"{sj.theory.critical_time(sj.VP(), 9):.3f} {np.arcsinh(9):.3f}")
    2.893 2.893
    >>> print(f"{sj.theory.critical_time(sj.EDM(), 9):.3f}")
    3.000
    """
    return process.from_noise_to_signal(softest_ratio(process, require_volume(patch_volume)))


@public
@eqx.filter_jit
def dictionary_critical_time(
    dictionary: PatchDictionary, process: AbstractProcess, shape: Sequence[int]
) -> Float[Array, ""]:
    r"""Largest time at which $\max_k \mathrm{Re}\,\lambda(k) = 0$ for the dictionary's patch model at x = 0.

    * `dictionary`: patches and priors;
    * `process`: of the noise;
    * `shape`: of the lattice, in sites.

    NaN when every mode is stable at all times. Solved on the clock of the noise-to-signal ratio: bracketed on a
    logarithmic grid from 1e-3 to 1e3, then bisected to rounding.

    >>> dictionary = sj.PatchDictionary.two_pattern(3)
    >>> print(f"{sj.theory.dictionary_critical_time(dictionary, sj.VP(), (8, 8)):.3f}")
    2.893
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


@eqx.filter_jit
def softest_ratio(process: AbstractProcess, covariance: Array) -> Array:
    r"""The ratio $r = \sigma/\alpha$ at which a mode of covariance C is marginal; 0 if it is stable at all times.

    The root of $C/r^2 = 1 - a\sigma^2/w$, with the damping a and the drift weight w of the process at that ratio:
    bisected in $\log r$ from $\sqrt C$ on, where the mode is unstable, then polished by Newton. Infinite for a mode
    that is unstable at all times, as under the flow of VP.
    """
    unstable = covariance > 0
    c = jnp.where(unstable, covariance, 1)  # no logarithm of 0
    low = 0.5 * jnp.log(c)

    def excess(log_ratio: Array) -> Array:
        t = process.from_noise_to_signal(jnp.exp(log_ratio))
        held = process.damping(t) * process.sigma(t) ** 2 / process.drift_weight(t)
        return c * jnp.exp(-2 * log_ratio) - 1 + held

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = bracket
        middle = 0.5 * (below + above)
        grows = excess(middle) > 0
        return jnp.where(grows, middle, below), jnp.where(grows, above, middle)

    farthest = low + _WIDEST
    bracket = jax.lax.stop_gradient(jax.lax.fori_loop(0, 64, halve, (low, farthest)))
    found = 0.5 * (bracket[0] + bracket[1])
    value, slope = jax.jvp(excess, (found,), (jnp.ones_like(found),))
    polished = found - value / jax.lax.stop_gradient(slope)
    ratio = jnp.where(jax.lax.stop_gradient(excess(farthest)) > 0, jnp.inf, jnp.exp(polished))
    return jnp.where(unstable, ratio, 0)
