r"""Real Fourier directions grouped in shells (theory.md section 5; Eqs. 47, 48).

A direction is $\cos(k\cdot r)$ or $\sin(k\cdot r)$, scaled to unit norm. The pair spans the plane wave
$e^{ik\cdot r}$; modes that equal their own negative (the mean, and the Nyquist modes) have a cosine only.
"""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from softjax._checks import lattice_of, public, require, require_channel, require_shape
from softjax._repr import readable, sides
from softjax._types import Array, Channel, Float, Int
from softjax.spectral._lattice import extended, integer_wavevectors, wavevector_lengths


class FourierModes(eqx.Module):
    """Unit-norm real Fourier directions of a lattice.

    * `directions`: (modes, *lattice), each of unit Euclidean norm;
    * `shells`: (modes,), the shell number of each direction;
    * `wavevectors`: (modes, ndim), integer wavevector n of each direction, k = 2 pi n / L;
    * `wavenumbers`: (shells,), root-mean-square |k| of each shell, in radians per site.

    >>> modes = sj.fourier_modes((8, 8), 1)
    >>> print(modes.directions.shape, modes.shells)
    (5, 8, 8) [0 1 1 1 1]
    >>> print(modes.shell_mean([1.0, 2.0, 2.0, 4.0, 4.0]))
    [1. 3.]
    """

    directions: Float[Array, "modes ..."]
    shells: Int[Array, " modes"]
    wavevectors: Int[Array, "modes ndim"]
    wavenumbers: Float[Array, " shells"]

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.directions.shape
        return [f"{count} directions in {self.num_shells} shells", f"{sides(shape)} sites"]

    @property
    def num_shells(self) -> int:
        """Number of shells, the mean included."""
        return self.wavenumbers.shape[0]

    @public
    def shell_mean(self, values: Float[Array, "modes ..."]) -> Float[Array, "shells ..."]:
        """Average of one value, or one array of values, per direction over the directions of each shell.

        * `values`: (modes, ...), one value or array of values per direction.
        """
        members = (self.shells == jnp.arange(self.num_shells, dtype=self.shells.dtype)[:, None]).astype(values.dtype)
        members = members.reshape(*members.shape, *(1,) * (values.ndim - 1))
        return jnp.sum(members * values, axis=1) / jnp.sum(members, axis=1)


@public
def fourier_modes(
    shape: Sequence[int],
    max_shell: int = 6,
    kind: Literal["axes", "isotropic"] = "axes",
    channels: int | None = None,
) -> FourierModes:
    """Real Fourier directions of shells 0 to `max_shell`.

    * `shape`: sides of the lattice, in sites, or the shape (*lattice, channels) of a configuration;
    * `max_shell`: number of the last shell, at most that of the Nyquist mode;
    * `kind`: "axes" takes the wavevectors (n, 0, ...), (0, n, ...) along the axes, Eqs. (47, 48); "isotropic" every
      integer wavevector whose length rounds to n;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not, as for three
      axes. The modes are those of the lattice: probes take them into channels.

    On a lattice with unequal sides, lengths are measured in units of 2 pi / max(shape). Axes of one site have no modes
    of their own. Raises `ValueError` when `max_shell` is beyond the Nyquist mode of a side, and for a shape that may be
    a lattice or have channels.

    >>> modes = sj.fourier_modes((8, 8), 2)
    >>> print(modes.directions.shape, np.asarray(modes.wavenumbers).round(3))
    (9, 8, 8) [0.    0.785 1.571]
    """
    shape = lattice_of("shape", shape, channels)
    nyquist = min(extended(shape)) // 2
    require(
        0 <= max_shell <= nyquist,
        f"max_shell must lie between 0 and half the smallest side, {nyquist}, the Nyquist mode; got {max_shell}.",
    )
    numbers, shells = (_axis_modes if kind == "axes" else _isotropic_modes)(shape, max_shell)
    vectors, directions, labels = [], [], []
    for n, shell in zip(numbers, shells, strict=True):
        for direction in _real_directions(shape, n):
            vectors.append(n)
            directions.append(direction)
            labels.append(shell)
    k_squared = np.sum((2 * np.pi * np.asarray(vectors) / np.asarray(shape)) ** 2, axis=1)
    mean_square = np.bincount(labels, weights=k_squared) / np.bincount(labels)
    return FourierModes(
        directions=jnp.asarray(np.stack(directions), float),
        shells=jnp.asarray(labels, jnp.int32),
        wavevectors=jnp.asarray(np.stack(vectors), jnp.int32),
        wavenumbers=jnp.asarray(np.sqrt(mean_square), float),
    )


def in_channels(
    modes: FourierModes, shape: Sequence[int], channels: int | None, channel: Channel = "equal"
) -> FourierModes:
    """The modes of a lattice as directions of configurations x of this shape, which have channels or none.

    * `modes`: directions of the lattice;
    * `shape`: of a configuration, (*lattice), or (*lattice, channels) with the channels said;
    * `channels`: how many channels the last axis holds, 0 or None for none;
    * `channel`: "equal", in all channels and of unit norm; a number, in that channel; "block", each mode in every
      channel, one after the other.

    Raises `ValueError` for another shape and for channels that are not said.

    >>> modes = sj.fourier_modes((8, 8), 1)
    >>> sj.spectral.in_channels(modes, (8, 8, 3), 3).directions.shape
    (5, 8, 8, 3)
    >>> sj.spectral.in_channels(modes, (8, 8, 3), 3, "block").directions.shape
    (15, 8, 8, 3)
    """
    lattice = modes.directions.shape[1:]
    require_channel(channel, channels)
    if not channels:
        extra = channels is None and len(shape) == len(lattice) + 1 and tuple(shape[:-1]) == lattice
        require(
            not extra,
            f"x of shape {tuple(shape)} has one axis more than the modes, of shape {lattice}: say "
            f"channels={shape[-1]} if it holds channels; luminance(x), x[..., 0] and channel_drift(f, x) have one. "
            "For a batch of configurations use jax.vmap.",
        )
        require_shape("x", shape, lattice)
        return modes
    require_shape("x", shape, (*lattice, channels))
    if channel == "equal":
        directions = jnp.repeat(modes.directions[..., None], channels, axis=-1) / float(np.sqrt(channels))
        return eqx.tree_at(lambda m: m.directions, modes, directions)
    unit = jnp.eye(channels, dtype=modes.directions.dtype)
    if channel != "block":
        return eqx.tree_at(lambda m: m.directions, modes, modes.directions[..., None] * unit[channel])
    each = jnp.stack([modes.directions[..., None] * row for row in unit], axis=1)
    return FourierModes(
        each.reshape(-1, *each.shape[2:]),
        jnp.repeat(modes.shells, channels),
        jnp.repeat(modes.wavevectors, channels, axis=0),
        modes.wavenumbers,
    )


def _axis_modes(shape: Sequence[int], max_shell: int) -> tuple[np.ndarray, np.ndarray]:
    long_axes = np.flatnonzero(np.asarray(shape) > 1)
    shells = np.concatenate([[0], np.repeat(np.arange(1, max_shell + 1), len(long_axes))])
    axes = np.concatenate([[0], np.tile(long_axes, max_shell)]).astype(int)
    return np.eye(len(shape), dtype=int)[axes] * shells[:, None], shells


def _isotropic_modes(shape: Sequence[int], max_shell: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = integer_wavevectors(shape).reshape(-1, len(shape))
    length = wavevector_lengths(shape).ravel()
    shells = np.rint(length).astype(int)
    mirrored = np.where(2 * numbers == -np.asarray(shape), numbers, -numbers)  # -n, with Nyquist equal to itself
    keep = (shells <= max_shell) & np.asarray([tuple(n) >= tuple(m) for n, m in zip(numbers, mirrored, strict=True)])
    order = np.lexsort((*numbers[keep].T, length[keep], shells[keep]))
    return numbers[keep][order], shells[keep][order]


def _real_directions(shape: Sequence[int], n: np.ndarray) -> list[np.ndarray]:
    """The cosine and, unless it vanishes on every site, the sine of wavevector n, of unit norm."""
    sites = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    turns = np.sum(sites * n * (np.lcm.reduce(shape) // np.asarray(shape)), axis=-1) % np.lcm.reduce(shape)
    phase = 2 * np.pi * turns / np.lcm.reduce(shape)  # exact integers, so that phases keep full precision
    waves = [np.cos(phase)] if np.all(2 * n % np.asarray(shape) == 0) else [np.cos(phase), np.sin(phase)]
    return [wave / np.linalg.norm(wave) for wave in waves]
