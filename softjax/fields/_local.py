r"""The optimal local, translation-equivariant score of a data set (theory.md section 3; Kamb & Ganguli 2024).

Each site sees the window around it, and nothing of where it is. Its posterior runs over the windows around
every site of every image: the patch model of App. C.4 whose dictionary is the data's own patches.
"""

from itertools import product
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import lattice_of, public, require, require_option, require_shape
from softjax._repr import readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Int, PRNGKeyArray, Time
from softjax.fields._base import AbstractPatternField, slopes_of
from softjax.fields._streamed import Part, only, streamed_mean
from softjax.processes import AbstractProcess


class LocalField(AbstractPatternField):
    r"""Exact local score of all patches of some images, Eqs. (36)-(39).

    Denoised sites are $D_i = \sum_m p_m(i)\,y_m(0)$, $p_m(i) \propto \exp(-\|x_{N(i)} - \alpha y_m\|^2/2\sigma^2)$,
    with m over the windows around every site of every image. The evidence is what each site sees.

    * `images`: (K, *lattice), in units of the data; configurations have the shape of one image.
    * `patch_size`: side of the window, in sites, odd.
    * `process`: of the noise.
    * `boundary`: "periodic", or "zeros", which is what convolutions with zero padding see: a window that reaches over
      the border tells where it is, and is compared with windows that reach over it equally.
    * `num_patches`, `key`: compare with that many patches drawn without replacement instead of all (for "zeros" the
      same fraction of every kind of window, at least one).
    * `chunk`: patches compared with at a time. A state holds sites x chunk numbers, by a running log-sum-exp; a batch
      of B states, B times that.
    * `channels`: 0 says that all axes of an image are the lattice's, which three axes do not say. Colours are not
      taken: give their `luminance`.

    Raises `ValueError` for shapes that do not fit and for images that are not finite.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> field = sj.LocalField(images, 3, sj.VP())
    >>> print(f"{field.denoise(1.0, jnp.full((4, 4), 0.2))[0, 0]:.3f}")
    0.939
    """

    process: AbstractProcess
    dictionary: "_Images | _Patches"
    shape: tuple[int, ...] = eqx.field(static=True)
    patch_size: int = eqx.field(static=True)
    boundary: Literal["periodic", "zeros"] = eqx.field(static=True)
    channels = 0

    @readable
    def __repr__(self) -> list[str]:
        window = sides((self.patch_size,) * len(self.shape))
        return [f"patches of {window}", f"{sides(self.shape)} sites", f"boundary={self.boundary!r}", repr(self.process)]

    @public
    def __init__(
        self,
        images: ArrayLike,
        patch_size: int,
        process: AbstractProcess,
        boundary: Literal["periodic", "zeros"] = "periodic",
        num_patches: int | None = None,
        chunk: int = 4096,
        *,
        key: PRNGKeyArray | None = None,
        channels: int | None = None,
    ):
        require_option("boundary", boundary, ("periodic", "zeros"))
        shape = np.shape(images)[1:]
        lattice_of("each image", shape, channels)
        require(not channels, f"images must have no channels, got channels={channels}: give luminance(images).")
        require(np.shape(images)[0] >= 1, f"images must have shape (K, *lattice) with K >= 1, got {np.shape(images)}.")
        require(chunk >= 1, f"chunk must be at least 1, got {chunk}.")
        require(
            patch_size % 2 == 1 and 1 <= patch_size <= min(shape),
            f"patch_size must be odd and at most the smallest side of the images, {min(shape)}; got {patch_size}.",
        )
        self.process, self.shape, self.patch_size, self.boundary = process, shape, patch_size, boundary
        images = jnp.asarray(images)
        if num_patches is None:
            per_chunk = max(min(chunk // int(np.prod(shape)), images.shape[0]), 1)
            self.dictionary = _Images(*_in_chunks(per_chunk, images))
            return
        if key is None:
            raise ValueError("num_patches draws patches at random: give a key.")
        total = images.shape[0] * int(np.prod(shape))
        require(1 <= num_patches <= total, f"num_patches must be from 1 to {total}, got {num_patches}.")
        image, site = np.divmod(_drawn(num_patches, self._kinds, images.shape[0], key), int(np.prod(shape)))
        windows = _gather(self._pad(images), image, np.unravel_index(site, shape), patch_size)
        kinds = jnp.asarray(self._kinds[site], jnp.int32)
        self.dictionary = _Patches(*_in_chunks(min(chunk, num_patches), windows, kinds))

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of every site given `x` (*shape) at time `t`."""
        return self.posterior_mean(t, self.evidence(x))

    def evidence(self, x: Configuration) -> Float[Array, "P ..."]:
        """The window around every site of `x` (*shape), of P sites, (P, *shape)."""
        require_shape("x", x.shape, self.shape)
        return self._windows(x).T.reshape(-1, *self.shape)

    def posterior_mean(self, t: Time, evidence: Float[Array, "P ..."]) -> Configuration:
        """Denoiser (*shape) as a function of the windows (P, *shape)."""
        alpha = self.process.alpha(t)
        scale = alpha / self.process.sigma(t) ** 2
        kinds = jnp.asarray(self._kinds, jnp.int32)

        def take(part: tuple[Array, ...]) -> Part:
            patches, patch_kinds, valid = self._patches(part)
            bias = -0.5 * alpha * scale * jnp.sum(patches**2, axis=1)
            allowed = None if self.boundary == "periodic" else kinds[:, None] == patch_kinds
            return Part(patches, only(valid, bias), patches[:, patches.shape[1] // 2], allowed)

        seen = scale * evidence.reshape(evidence.shape[0], -1).T
        return streamed_mean(seen, self.dictionary.parts, take).reshape(self.shape)

    def slopes(self, t: Time, evidence: Float[Array, "P ..."]) -> Float[Array, "P ..."]:
        """Derivatives of each site's posterior mean in the window (P, *shape) around it, (P, *shape)."""
        return slopes_of(lambda e: self.posterior_mean(t, e), evidence)

    @property
    def evidence_patterns(self) -> Float[Array, "P ..."]:
        """One pattern for each site of the window, (P, *window); `ValueError` for borders of zeros."""
        require(self.boundary == "periodic", "With borders of zeros a window is no patch of a periodic lattice.")
        window = (self.patch_size,) * len(self.shape)
        return jnp.eye(int(np.prod(window))).reshape(-1, *window)

    def _patches(self, part: tuple[Array, ...]) -> tuple[Float[Array, "m window"], Int[Array, " m"], Array]:
        """One part of the dictionary: patches, how each reaches over the border, and which of them count."""
        if isinstance(self.dictionary, _Patches):
            return part  # pyright: ignore[reportReturnType]
        images, valid = part
        patches = jax.vmap(self._windows)(images).reshape(-1, self.patch_size ** len(self.shape))
        kinds = jnp.tile(jnp.asarray(self._kinds, jnp.int32), images.shape[0])
        return patches, kinds, jnp.repeat(valid, int(np.prod(self.shape)))

    def _windows(self, x: Configuration) -> Float[Array, "sites window"]:
        """The window around every site."""
        padded = self._pad(x)
        offsets = product(range(self.patch_size), repeat=len(self.shape))
        shifted = [
            padded[tuple(slice(o, o + n) for o, n in zip(offset, self.shape, strict=True))] for offset in offsets
        ]
        return jnp.stack([window.ravel() for window in shifted], axis=-1)

    def _pad(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The last axes, one per lattice axis, continued over the border."""
        border = [(0, 0)] * (x.ndim - len(self.shape)) + [(self.patch_size // 2,) * 2] * len(self.shape)
        return jnp.pad(x, border, mode="wrap" if self.boundary == "periodic" else "constant")

    @property
    def _kinds(self) -> np.ndarray:
        """How the window of each site reaches over the border, as a number; (sites,)."""
        if self.boundary == "periodic":
            return np.zeros(int(np.prod(self.shape)), int)
        radius = self.patch_size // 2
        kind = np.zeros(self.shape, int)
        for site, length in zip(np.indices(self.shape), self.shape, strict=True):
            below, above = np.maximum(radius - site, 0), np.maximum(site + radius + 1 - length, 0)
            kind = (kind * (radius + 1) + below) * (radius + 1) + above
        return kind.ravel()


class _Images(eqx.Module):
    """A dictionary of all patches, cut out of the images when needed."""

    images: Float[Array, "parts size ..."]
    valid: Array

    @property
    def parts(self) -> tuple[Array, ...]:
        return self.images, self.valid


class _Patches(eqx.Module):
    """A dictionary of some patches."""

    patches: Float[Array, "parts size window"]
    kinds: Int[Array, "parts size"]
    valid: Array

    @property
    def parts(self) -> tuple[Array, ...]:
        return self.patches, self.kinds, self.valid


def _in_chunks(size: int, *arrays: Array) -> list[Array]:
    """Arrays of N items as (parts, size, ...), filled up by repetition, and which of the items are no repetition."""
    count = arrays[0].shape[0]
    parts = -(-count // size)
    index = np.arange(parts * size).reshape(parts, size)
    return [array[index % count] for array in arrays] + [jnp.asarray(index < count)]


def _drawn(num: int, kinds: np.ndarray, num_images: int, key: PRNGKeyArray) -> np.ndarray:
    """Flat indices (image x site) of patches drawn without replacement, the same fraction of every kind."""
    chosen = []
    for kind in np.unique(kinds):
        sites = np.flatnonzero(kinds == kind)
        total = num_images * sites.size
        count = min(max(round(num * sites.size / kinds.size), 1), total)
        drawn = np.asarray(jr.choice(jr.fold_in(key, int(kind)), total, (count,), replace=False))
        chosen.append(drawn // sites.size * kinds.size + sites[drawn % sites.size])
    return np.concatenate(chosen)


def _gather(padded: Array, image: np.ndarray, site: tuple[np.ndarray, ...], side: int) -> Float[Array, "m window"]:
    """The windows at given sites of given images."""
    offsets = product(range(side), repeat=len(site))
    return jnp.stack([padded[(image, *(s + o for s, o in zip(site, offset, strict=True)))] for offset in offsets], -1)
