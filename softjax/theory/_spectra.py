r"""Eigenvalues of the reverse drift's Jacobian at the symmetric point x = 0, per unit of t.

With damping a, drift weight w and the Fourier transform $\hat C(k)$ of the posterior covariance between a patch's
centre and its sites, all of them are $\lambda = a + w(-1/\sigma^2 + (\alpha^2/\sigma^4)\hat C)$; under VP
$\beta[\tfrac12 - 1/\sigma^2 + (\alpha^2/\sigma^4)\hat C]$.
"""

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import require, require_lattice
from softjax._types import Array, Complex, Float, Time
from softjax.fields import PatchDictionary
from softjax.processes import AbstractProcess
from softjax.spectral import wavevectors


def two_pattern_eigenvalues(
    process: AbstractProcess, t: Time, squared_norm: Time | int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Eigenvalues of the global two-pattern score at x = 0, Eq. (4): (transverse, along y).

    The transverse one, $\beta(\tfrac12 - 1/\sigma^2)$, is (N - 1)-fold; the other adds
    $\beta\alpha^2\|y\|^2/\sigma^4$. `squared_norm` is $\|y\|^2$: N for a ±1 pattern on N sites.
    """
    return _growth_rate(process, t, jnp.zeros(())), _growth_rate(process, t, jnp.asarray(squared_norm))


def neighbourhood_spectrum(patch_size: int, shape: Sequence[int]) -> Float[Array, "..."]:
    r"""$\hat W(k) = \prod_a \sin(wk_a/2)/\sin(k_a/2)$ of the hypercubic neighbourhood, Eq. (16).

    Shape (*shape), FFT order. Raises `ValueError` for an even patch size.
    """
    require(patch_size >= 1 and patch_size % 2 == 1, f"patch_size must be odd, got {patch_size}.")
    half = 0.5 * wavevectors(shape)
    # sin(w k/2)/sin(k/2) as a sum of cosines: no 0/0 at k = 0
    axes = [1 + 2 * sum(np.cos(2 * r * half[..., a]) for r in range(1, patch_size // 2 + 1)) for a in range(len(shape))]
    return jnp.asarray(np.prod(np.broadcast_arrays(*axes), axis=0) * np.ones(tuple(shape)), float)


def patch_spectrum(process: AbstractProcess, t: Time, patch_size: int, shape: Sequence[int]) -> Float[Array, "..."]:
    r"""Growth rate of every plane wave of the two-pattern patch model at x = 0, Eqs. (15), (16).

    Shape (*shape), FFT order. $\lambda(k) = \beta[\tfrac12 - 1/\sigma^2 + (\alpha^2/\sigma^4)\hat W(k)]$ under VP.
    """
    return _growth_rate(process, t, neighbourhood_spectrum(patch_size, shape))


def dictionary_spectrum(
    dictionary: PatchDictionary, process: AbstractProcess, t: Time, shape: Sequence[int]
) -> Complex[Array, "..."]:
    r"""Complex eigenvalue of every plane wave of a dictionary's patch model at x = 0; its real part is the growth rate.

    Shape (*shape), FFT order. $\hat C(k) = \sum_r C(r)e^{ik\cdot r}$ with C(r) the covariance of the centre with
    site r of the patch, under the priors weighted with $e^{-\alpha^2\|y\|^2/2\sigma^2}$ when norms differ. C is in
    general not even, hence the imaginary part: the patch score is not a gradient field.
    Raises `ValueError` for patches that do not fit.
    """
    return _growth_rate(process, t, covariance_spectrum(dictionary, process, t, shape))


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
    alpha, variance = process.alpha(t), process.sigma(t) ** 2
    weights = jax.nn.softmax(dictionary.log_prior - 0.5 * alpha**2 / variance * dictionary.squared_norms)
    deviations = dictionary.patterns - jnp.tensordot(weights, dictionary.patterns, 1)
    centres = deviations[(slice(None), *(side // 2 for side in patch))]
    covariance = jnp.tensordot(weights * centres, deviations, 1)
    offsets = np.asarray(list(product(*(range(-(side // 2), side // 2 + 1) for side in patch))))
    on_lattice = jnp.zeros(tuple(shape), covariance.dtype)
    on_lattice = on_lattice.at[tuple((offsets % np.asarray(shape)).T)].add(covariance.ravel())
    return jnp.conj(jnp.fft.fftn(on_lattice))


def _growth_rate(process: AbstractProcess, t: Time, covariance: Array) -> Array:
    variance = process.sigma(t) ** 2
    signal = process.alpha(t) ** 2 / variance**2
    return process.damping(t) + process.drift_weight(t) * (signal * covariance - 1 / variance)
