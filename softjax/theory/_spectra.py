r"""Eigenvalues of the reverse drift's Jacobian at the symmetric point x = 0, per unit of t.

With damping a, drift weight w and the Fourier transform $\hat C(k)$ of the posterior covariance between a patch's
centre and its sites, all of them are $\lambda = a + w(-1/\sigma^2 + (\alpha^2/\sigma^4)\hat C)$; under VP
$\beta[\tfrac12 - 1/\sigma^2 + (\alpha^2/\sigma^4)\hat C]$.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_lattice, require_positive
from softjax._linalg import tensordot
from softjax._types import Array, Complex, Float, Time
from softjax.fields import PatchDictionary
from softjax.processes import AbstractProcess
from softjax.theory._neighbourhood import Neighbourhood, neighbourhood_offsets, neighbourhood_symbol


@public
def two_pattern_eigenvalues(
    process: AbstractProcess, t: Time, squared_norm: Time | int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Eigenvalues of the global two-pattern score at x = 0, Eq. (4): (transverse, along y).

    * `process`: of the noise;
    * `t`: the time;
    * `squared_norm`: $\|y\|^2$: N for a ±1 pattern on N sites.

    The transverse one, $\beta(\tfrac12 - 1/\sigma^2)$, is (N - 1)-fold; the other adds
    $\beta\alpha^2\|y\|^2/\sigma^4$. Raises `ValueError` for a time that is not positive.

    >>> transverse, along = sj.theory.two_pattern_eigenvalues(sj.VP(), 2.0, 9.0)
    >>> print(f"{transverse:.3f} {along:.3f}")
    -0.657 0.973
    """
    require_positive("t", t)
    return linear_growth_rate(process, t, jnp.zeros(())), linear_growth_rate(process, t, jnp.asarray(squared_norm))


@public
def neighbourhood_spectrum(
    patch_size: Neighbourhood, shape: Sequence[int]
) -> Float[Array, "..."] | Complex[Array, "..."]:
    r"""$\hat W(k) = \sum_{r\in N}e^{ik\cdot r}$ of a neighbourhood, Eq. (15), in one to three dimensions.

    * `patch_size`: a neighbourhood, see below;
    * `shape`: of the lattice, in sites.

    `patch_size` is the odd side w of a hypercube, for which $\hat W = \prod_a \sin(wk_a/2)/\sin(k_a/2)$, Eq. (16); a
    tuple of odd sides; or a boolean mask of odd sides, around its centre. Shape (*shape), FFT order; complex for a
    mask that is not even in r. Raises `ValueError` for even sides and empty masks.

    >>> print(np.asarray(sj.theory.neighbourhood_spectrum(3, (8, 8))[0, :3]).round(3))
    [9.    7.243 3.   ]
    """
    symbol = neighbourhood_symbol(patch_size, shape)
    return jnp.asarray(symbol, complex if np.iscomplexobj(symbol) else float)


@public
def patch_spectrum(
    process: AbstractProcess, t: Time, patch_size: Neighbourhood, shape: Sequence[int]
) -> Float[Array, "..."] | Complex[Array, "..."]:
    r"""Growth rate of every plane wave of the two-pattern patch model at x = 0, Eqs. (15), (16).

    * `process`: of the noise;
    * `t`: the time;
    * `patch_size`: any neighbourhood that `neighbourhood_spectrum` takes;
    * `shape`: of the lattice, in sites.

    Shape (*shape), FFT order. $\lambda(k) = \beta[\tfrac12 - 1/\sigma^2 + (\alpha^2/\sigma^4)\hat W(k)]$ under VP.
    Raises `ValueError` for times that are not positive.

    >>> rates = sj.theory.patch_spectrum(sj.VP(), sj.theory.critical_time(sj.VP(), 9), 3, (8, 8))
    >>> print(abs(np.asarray(rates[0, 0])).round(4), f"{rates[0, 1]:.3f}")
    0.0 -0.109
    """
    require_positive("t", t)
    return linear_growth_rate(process, t, neighbourhood_spectrum(patch_size, shape))


@public
def flow_growth_rate(process: AbstractProcess, t: Time, patch_volume: Time | int) -> Float[Array, ""]:
    r"""Growth rate of the patch model's uniform mode at x = 0 under the probability flow, per unit of t.

    * `process`: of the noise;
    * `t`: the time;
    * `patch_volume`: P, the number of sites in the neighbourhood.

    Under VP $\tfrac12\beta(1 - 1/\sigma^2 + \alpha^2P/\sigma^4) = \tfrac12\beta\alpha^2(P - \sigma^2)/\sigma^4$:
    positive at every t for P > 1, so that the flow has no critical time (for P = 1 the rate falls to 0 as t grows, and
    no further). Under EDM, whose probed drift is the flow, $(P/\sigma^2 - 1)/\sigma$, with a critical time. For any
    process $\frac{\beta\alpha^2}{2\sigma^4}P - \sigma'/\sigma$. Raises `ValueError` for P < 1 or t <= 0.

    >>> print([f"{sj.theory.flow_growth_rate(sj.VP(), t, 9):.3f}" for t in (4.0, 2.0, 1.0)])
    ['0.076', '0.736', '3.852']
    """
    require_positive("t", t)
    volume = require_volume(patch_volume)
    alpha2, variance, rate = process.alpha(t) ** 2, process.sigma(t) ** 2, process.beta(t)
    share = 2 * process.damping(t) / rate
    # How fast alpha^2 + sigma^2 grows, over beta: 0 under VP, where what is left is rounding and would be divided by
    # alpha^2 below.
    drift = 1 - share * (alpha2 + variance)
    drift = jnp.where(jnp.abs(drift) < 16 * jnp.finfo(drift.dtype).eps, 0, drift)
    excess = volume - 1 + share * alpha2 + jnp.where(drift == 0, 0, drift * (1 - variance / alpha2))
    return 0.5 * rate * alpha2 / variance**2 * excess


@public
def dictionary_spectrum(
    dictionary: PatchDictionary, process: AbstractProcess, t: Time, shape: Sequence[int]
) -> Complex[Array, "..."]:
    r"""Complex eigenvalue of every plane wave of a dictionary's patch model at x = 0; its real part is the growth rate.

    * `dictionary`: patches and priors;
    * `process`: of the noise;
    * `t`: the time;
    * `shape`: of the lattice, in sites.

    Shape (*shape), FFT order. $\hat C(k) = \sum_r C(r)e^{ik\cdot r}$ with C(r) the covariance of the centre with site
    r of the patch, under the priors weighted with $e^{-\alpha^2\|y\|^2/2\sigma^2}$ when norms differ. C is in general
    not even, hence the imaginary part: the patch score is not a gradient field. Raises `ValueError` for patches that
    do not fit and times that are not positive.

    >>> dictionary = sj.PatchDictionary.ising(3, 4, p_global=0.9, key=jr.key(0))
    >>> rates = sj.theory.dictionary_spectrum(dictionary, sj.VP(), 2.0, (8, 8))
    >>> print(rates.shape, bool(rates.real[0, 0] == rates.real.max()))
    (8, 8) True
    """
    require_positive("t", t)
    return linear_growth_rate(process, t, covariance_spectrum(dictionary, process, t, shape))


def covariance_spectrum(
    dictionary: PatchDictionary, process: AbstractProcess, t: Time, shape: Sequence[int]
) -> Complex[Array, "..."]:
    r"""$\hat C(k)$ of `dictionary_spectrum`, in units of the data squared, shape (*shape), FFT order."""
    patch = dictionary.patch_shape
    require_lattice("shape", shape, len(patch))
    require(
        all(side <= length for side, length in zip(patch, shape, strict=True)),
        f"the patch, {patch}, must fit on the lattice, {tuple(shape)}.",
    )
    covariance = posterior_covariance(dictionary, process, t)
    offsets = neighbourhood_offsets(patch, len(patch))
    on_lattice = jnp.zeros(tuple(shape), covariance.dtype)
    on_lattice = on_lattice.at[tuple((offsets % np.asarray(shape)).T)].add(covariance.ravel())
    return jnp.conj(jnp.fft.fftn(on_lattice))


def posterior_covariance(dictionary: PatchDictionary, process: AbstractProcess, t: Time) -> Float[Array, "..."]:
    """Covariance C(r) of the centre with every site of the patch, given x = 0, shape (*patch)."""
    alpha, variance = process.alpha(t), process.sigma(t) ** 2
    weights = jax.nn.softmax(dictionary.log_prior - 0.5 * alpha**2 / variance * dictionary.squared_norms)
    deviations = dictionary.patterns - tensordot(weights, dictionary.patterns, 1)
    centres = deviations[(slice(None), *(side // 2 for side in dictionary.patch_shape))]
    return tensordot(weights * centres, deviations, 1)


def linear_growth_rate(process: AbstractProcess, t: Time, covariance: Array) -> Array:
    """Of the probed drift, for modes with these values of the transformed posterior covariance."""
    variance = process.sigma(t) ** 2
    signal = process.alpha(t) ** 2 / variance**2
    scale, shift = process.drift_weight(t) * signal, process.damping(t) - process.drift_weight(t) / variance
    if jnp.iscomplexobj(covariance):  # said, not left to promotion
        scale, shift = jnp.asarray(scale, covariance.dtype), jnp.asarray(shift, covariance.dtype)
    return scale * covariance + shift


def require_volume(patch_volume: Time | int) -> Array:
    """The number of sites P as a real array; `ValueError` for P < 1."""
    volume = concrete(patch_volume)
    if volume is not None:
        require(bool(np.all(volume >= 1)), f"patch_volume must be at least 1, got {patch_volume}.")
    return 1.0 * jnp.asarray(patch_volume)  # a count is often an integer, whose square would overflow
