"""Dictionaries of patches with priors: the data of the patch model (App. C.1)."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import concrete, public, require, require_finite, whole
from softjax._repr import readable, sides
from softjax._types import Array, ArrayLike, Float, PRNGKeyArray


class PatchDictionary(eqx.Module):
    """Patches y_m of odd sides and the logarithms of their prior probabilities.

    * `patterns`: (M, *patch), in units of the data; the centre site is the one that a patch denoises;
    * `log_prior`: (M,), normalised;
    * `mirrors`: for each pattern the index of a distinct pattern that is its negative, or None. Such a pair
      shares its evidence, which halves the work; derivatives with respect to the patterns then reach the first of
      the two only. Found here when `patterns` is known; give it when it is traced.

    `log_prior=None` means equal priors. Raises `ValueError` for an even patch side, non-finite patterns, priors that
    do not sum to one, and mirrors that are none.

    >>> dictionary = sj.PatchDictionary(jnp.stack([jnp.ones((3, 3)), jnp.zeros((3, 3))]))
    >>> print(np.exp(dictionary.log_prior).round(3), dictionary.squared_norms)
    [0.5 0.5] [9. 0.]
    >>> sj.PatchDictionary.ising(3, 4, p_global=0.5, key=jr.key(0)).patterns.shape
    (10, 3, 3)
    """

    patterns: Float[Array, "M ..."]
    log_prior: Float[Array, " M"]
    mirrors: tuple[int | None, ...] = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        return [f"{self.log_prior.shape[-1]} patterns of {sides(self.patch_shape)}"]

    @public(mixed=True, infinite=("log_prior",))  # the prior takes the precision of the patterns
    def __init__(
        self, patterns: ArrayLike, log_prior: ArrayLike | None = None, mirrors: tuple[int | None, ...] | None = None
    ):
        shape = list(np.shape(patterns))
        require(
            len(shape) >= 2 and shape[0] >= 1,
            f"patterns must have shape (M, *patch) with M >= 1, got {tuple(shape)}.",
        )
        require(
            all(side % 2 == 1 for side in shape[1:]),
            f"patch sides must be odd, so that a patch has a centre site; got {tuple(shape[1:])}.",
        )
        log_prior = np.full(shape[0], -np.log(shape[0])) if log_prior is None else log_prior
        require_log_prior(log_prior, shape[0])
        self.patterns = jnp.asarray(patterns)
        self.log_prior = jnp.asarray(log_prior, self.patterns.dtype)
        known = concrete(patterns)
        if mirrors is not None:
            require(isinstance(mirrors, (tuple, list)), f"mirrors must be a tuple, got {mirrors!r}.")
            mirrors = tuple(None if b is None else whole("each of mirrors", b) for b in mirrors)
            _require_mirrors(mirrors, shape[0], known)
        self.mirrors = _find_mirrors(known, shape[0]) if mirrors is None else mirrors

    @classmethod
    @public
    def ising(
        cls,
        patch_size: int = 5,
        num_random: int = 4,
        p_global: float = 0.8,
        *,
        ndim: int = 2,
        key: PRNGKeyArray,
    ) -> "PatchDictionary":
        """The paper's dictionary: random ±1 patches with their sign flips, all +1, and all -1.

        * `patch_size`: side of the patches, in sites, odd;
        * `num_random`: patches that are drawn; with their flips they share the prior mass 1 - `p_global`;
        * `p_global`: prior of the two uniform patches together (Eq. 31);
        * `ndim`: dimension of the lattice;
        * `key`: fixes the draws.

        The paper counts ten patterns, four draws and flips; `num_random=8` is the eighteen of its other wording.
        Order: draws, +1, flips, -1.
        """
        require(num_random >= 0, f"num_random must not be negative, got {num_random}.")
        mass_is_legal = 0 < p_global < 1 if num_random else p_global == 1
        require(
            mass_is_legal,
            f"p_global must lie strictly between 0 and 1 (and be 1 when num_random is 0), got {p_global}.",
        )
        patch = (_odd(patch_size),) * ndim
        draws = jr.rademacher(key, (num_random, *patch), float)
        half = jnp.concatenate([draws, jnp.ones((1, *patch))])
        share = np.append(np.full(num_random, (1 - p_global) / max(2 * num_random, 1)), p_global / 2)
        count = num_random + 1
        mirrors = (*range(count, 2 * count), *range(count))
        return cls(jnp.concatenate([half, -half]), np.log(np.tile(share, 2)), mirrors)

    @classmethod
    @public
    def two_pattern(cls, patch_size: int = 3, *, ndim: int = 2) -> "PatchDictionary":
        """All +1 and all -1 with equal priors: the model of section 5, Eqs. (11)-(18).

        * `patch_size`: side of the patches, in sites, odd;
        * `ndim`: dimension of the lattice.
        """
        return cls(np.ones((2, *(_odd(patch_size),) * ndim)) * np.reshape([1, -1], (2,) + (1,) * ndim))

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Sides of the patch, in sites."""
        return self.patterns.shape[1:]

    @property
    def centres(self) -> Float[Array, " M"]:
        """Value of each pattern at its centre site."""
        return self.patterns[(slice(None), *(side // 2 for side in self.patch_shape))]

    @property
    def squared_norms(self) -> Float[Array, " M"]:
        """Squared Euclidean norm of each pattern."""
        return jnp.sum(self.patterns**2, axis=tuple(range(1, self.patterns.ndim)))

    @property
    def representatives(self) -> tuple[int, ...]:
        """Index of one pattern of each mirror pair, the first, and of every pattern without a mirror; R of them."""
        return tuple(m for m, mirror in enumerate(self.mirrors) if mirror is None or m < mirror)

    @property
    def representative_patterns(self) -> Float[Array, "R ..."]:
        """The patterns of `representatives`: the overlaps with these determine those with all."""
        return self.patterns[jnp.asarray(self.representatives)]

    @property
    def representative_mirrors(self) -> tuple[int, ...]:
        """For each of `representatives` the index of its mirror, or its own where it has none."""
        mirrors = [self.mirrors[m] for m in self.representatives]
        return tuple(m if mirror is None else mirror for m, mirror in zip(self.representatives, mirrors, strict=True))

    @property
    def owners(self) -> tuple[int, ...]:
        """For each pattern the place in `representatives` of the one that is equal to it, or its negative."""
        place = {index: b for b, m in enumerate(self.representatives) for index in (m, self.representative_mirrors[b])}
        return tuple(place[m] for m in range(len(self.mirrors)))

    @property
    def signs(self) -> tuple[int, ...]:
        """For each pattern 1 if it is a representative, -1 if it is the mirror of one."""
        representatives = set(self.representatives)
        return tuple(1 if m in representatives else -1 for m in range(len(self.mirrors)))

    @public
    def pad(self, patch_size: int) -> "PatchDictionary":
        """The same model on larger patches: sites that are added are zero, hence carry no evidence.

        * `patch_size`: the new side, in sites, odd and not smaller.

        Dictionaries of several patch sizes become stackable, for `jax.vmap` over the patch size.
        """
        margins = [(patch_size - side) // 2 for side in self.patch_shape]
        require(
            patch_size % 2 == 1 and min(margins) >= 0,
            f"patch_size must be odd and at least {max(self.patch_shape)}, got {patch_size}.",
        )
        padded = jnp.pad(self.patterns, [(0, 0), *((m, m) for m in margins)])
        return type(self)(padded, self.log_prior, self.mirrors)


def _odd(patch_size: int) -> int:
    require(
        patch_size >= 1 and patch_size % 2 == 1,
        f"patch_size must be odd, so that a patch has a centre site; got {patch_size}.",
    )
    return patch_size


def require_log_prior(log_prior: ArrayLike, num_patterns: int) -> None:
    require(
        np.shape(log_prior) == (num_patterns,),
        f"log_prior must have one entry per pattern, shape ({num_patterns},), got {np.shape(log_prior)}.",
    )
    require_finite("log_prior (leave out patterns of zero probability)", log_prior)
    values = concrete(log_prior)
    if values is not None:
        total = float(np.sum(np.exp(values.astype(float))))
        require(
            abs(total - 1) < 1e-4,
            f"priors must sum to one, got {total:.6g}; jax.nn.log_softmax(log_prior) normalises them.",
        )


def _require_mirrors(mirrors: tuple[int | None, ...], count: int, patterns: np.ndarray | None) -> None:
    mutual = len(mirrors) == count and all(
        b is None or (0 <= b < count and b != a and mirrors[b] == a) for a, b in enumerate(mirrors)
    )
    require(mutual, f"mirrors must name, for each of {count} patterns, its mutual partner or None; got {mirrors}.")
    for a, b in enumerate(mirrors):
        if patterns is not None and b is not None:
            require(np.array_equal(patterns[a], -patterns[b]), f"pattern {b} is not the negative of pattern {a}.")


def _find_mirrors(patterns: np.ndarray | None, count: int) -> tuple[int | None, ...]:
    """Pairs each pattern with one that is its exact negative; each belongs to at most one pair."""
    mirrors: list[int | None] = [None] * count
    if patterns is None:
        return tuple(mirrors)
    waiting: dict[bytes, list[int]] = {}
    for index, pattern in enumerate(np.asarray(patterns, float) + 0.0):  # + 0.0 turns -0.0 into 0.0
        partners = waiting.get((0.0 - pattern).tobytes())
        if partners and np.any(pattern):
            mirrors[index], mirrors[partners[-1]] = partners[-1], index
            partners.pop()
        else:
            waiting.setdefault(pattern.tobytes(), []).append(index)
    return tuple(mirrors)
