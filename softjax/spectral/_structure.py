r"""Structure factors and spectral content, and Gaussian random fields that have a given one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import lattice_of, public, require, require_lattice, require_not_negative
from softjax._types import Array, Complex, Configuration, Float, PRNGKeyArray
from softjax.spectral._lattice import wavevector_lengths, wavevectors


@public
def structure_factor(x: Configuration, channels: int | None = None) -> Float[Array, "..."]:
    r"""$S(k) = |\hat x(k)|^2 / N$ of one configuration, shape (*lattice), in FFT order; 1 for unit white noise.

    * `x`: (*lattice), or (*lattice, channels), of which the mean over channels is returned, in squared units of `x`;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    Raises `ValueError` for a shape that may be a lattice or have channels.

    >>> print(sj.structure_factor([1.0, -1.0, 1.0, -1.0]))
    [0. 0. 4. 0.]
    """
    lattice = lattice_of("x", x.shape, channels)
    power = jnp.abs(jnp.fft.fftn(x, axes=range(len(lattice)))) ** 2 / int(np.prod(lattice))
    return jnp.mean(power, axis=-1) if channels else power


@public
def spectral_content(
    v: Float[Array, "..."] | Complex[Array, "..."], channels: int | None = None
) -> Float[Array, " shells"]:
    r"""Power of one mode in each isotropic shell, the corner of the Brillouin zone included; real or complex `v`.

    * `v`: (*lattice), or (*lattice, channels), summed over the channels;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    The shells are those of `fourier_modes(kind="isotropic")`. The powers add up to $\|v\|^2$, 1 for an eigenvector.
    Many modes are `jax.vmap`. Raises `ValueError` for a shape that may be a lattice or have channels.

    >>> modes = sj.fourier_modes((8, 8), 2)
    >>> print(np.asarray(sj.spectral_content(modes.directions[-1])).round(3))
    [0. 0. 1. 0. 0. 0. 0.]
    """
    lattice = lattice_of("v", v.shape, channels)
    shells = np.rint(wavevector_lengths(lattice)).astype(int).ravel()
    power = jnp.abs(jnp.fft.fftn(v, axes=range(len(lattice)), norm="ortho")) ** 2
    power = jnp.sum(power, axis=-1) if channels else power
    return jax.ops.segment_sum(power.ravel(), shells, num_segments=int(shells.max()) + 1)


@public
def free_field_spectrum(shape: Sequence[int], mass: float, stiffness: float) -> Float[Array, "..."]:
    r"""Structure factor $1 / (r + \kappa\hat k^2)$ of a free lattice field, $\hat k^2 = \sum_a 4\sin^2(k_a/2)$.

    * `shape`: of the lattice, in sites;
    * `mass`: r;
    * `stiffness`: $\kappa$, in sites squared times the unit of r.

    The correlation length is $\sqrt{\kappa/r}$ sites. Shape (*shape), FFT order.

    >>> spectrum = sj.spectral.free_field_spectrum((4, 4), mass=0.5, stiffness=1.0)
    >>> print(np.asarray(spectrum[0]).round(3))
    [2.    0.4   0.222 0.4  ]
    """
    require(mass > 0, f"mass must be positive, got {mass}.")
    require(stiffness >= 0, f"stiffness must not be negative, got {stiffness}.")
    k_hat_squared = np.sum(4 * np.sin(0.5 * wavevectors(shape)) ** 2, axis=-1)
    return jnp.asarray(1 / (mass + stiffness * k_hat_squared), float)


@public
def gaussian_random_field(spectrum: Float[Array, "..."], *, key: PRNGKeyArray) -> Configuration:
    """One zero-mean Gaussian configuration whose expected `structure_factor` is `spectrum`, shape (*lattice).

    * `spectrum`: (*lattice), in FFT order, in units of the field squared;
    * `key`: fixes the configuration.

    Raises `ValueError` for a spectrum that is negative or not finite.

    >>> spectrum = sj.spectral.free_field_spectrum((8, 8), mass=0.1, stiffness=1.0)
    >>> sj.spectral.gaussian_random_field(spectrum, key=jr.key(0)).shape
    (8, 8)
    """
    require_lattice("spectrum", spectrum.shape)
    require_not_negative("spectrum", spectrum)
    noise = jnp.fft.fftn(jr.normal(key, spectrum.shape, spectrum.dtype))
    return jnp.fft.ifftn(noise * jnp.sqrt(spectrum).astype(noise.dtype)).real
