r"""Local scores that know where they are: each site compares what it sees with the images at the same place.

$D_i = \sum_n p_n(i)\,y_n(i)$ with $p_n(i) \propto \exp(-\sum_j M_{ij}(x_j - \alpha y_{nj})^2/2\sigma^2)$: M says which
sites j the site i sees. Two choices of M are standard:

* a window around every site: the local score of Kamb & Ganguli (2024) without its equivariance (their LS machine);
* the sites from which the Wiener filter takes what it makes of site i: the PCA-local score of Lukoianov et al. (2025,
  "Locality in image diffusion models emerges from data statistics"). With the covariance C of the data and
  $W = C(\alpha^2C + \sigma^2)^{-1}$, $M_{ij} = 1$ where $|W_{ij}| \ge \tau\max_k|W_{ik}|$. It widens with the noise.
"""

from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import lattice_of, public, require, require_shape
from softjax._linalg import matmul
from softjax._repr import readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Time
from softjax.fields._base import AbstractField
from softjax.fields._covariance import CovarianceField
from softjax.processes import AbstractProcess

_Sums = tuple[Array, Array, Array]  # peak of the logits, weights, weighted images; (sites,) each


class PositionedLocalField(AbstractField):
    """Score in which each site sees some sites of the images, at their own places.

    * `images`: (K, *lattice), in units of the data; configurations have the shape of one image;
    * `process`: the noise;
    * `sees`: the side of a square window, odd, cut off at the border; one of twice the side of the image, less one,
      sees all, as `EmpiricalField` does. Or the data's covariance, a `CovarianceField` without classes, whose Wiener
      filter says what a site sees at each time; by default that of the images;
    * `threshold`: the part of the filter's largest entry, of the same row, from which on a site is seen; for windows it
      means nothing;
    * `chunk`: images compared with at a time. A state holds sites x chunk numbers, and sites x sites for what is seen.

    Raises `ValueError` for shapes that do not fit, an even window and a threshold that is not between 0 and 1.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> field = sj.PositionedLocalField(images, sj.VP(), sees=3)
    >>> print(field.neighbourhoods(1.0)[0].reshape(4, 4))
    [[1. 1. 0. 0.]
     [1. 1. 0. 0.]
     [0. 0. 0. 0.]
     [0. 0. 0. 0.]]
    """

    process: AbstractProcess
    images: Float[Array, "parts size sites"]
    valid: Array
    sees: CovarianceField | Float[Array, "sites sites"]
    threshold: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    channels = 0

    @readable
    def __repr__(self) -> list[str]:
        seen = "principal components" if isinstance(self.sees, CovarianceField) else "windows"
        return [f"{int(np.sum(self.valid))} images of {sides(self.shape)}", seen, repr(self.process)]

    @public
    def __init__(
        self,
        images: ArrayLike,
        process: AbstractProcess,
        sees: CovarianceField | int | None = None,
        threshold: float = 0.02,
        chunk: int = 1024,
    ):
        require(np.ndim(images) >= 2, f"images must have shape (K, *lattice), got {np.shape(images)}.")
        count, *shape = np.shape(images)
        lattice_of("each image", tuple(shape), 0)
        require(count >= 1, f"images must be at least one, got shape {np.shape(images)}.")
        require(chunk >= 1, f"chunk must be at least 1, got {chunk}.")
        require(0 < threshold <= 1, f"threshold must lie above 0 and be at most 1, got {threshold}.")
        flat = jnp.asarray(images).reshape(count, -1)
        seen = CovarianceField.from_samples(jnp.asarray(images), process) if sees is None else sees
        if isinstance(seen, CovarianceField):
            require(seen.variances.ndim == 1, "sees must be the covariance of one set of data, without classes.")
            require_shape("each vector of sees", seen.vectors.shape[1:], tuple(shape))
            self.sees = seen
        else:
            require(seen >= 1 and seen % 2 == 1, f"sees must be the odd side of a window, got {seen}.")
            self.sees = jnp.asarray(_windows(tuple(shape), seen), flat.dtype)
        size = min(chunk, count)
        index = np.arange(-(-count // size) * size).reshape(-1, size)
        self.process, self.shape = process, tuple(shape)
        self.images, self.valid = flat[index % count], jnp.asarray(index < count)
        self.threshold = jnp.asarray(threshold, flat.dtype)

    @public
    def neighbourhoods(self, t: Time) -> Float[Array, "sites sites"]:
        """Which sites (columns) each site (rows) sees at time `t`: 1 or 0.

        * `t`: the time, in units of the process's time.
        """
        if not isinstance(self.sees, CovarianceField):
            return self.sees
        vectors = self.sees.vectors.reshape(self.sees.variances.size, -1)
        alpha, noise = self.process.alpha(t), self.process.sigma(t) ** 2

        def gain(variance: Array) -> Array:
            return variance / (alpha**2 * variance + noise)

        rest = gain(self.sees.residual_variance)
        weights = (gain(self.sees.variances) - rest).astype(vectors.dtype)
        size = jnp.abs(matmul(vectors.T * weights, vectors) + rest * jnp.eye(vectors.shape[1], dtype=vectors.dtype))
        return (size >= self.threshold * jnp.max(size, axis=1, keepdims=True)).astype(vectors.dtype)

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of every site given what it sees of `x` (*shape) at time `t`."""
        require_shape("x", x.shape, self.shape)
        alpha, variance = self.process.alpha(t), self.process.sigma(t) ** 2
        seen = self.neighbourhoods(t).astype(x.dtype)

        def absorb(carry: _Sums, part: tuple[Array, Array]) -> tuple[_Sums, None]:
            peak, total, weighted = carry
            images, valid = part
            # Squares are summed as they are: expanded, they would cancel at small noise.
            distances = matmul(seen, ((x.ravel() - alpha * images) ** 2).T)
            logits = jnp.where(valid[None], -0.5 / variance * distances, -jnp.inf)
            # Peaks only guard against overflow and cancel in the ratio: their derivative is cut.
            new_peak = jnp.maximum(peak, jax.lax.stop_gradient(jnp.max(logits, axis=1)))
            weights, fade = jnp.exp(logits - new_peak[:, None]), jnp.exp(peak - new_peak)
            return (
                new_peak,
                fade * total + jnp.sum(weights, axis=1),
                fade * weighted + jnp.sum(weights * images.T, axis=1),
            ), None

        nothing = jnp.zeros(x.size, x.dtype)
        empty = (jnp.full(x.size, -jnp.inf, x.dtype), nothing, nothing)
        (_, total, weighted), _ = jax.lax.scan(absorb, empty, (self.images, self.valid))
        return (weighted / total).reshape(x.shape)


def _windows(shape: tuple[int, ...], side: int) -> np.ndarray:
    """Which sites (columns) lie in the window around each site (rows); (sites, sites)."""
    sites = np.asarray(list(product(*map(range, shape))))
    return np.all(np.abs(sites[:, None] - sites[None]) <= side // 2, axis=-1)
