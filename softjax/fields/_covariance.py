r"""Score of Gaussian data of any covariance: linear, its Jacobian the same at every state (theory.md section 10).

With eigenpairs $\nu_j, u_j$ of the covariance and the variance $\nu_0$ of all other directions, the gain of a variance
is $g(\nu) = \alpha\nu/(\alpha^2\nu + \sigma^2)$ and the denoiser
$D = m + g(\nu_0)\,y + \sum_j (g(\nu_j) - g(\nu_0))\,u_j\,(u_j\cdot y)$, $y = x - \alpha m$.
"""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, lattice_of, public, require, require_lattice, require_not_negative, require_shape
from softjax._linalg import matmul
from softjax._repr import channels as channels_shown
from softjax._repr import number, readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Int, Time
from softjax.fields._gaussian import AbstractGaussianField
from softjax.fields._principal import of_covariance, of_samples
from softjax.processes import AbstractProcess


class CovarianceField(AbstractGaussianField):
    r"""Gaussian data with mean image m and any covariance, given by its leading eigenpairs.

    With damping a and drift weight w, $J = \sum_j\lambda_ju_ju_j^T$ with $\lambda_j = a - w/(\alpha^2\nu_j + \sigma^2)$
    at every state; under VP $\beta[\tfrac12 - 1/(\alpha^2\nu_j + \sigma^2)]$. `from_covariance` and `from_samples`
    decompose; here:

    * `vectors`: (rank, *shape), the orthonormal eigenvectors $u_j$; no more than the sites;
    * `variances`: (rank,), their eigenvalues $\nu_j$, in squared units of the data;
    * `process`: the noise;
    * `mean`: (*shape), the mean image m, or one number for all sites, in units of the data; J does not depend on it;
    * `residual_variance`: one number, the variance of every direction orthogonal to the vectors;
    * `label`: which class, where the arrays have a first axis more, (classes, ...), one Gaussian for each class;
    * `channels`: how many channels the last axis of `shape` holds, 0 for none, which probes ask for.

    A field of classes is one Gaussian at a time: `with_label` picks it. The mixture of the classes is no Gaussian, its
    score is not linear and it may break symmetries: it is not the null.

    Raises `ValueError` for shapes that do not fit, vectors that are not orthonormal and negative variances.

    >>> samples = jnp.asarray([[2.0, 2.0], [-2.0, -2.0], [1.0, -1.0], [-1.0, 1.0]])
    >>> field = sj.CovarianceField.from_samples(samples, sj.VP(), mean=0.0, shrinkage=0.0)
    >>> print(np.asarray(field.variances).round(3), np.asarray(field.denoise(1.0, [1.0, 1.0])).round(3))
    [4. 1.] [1.153 1.153]
    """

    vectors: Float[Array, "..."]
    variances: Float[Array, "... rank"]
    mean: Float[Array, "..."]
    residual_variance: Float[Array, "..."]
    process: AbstractProcess
    label: Int[Array, ""] | None
    channels: int | None = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        classes, rank = self.variances.shape[:-1], self.variances.shape[-1]
        shown = [f"{classes[0]} classes"] if classes else []
        shown += [f"label={number(self.label)}"] if self.label is not None else []
        pairs = f"{rank} components of {sides(self._shape)}"
        return [*shown, pairs, *channels_shown(self.channels), repr(self.process)]

    @public
    def __init__(
        self,
        vectors: ArrayLike,
        variances: ArrayLike,
        process: AbstractProcess,
        mean: ArrayLike = 0.0,
        residual_variance: ArrayLike = 0.0,
        label: Int[Array, ""] | int | None = None,
        channels: int | None = None,
    ):
        pairs = np.shape(variances)
        require(
            len(pairs) in (1, 2) and np.shape(vectors)[: len(pairs)] == pairs,
            f"vectors must have shape (rank, *shape) and variances (rank,), both with an axis of classes before or "
            f"neither; got {np.shape(vectors)} and {pairs}.",
        )
        classes, shape = pairs[:-1], np.shape(vectors)[len(pairs) :]
        require_lattice("each vector", shape)
        if channels is not None:
            lattice_of("each vector", shape, channels)
        require_not_negative("variances", variances)
        require_not_negative("residual_variance", residual_variance)
        _require_orthonormal(vectors, pairs)
        means = np.shape(mean)
        fits = means in ((), classes, (*classes, *shape), shape)
        require(fits, f"mean must be one number or have shape {(*classes, *shape)}, got {means}.")
        self.vectors, self.variances = jnp.asarray(vectors), jnp.asarray(variances)
        self.mean = _for_each(jnp.asarray(mean), classes, means in ((), shape) and means != classes)
        self.residual_variance = jnp.broadcast_to(jnp.asarray(residual_variance), classes)
        self.process = process
        self.channels = channels
        self.label = None if label is None else self._known_class(label)

    @classmethod
    @public
    def from_covariance(
        cls,
        covariance: ArrayLike,
        process: AbstractProcess,
        mean: ArrayLike = 0.0,
        rank: int | None = None,
        channels: int | None = None,
    ) -> "CovarianceField":
        """The Gaussian field of a covariance, decomposed here.

        * `covariance`: (*shape, *shape), in squared units of the data, symmetric and not negative;
        * `process`: the noise;
        * `mean`: (*shape), or one number, in units of the data;
        * `rank`: the most eigenpairs to keep, by default all; the variance of the others is shared by all other
          directions, so that the total variance stays;
        * `channels`: how many channels the last axis of `shape` holds, 0 for none.

        Raises `ValueError` for a covariance that is not one, or is not known (call it outside `jit`).
        """
        known = _known("covariance", covariance)
        half = known.ndim // 2
        shape = known.shape[:half]
        require(known.ndim % 2 == 0 and shape == known.shape[half:] and half > 0, _SQUARE.format(known.shape))
        require(rank is None or rank >= 1, f"rank must be at least 1, got {rank}.")
        sites = int(np.prod(shape))
        found = of_covariance(known.reshape(sites, sites).astype(float)).truncated(rank)
        vectors, variances, residual = _as_precise(known, *found)
        return cls(vectors.reshape(-1, *shape), variances, process, mean, residual, channels=channels)

    @classmethod
    @public
    def from_samples(
        cls,
        samples: ArrayLike,
        process: AbstractProcess,
        mean: ArrayLike | None = None,
        rank: int | None = None,
        shrinkage: float | Literal["ledoit_wolf"] = "ledoit_wolf",
        labels: Int[Array, " samples"] | Int[np.ndarray, " samples"] | None = None,
        channels: int | None = None,
    ) -> "CovarianceField":
        r"""The Gaussian field with the mean and the covariance of samples; the null of a model of the same data.

        * `samples`: (samples, *shape), in units of the data; where both the samples and the sites are more than 8192,
          take fewer samples;
        * `process`: the noise;
        * `mean`: (*shape), or one number, about which the covariance is taken; by default the mean image of the
          samples (of each class), which is subtracted. `mean=0` keeps it in the covariance: second moments about 0;
        * `rank`: the most eigenpairs to keep, by default as many as the samples have; the rest of the variance is
          shared by all other directions;
        * `shrinkage`: from 0, the sample covariance, to 1, an isotropic one; "ledoit_wolf" estimates the best;
        * `labels`: (samples,), the class of each, from 0 on: one Gaussian for each class, for `with_label`;
        * `channels`: how many channels the last axis of `shape` holds, 0 for none.

        The null has the error of its samples: quote their number. Raises `ValueError` for shapes that do not fit, a
        shrinkage beyond 0 to 1, classes with fewer than two samples, and samples that are not known (call it outside
        `jit`).
        """
        known = _known("samples", samples)
        require(known.ndim >= 2, f"samples must have shape (samples, *shape), got {known.shape}.")
        count, *shape = known.shape
        flat = known.reshape(count, -1)
        given = None if mean is None else _mean_image(mean, tuple(shape))
        require(rank is None or rank >= 1, f"rank must be at least 1, got {rank}.")
        shrink = None if isinstance(shrinkage, str) else shrinkage
        require(shrink is None or 0 <= shrink <= 1, f"shrinkage must lie between 0 and 1, got {shrinkage}.")
        members = [slice(None)] if labels is None else _members(labels, count)
        centres, found = zip(*(of_samples(flat[rows], given, shrink) for rows in members), strict=True)
        common = min(len(part.variances) for part in found)
        found = [part.truncated(min(rank or common, common)) for part in found]
        whole = [np.stack(parts) for parts in (centres, *zip(*found, strict=True))]
        centre, vectors, variances, residual = _as_precise(known, *(w if labels is not None else w[0] for w in whole))
        vectors, centre = vectors.reshape(*vectors.shape[:-1], *shape), centre.reshape(*centre.shape[:-1], *shape)
        return cls(vectors, variances, process, centre, residual, channels=channels)

    @public
    def with_label(self, label: Int[Array, ""] | int | None) -> "CovarianceField":
        """The Gaussian of one class; a batch of classes is `jax.vmap`.

        * `label`: the number of the class, from 0 on; None for none, which only a field without classes can be used
          with.

        Raises `ValueError` for a field without classes, and for a class that there is not; an unknown class that is
        traced gives NaN.
        """
        label = None if label is None else self._known_class(label)
        return eqx.tree_at(lambda field: field.label, self, label, is_leaf=lambda leaf: leaf is None)

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean given `x` (*shape) at time `t`."""
        require_shape("x", x.shape, self._shape)
        vectors, variances, mean, residual = self._one()
        alpha, noise = self.process.alpha(t), self.process.sigma(t) ** 2

        def gain(variance: Array) -> Array:
            return alpha * variance / (alpha**2 * variance + noise)

        deviation = x - alpha * mean
        amplitudes = (gain(variances) - gain(residual)) * matmul(vectors, deviation.ravel())
        return mean + gain(residual) * deviation + matmul(amplitudes, vectors).reshape(x.shape)

    @public
    def principal_shares(
        self, directions: Float[Array, "modes ..."]
    ) -> tuple[Float[Array, "modes components"], Float[Array, " components"]]:
        """As `AbstractGaussianField` says; the last component is all directions orthogonal to the vectors."""
        require_shape("each of directions", directions.shape[1:], self._shape)
        vectors, variances, _, residual = self._one()
        flat = directions.reshape(directions.shape[0], -1)
        overlap = matmul(flat, vectors.T)
        # Not 1 minus the other shares: that would leave their rounding, which a small variance magnifies.
        rest = jnp.sum((flat - matmul(overlap, vectors)) ** 2, axis=1, keepdims=True)
        return jnp.concatenate([overlap**2, rest], axis=1), jnp.append(variances, residual)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.vectors.shape[self.variances.ndim :]

    def _one(self) -> tuple[Array, Array, Array, Array]:
        """Vectors (rank, sites), variances, mean and residual variance of the one Gaussian that is meant."""
        leaves = self.vectors, self.variances, self.mean, self.residual_variance
        if self.variances.ndim == 2:
            if self.label is None:
                raise ValueError(_NO_LABEL.format(self.variances.shape[0]))
            label = self.label
            leaves = tuple(jnp.take(leaf, label, axis=0, mode="fill") for leaf in leaves)
        vectors, variances, mean, residual = leaves
        return vectors.reshape(vectors.shape[0], -1), variances, mean, residual

    def _known_class(self, label: Array | int) -> Array:
        """The label as an array, if there are classes and it is one of them."""
        require(self.variances.ndim == 2, "label names a class, and this field has none: from_samples takes labels=.")
        known, classes = concrete(label), self.variances.shape[0]
        fits = known is None or bool(0 <= known < classes)
        require(fits, f"label must be a class from 0 to {classes - 1}, got {known}.")
        return jnp.asarray(label)


_SQUARE = "covariance must have shape (*shape, *shape), such as (8, 8, 8, 8) for 8 x 8 sites; got {}."
_NO_LABEL = (
    "this field has {} classes, one Gaussian for each: take one, field.with_label(label). Their mixture is no Gaussian."
)


def _known(name: str, value: Any) -> np.ndarray:
    known = concrete(value)
    if known is None:
        raise ValueError(f"{name} must be known, to be decomposed: call this outside jit.")
    return known


def _as_precise(known: np.ndarray, *results: np.ndarray | float) -> list[np.ndarray]:
    """What was computed in double precision, in that of the data."""
    return [np.asarray(result, known.dtype) for result in results]


def _mean_image(mean: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    known = _known("mean", mean)
    require(known.shape in ((), shape), f"mean must be one number or have shape {shape}, got {known.shape}.")
    return np.broadcast_to(known, shape).ravel().astype(float)


def _members(labels: Array | np.ndarray, count: int) -> list[np.ndarray]:
    """The samples of each class."""
    known = _known("labels", labels)
    require(known.shape == (count,), f"labels must have shape ({count},), one per sample; got {known.shape}.")
    require(bool(np.all(known >= 0)), f"labels must not be negative, got {np.min(known, initial=0)}.")
    members = [np.flatnonzero(known == label) for label in range(int(np.max(known)) + 1)]
    empty = [label for label, rows in enumerate(members) if rows.size < 2]
    require(not empty, f"every class of labels needs two samples at least; class {empty[:1]} has fewer.")
    return members


def _for_each(mean: Array, classes: tuple[int, ...], common: bool) -> Array:
    """The mean of every class."""
    return jnp.broadcast_to(mean, (*classes, *mean.shape)) if common else mean


def _require_orthonormal(vectors: ArrayLike, pairs: tuple[int, ...]) -> None:
    """Refuse vectors whose products with one combination of them are not its coefficients."""
    known = concrete(vectors)
    if known is None:
        return
    flat = known.reshape(*pairs, -1)
    require(pairs[-1] <= flat.shape[-1], f"vectors must be at most as many as the {flat.shape[-1]} sites, got {pairs}.")
    wanted = np.cos(np.arange(pairs[-1]))[:, None]
    found = np.matmul(flat, np.matmul(np.swapaxes(flat, -1, -2), wanted))
    require(np.allclose(found, wanted, atol=1e-3), "vectors must be orthonormal, as eigenvectors are.")
