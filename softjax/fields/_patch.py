r"""The patch model: the optimal score that sees only a site's neighbourhood (theory.md section 3; App. C.4)."""

import math
from functools import reduce
from itertools import product
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require, require_lattice, require_option
from softjax._repr import readable, sides
from softjax._types import Array, Configuration, Float, Time
from softjax.fields._base import AbstractPatternField, slopes_of
from softjax.fields._dictionary import PatchDictionary
from softjax.fields._mixture import Groups, mixture_mean, mixture_slopes
from softjax.fields._streamed import slices, streamed_mean
from softjax.processes import AbstractProcess

# More terms than this (patterns x patch sites) and shifted sums give way to FFTs: beyond it their compile time
# and their cost exceed it.
_MAX_SHIFTED_TERMS = 600

# More representative patterns than this and the fused posterior gives way to matrix products. Seen on two cores for 8
# states of 64 x 64 in single precision, fused against matrix products: 0.7 against 3 ms for 5 pairs of 5 x 5, 1.6
# against 5 for 20, 7.5 against 7 for 40, and for 80 pairs of 3 x 3 20 against 14.
_MAX_FUSED_PATTERNS = 40

# Sites times the patterns of one part of the dictionary: 2 MiB in single precision, which a cache holds.
_BLOCK = 2**19


class PatchField(AbstractPatternField):
    r"""Exact local score of a patch dictionary on a periodic lattice, Eqs. (36)-(39).

    Site i sees the patch $x_{N(i)}$ centred on it. The posterior over the dictionary is
    $p_m(i) \propto \pi_m\exp(-\|x_{N(i)} - \alpha y_m\|^2/2\sigma^2)$, the denoised site $D_i = \sum_m p_m(i)\,y_m(0)$.
    Norms may differ between patterns. Configurations have as many axes as the patches, each side at least that of the
    patch; `ValueError` otherwise.

    * `dictionary`: patches and priors;
    * `process`: the noise;
    * `boundary`: "periodic" is the only one;
    * `route`: how the posterior is computed, to the same numbers up to rounding. "fused": all patterns, unrolled in one
      loop over the sites. The evidence is $E_m(i) = y_m\cdot x_{N(i)}$, of one pattern per mirror pair. "einsum":
      matrix products over some patterns at a time with a running log-sum-exp, in bounded memory for any number of
      them. The evidence is the patch around each site. "auto": fused up to 40 patterns (mirror pairs count once).

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> print(f"{field.denoise(1.0, jnp.full((8, 8), 0.2))[0, 0]:.3f}")
    0.939
    """

    dictionary: PatchDictionary
    process: AbstractProcess
    boundary: Literal["periodic"] = eqx.field(static=True)
    route: Literal["auto", "fused", "einsum"] = eqx.field(static=True)
    channels = 0

    @readable
    def __repr__(self) -> list[str]:
        d = self.dictionary
        route = [] if self.route == "auto" else [f"route={self.route!r}"]
        return [f"{d.log_prior.shape[-1]} patterns of {sides(d.patch_shape)}", *route, repr(self.process)]

    @public
    def __init__(
        self,
        dictionary: PatchDictionary,
        process: AbstractProcess,
        boundary: Literal["periodic"] = "periodic",
        route: Literal["auto", "fused", "einsum"] = "auto",
    ):
        require_option("route", route, ("auto", "fused", "einsum"))
        self.dictionary = dictionary
        self.process = process
        self.boundary = boundary
        self.route = route

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of every site given `x` (*lattice) at time `t`."""
        if self._use_einsum or self._use_fft:
            return self.posterior_mean(t, self.evidence(x))
        padded = self._pad(self._scale(t) * x)
        # A tuple, not an array: then overlaps and posterior become one fused loop over the sites.
        return self._mean(t, tuple(_correlate(padded, y) for y in self.dictionary.representative_patterns))

    def evidence(self, x: Configuration) -> Float[Array, "B ..."]:
        """Overlap of the patch around each site of `x` (*lattice) with each of `evidence_patterns`, (B, *lattice)."""
        padded = self._pad(x)
        if self._use_einsum:
            return jnp.stack(_windows(padded, self.dictionary.patch_shape))
        if self._use_fft:
            return self._evidence_by_fft(x)
        # A loop, so that XLA stores the evidence: for an unrolled sum it repeats the work in each of its uses.
        return jax.lax.map(lambda y: _correlate(padded, y), self.dictionary.representative_patterns)

    @property
    def evidence_patterns(self) -> Float[Array, "B ..."]:
        """The representative patterns; by the route "einsum" one pattern for each site of the patch; (B, *patch)."""
        patterns, patch = self.dictionary.patterns, self.dictionary.patch_shape
        if self._use_einsum:
            return jnp.eye(math.prod(patch), dtype=patterns.dtype).reshape(-1, *patch)
        return self.dictionary.representative_patterns

    def posterior_mean(self, t: Time, evidence: Float[Array, "B ..."] | tuple[Array, ...]) -> Configuration:
        """Denoiser (*lattice) as a function of the evidence (B, *lattice)."""
        scale = self._scale(t)
        if self._use_einsum:
            return self._streamed_mean(t, scale * jnp.asarray(evidence))
        return self._mean(t, tuple(scale * evidence[b] for b in range(len(self.dictionary.representatives))))

    def slopes(self, t: Time, evidence: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        """Derivatives of each site's posterior mean in the evidence (B, *lattice) of that site, (B, *lattice)."""
        if self._use_einsum:
            return slopes_of(lambda e: self.posterior_mean(t, e), evidence)
        scale = self._scale(t)
        return scale * mixture_slopes(scale * evidence, *self._groups(t))

    def _scale(self, t: Time) -> Array:
        """What the evidence is multiplied by in the logits."""
        return self.process.alpha(t) / self.process.sigma(t) ** 2

    def _mean(self, t: Time, u: tuple[Array, ...]) -> Configuration:
        """Posterior mean from the scaled evidence of the representatives."""
        return mixture_mean(u, *self._groups(t))

    def _groups(self, t: Time) -> tuple[Groups, tuple[bool, ...]]:
        """The representatives as groups of a mixture, and which of them have a mirror."""
        bias = self._bias(t)
        members, mirrors = self.dictionary.representatives, self.dictionary.representative_mirrors
        member, mirror = jnp.asarray(members), jnp.asarray(mirrors)
        paired = tuple(m != n for m, n in zip(members, mirrors, strict=True))
        return Groups(bias[member], bias[mirror], self.dictionary.centres[member]), paired

    def _streamed_mean(self, t: Time, windows: Float[Array, "B ..."]) -> Configuration:
        """Posterior mean from the scaled patch around each site."""
        patterns, seen = self.dictionary.patterns, windows.reshape(windows.shape[0], -1).T
        size = max(_BLOCK // len(seen), 64)
        parts, take = slices(size, patterns.reshape(len(patterns), -1), self._bias(t), self.dictionary.centres)
        return streamed_mean(seen, parts, take).reshape(windows.shape[1:])

    def _bias(self, t: Time) -> Float[Array, " M"]:
        """Log weight of each pattern, but for its overlap."""
        norms = self.dictionary.squared_norms
        excess = norms - jnp.min(norms)  # equal norms cancel exactly
        return self.dictionary.log_prior - 0.5 * self.process.alpha(t) * self._scale(t) * excess

    @property
    def _use_einsum(self) -> bool:
        many = len(self.dictionary.representatives) > _MAX_FUSED_PATTERNS
        return self.route == "einsum" or (self.route == "auto" and many)

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
    offsets = product(*map(range, pattern.shape))
    terms = [pattern[o] * window for o, window in zip(offsets, _windows(padded, pattern.shape), strict=True)]
    return reduce(jnp.add, terms)


def _windows(padded: Array, patch: tuple[int, ...]) -> list[Array]:
    """What each site of the patch sees, (*lattice), of the lattice that `padded` extends."""
    lattice = [length - side + 1 for length, side in zip(padded.shape, patch, strict=True)]
    offsets = product(*map(range, patch))
    return [jax.lax.slice(padded, o, [a + n for a, n in zip(o, lattice, strict=True)]) for o in offsets]
