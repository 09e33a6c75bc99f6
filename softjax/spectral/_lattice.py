"""Geometry of a periodic lattice and of its Brillouin zone. Pure index arithmetic, done once in NumPy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require_lattice
from softjax._types import Array, Configuration, Float


@public
def integer_wavevectors(shape: Sequence[int]) -> np.ndarray:
    """Integer wavevectors n of a periodic lattice, shape (*shape, ndim), in FFT order."""
    require_lattice("shape", shape)
    axes = [np.rint(np.fft.fftfreq(size) * size).astype(int) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@public
def wavevectors(shape: Sequence[int]) -> np.ndarray:
    """Wavevectors k = 2 pi n / L in radians per site, shape (*shape, ndim), in FFT order."""
    return 2 * np.pi * integer_wavevectors(shape) / np.asarray(shape)


@public
def wavevector_lengths(shape: Sequence[int]) -> np.ndarray:
    """Length of each wavevector in units of 2 pi / max(shape), (*shape), FFT order: rounded, its isotropic shell."""
    return np.linalg.norm(integer_wavevectors(shape) * max(shape) / np.asarray(shape), axis=-1)


@public
def displacements(shape: Sequence[int]) -> np.ndarray:
    """Shortest periodic displacement of each site from the origin, in sites, shape (*shape, ndim)."""
    return integer_wavevectors(shape)


@public
def radial_average(c: Configuration) -> Float[Array, " distances"]:
    """Mean of a function of the displacement over all displacements of equal integer-rounded length.

    `c` has shape (*lattice) with the zero displacement at index 0, as `correlation_function` returns it. Returns the
    profile at distances 0, 1, ..., min(lattice) // 2 sites; axes of one site count for nothing.
    """
    require_lattice("c", c.shape)
    c = c.reshape(extended(c.shape))
    distance = np.rint(np.linalg.norm(displacements(c.shape), axis=-1)).astype(int).ravel()
    size = min(c.shape) // 2 + 1
    counts = np.bincount(distance)[:size]
    sums = jax.ops.segment_sum(c.ravel(), distance, num_segments=int(distance.max()) + 1)[:size]
    return sums / jnp.asarray(counts, c.dtype)


def extended(shape: Sequence[int]) -> tuple[int, ...]:
    """The sides of a lattice without those of one site, along which nothing can vary; (1,) if there are no others."""
    return tuple(side for side in shape if side > 1) or (1,)
