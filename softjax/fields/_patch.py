r"""The patch model: the optimal score that sees only a site's neighbourhood (theory.md section 3; App. C.4)."""

from itertools import product
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require, require_lattice
from softjax._repr import readable, sides
from softjax._types import Array, Configuration, Float, Time
from softjax.fields._base import AbstractEvidenceField
from softjax.fields._dictionary import PatchDictionary
from softjax.fields._mixture import Groups, mixture_mean
from softjax.processes import AbstractProcess

# More terms than this (patterns x patch sites) and shifted sums give way to FFTs: beyond it their compile time
# and their cost exceed it.
_MAX_SHIFTED_TERMS = 600


class PatchField(AbstractEvidenceField):
    r"""Exact local score of a patch dictionary on a periodic lattice, Eqs. (36)-(39).

    Site i sees the patch $x_{N(i)}$ centred on it. The posterior over the dictionary is
    $p_m(i) \propto \pi_m\exp(-\|x_{N(i)} - \alpha y_m\|^2/2\sigma^2)$, the denoised site $D_i = \sum_m p_m(i)\,y_m(0)$.
    Norms may differ between patterns. The evidence is $E_m(i) = y_m\cdot x_{N(i)}$, of one pattern per mirror pair.

    Configurations have as many axes as the patches, each side at least that of the patch; `ValueError` otherwise.
    """

    dictionary: PatchDictionary
    process: AbstractProcess
    boundary: Literal["periodic"] = eqx.field(static=True)
    channels = 0

    @readable
    def __repr__(self) -> list[str]:
        d = self.dictionary
        return [f"{d.log_prior.shape[-1]} patterns of {sides(d.patch_shape)}", repr(self.process)]

    @public
    def __init__(
        self, dictionary: PatchDictionary, process: AbstractProcess, boundary: Literal["periodic"] = "periodic"
    ):
        self.dictionary = dictionary
        self.process = process
        self.boundary = boundary

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of every site given `x` (*lattice) at time `t`."""
        padded = self._pad(self._scale(t) * x)
        if self._use_fft:
            return self.posterior_mean(t, self._evidence_by_fft(x))
        # A tuple, not an array: then overlaps and posterior become one fused loop over the sites.
        return self._mean(t, tuple(_correlate(padded, y) for y in self.dictionary.representative_patterns))

    def evidence(self, x: Configuration) -> Float[Array, "R ..."]:
        """Overlap of every neighbourhood of `x` (*lattice) with the R representative patterns, (R, *lattice)."""
        padded = self._pad(x)
        if self._use_fft:
            return self._evidence_by_fft(x)
        # A loop, so that XLA stores the evidence: for an unrolled sum it repeats the work in each of its uses.
        return jax.lax.map(lambda y: _correlate(padded, y), self.dictionary.representative_patterns)

    def posterior_mean(self, t: Time, evidence: Float[Array, "R ..."] | tuple[Array, ...]) -> Configuration:
        """Denoiser (*lattice) as a function of the evidence (R, *lattice)."""
        scale = self._scale(t)
        return self._mean(t, tuple(scale * evidence[b] for b in range(len(self.dictionary.representatives))))

    def _scale(self, t: Time) -> Array:
        """What the evidence is multiplied by in the logits."""
        return self.process.alpha(t) / self.process.sigma(t) ** 2

    def _mean(self, t: Time, u: tuple[Array, ...]) -> Configuration:
        """Posterior mean from the scaled evidence of the representatives."""
        norms = self.dictionary.squared_norms
        excess = norms - jnp.min(norms)  # equal norms cancel exactly
        bias = self.dictionary.log_prior - 0.5 * self.process.alpha(t) * self._scale(t) * excess
        members, mirrors = self.dictionary.representatives, self.dictionary.representative_mirrors
        member, mirror = jnp.asarray(members), jnp.asarray(mirrors)
        paired = tuple(m != n for m, n in zip(members, mirrors, strict=True))
        return mixture_mean(u, Groups(bias[member], bias[mirror], self.dictionary.centres[member]), paired)

    @property
    def _use_fft(self) -> bool:
        return self.dictionary.representative_patterns.size > _MAX_SHIFTED_TERMS

    def _pad(self, x: Configuration) -> Configuration:
        patch = self.dictionary.patch_shape
        require_lattice("x", x.shape, len(patch))
        require(
            all(side <= length for side, length in zip(patch, x.shape, strict=True)),
            f"the patch, {patch}, must fit on the lattice, {x.shape}; take a smaller patch or a larger lattice.",
        )
        return jnp.pad(x, [(side // 2, side // 2) for side in patch], mode="wrap")

    def _evidence_by_fft(self, x: Configuration) -> Float[Array, "R ..."]:
        """The same correlation by the convolution theorem, at a cost that does not depend on the patch."""
        axes = tuple(range(1, x.ndim + 1))
        patterns, patch = self.dictionary.representative_patterns, self.dictionary.patch_shape
        room = [(0, length - side) for side, length in zip(patch, x.shape, strict=True)]
        kernels = jnp.roll(jnp.pad(patterns, [(0, 0), *room]), [-(side // 2) for side in patch], axes)
        spectrum = jnp.fft.rfftn(x)[None] * jnp.conj(jnp.fft.rfftn(kernels, axes=axes))
        return jnp.fft.irfftn(spectrum, s=x.shape, axes=axes)


def _correlate(padded: Array, pattern: Array) -> Array:
    """Sum over the patch of pattern(r) x(i + r), at every site i of the lattice that `padded` extends."""
    lattice = [length - side + 1 for length, side in zip(padded.shape, pattern.shape, strict=True)]
    total = None
    for offset in product(*map(range, pattern.shape)):
        window = jax.lax.slice(padded, offset, [o + n for o, n in zip(offset, lattice, strict=True)])
        total = pattern[offset] * window if total is None else total + pattern[offset] * window
    assert total is not None
    return total
