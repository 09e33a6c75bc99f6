"""Geometry of a periodic lattice and of its Brillouin zone. Pure index arithmetic, done once in NumPy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import lattice_of, public, require_lattice
from softjax._types import Array, Configuration, Float


@public
def integer_wavevectors(shape: Sequence[int]) -> np.ndarray:
    """Integer wavevectors n of a periodic lattice, shape (*shape, ndim), in FFT order.

    * `shape`: of the lattice, in sites.

    >>> print(sj.spectral.integer_wavevectors((4,)).ravel())
    [ 0  1 -2 -1]
    """
    require_lattice("shape", shape)
    axes = [np.rint(np.fft.fftfreq(size) * size).astype(int) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@public
def wavevectors(shape: Sequence[int]) -> np.ndarray:
    """Wavevectors k = 2 pi n / L in radians per site, shape (*shape, ndim), in FFT order.

    * `shape`: of the lattice, in sites.

    >>> print(sj.spectral.wavevectors((4,)).ravel().round(3))
    [ 0.     1.571 -3.142 -1.571]
    """
    return 2 * np.pi * integer_wavevectors(shape) / np.asarray(shape)


@public
def wavevector_lengths(shape: Sequence[int]) -> np.ndarray:
    """Length of each wavevector in units of 2 pi / max(shape), (*shape), FFT order: rounded, its isotropic shell.

    * `shape`: of the lattice, in sites.

    >>> print(sj.spectral.wavevector_lengths((4, 4)).round(2)[1])
    [1.   1.41 2.24 1.41]
    """
    return np.linalg.norm(integer_wavevectors(shape) * max(shape) / np.asarray(shape), axis=-1)


@public
def displacements(shape: Sequence[int]) -> np.ndarray:
    """Shortest periodic displacement of each site from the origin, in sites, shape (*shape, ndim).

    * `shape`: of the lattice, in sites.

    >>> print(sj.spectral.displacements((4,)).ravel())
    [ 0  1 -2 -1]
    """
    return integer_wavevectors(shape)


@public
def radial_average(c: Configuration, channels: int | None = None) -> Float[Array, "distances ..."]:
    """Mean of a function of the displacement over all displacements of equal integer-rounded length.

    * `c`: (*lattice), or (*lattice, channels), with the zero displacement at index 0, as `correlation_function`
      returns it;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    Returns the profile at distances 0, 1, ..., min(lattice) // 2 sites, one per channel; axes of one site count for
    nothing. Raises `ValueError` for a shape that may be a lattice or have channels.

    >>> waves = jnp.outer(jnp.asarray([1.0, 0.0, -1.0, 0.0]), jnp.ones(4))
    >>> print(np.asarray(sj.radial_average(sj.correlation_function(waves))).round(3))
    [ 0.5    0.125 -0.167]
    """
    lattice_of("c", c.shape, channels)
    return jax.vmap(_radial_average, -1, -1)(c) if channels else _radial_average(c)


def _radial_average(c: Configuration) -> Float[Array, " distances"]:
    c = c.reshape(extended(c.shape))
    distance = np.rint(np.linalg.norm(displacements(c.shape), axis=-1)).astype(int).ravel()
    size = min(c.shape) // 2 + 1
    counts = np.bincount(distance)[:size]
    sums = jax.ops.segment_sum(c.ravel(), distance, num_segments=int(distance.max()) + 1)[:size]
    return sums / jnp.asarray(counts, c.dtype)


def extended(shape: Sequence[int]) -> tuple[int, ...]:
    """The sides of a lattice without those of one site, along which nothing can vary; (1,) if there are no others.

    * `shape`: of the lattice, in sites.

    >>> sj.spectral.extended((8, 1, 8))
    (8, 8)
    """
    return tuple(side for side in shape if side > 1) or (1,)
