r"""Structure factors, and Gaussian random fields that have a given one."""

from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import require, require_lattice
from softjax._types import Array, Configuration, Float, PRNGKeyArray
from softjax.spectral._lattice import wavevectors


def structure_factor(x: Configuration) -> Float[Array, "..."]:
    r"""$S(k) = |\hat x(k)|^2 / N$ of one configuration, shape (*lattice), in FFT order; 1 for unit white noise."""
    require_lattice("x", x.shape)
    return jnp.abs(jnp.fft.fftn(x)) ** 2 / x.size


def free_field_spectrum(shape: Sequence[int], mass: float, stiffness: float) -> Float[Array, "..."]:
    r"""Structure factor $1 / (r + \kappa\hat k^2)$ of a free lattice field, $\hat k^2 = \sum_a 4\sin^2(k_a/2)$.

    `mass` is r and `stiffness` is kappa; the correlation length is sqrt(kappa / r) sites. Shape (*shape), FFT order.
    """
    require(mass > 0, f"mass must be positive, got {mass}.")
    require(stiffness >= 0, f"stiffness must not be negative, got {stiffness}.")
    k_hat_squared = np.sum(4 * np.sin(0.5 * wavevectors(shape)) ** 2, axis=-1)
    return jnp.asarray(1 / (mass + stiffness * k_hat_squared), float)


def gaussian_random_field(spectrum: Float[Array, "..."], *, key: PRNGKeyArray) -> Configuration:
    """One zero-mean Gaussian configuration whose expected `structure_factor` is `spectrum`, shape (*lattice)."""
    require_lattice("spectrum", spectrum.shape)
    noise = jnp.fft.fftn(jr.normal(key, spectrum.shape, spectrum.dtype))
    return jnp.fft.ifftn(noise * jnp.sqrt(spectrum).astype(noise.dtype)).real
