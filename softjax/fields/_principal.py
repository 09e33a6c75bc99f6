r"""Principal components of samples, decomposed once, in double precision and outside `jit`.

The smaller of the two matrices is decomposed, sites x sites or samples x samples, so that 64 x 64 images in colour need
no matrix of 12288 x 12288. Shrinkage $\hat C = (1 - s)S + s\,(\mathrm{tr}S/N)\,1$ moves the sample covariance S towards
an isotropic one; Ledoit & Wolf (2004) estimate the s of least expected squared error.
"""

from typing import NamedTuple

import numpy as np

from softjax._checks import require

LARGEST = 8192
"""Rows of the largest matrix that is decomposed: minutes, and 1 GB."""
_SMALLEST = 1e-10
"""Part of the largest variance below which few samples have none in a direction."""
_CHUNK = 4096


class Principal(NamedTuple):
    """A covariance as its leading eigenpairs, and one variance in all other directions."""

    vectors: np.ndarray
    """(rank, sites), orthonormal."""
    variances: np.ndarray
    """(rank,), the largest first."""
    residual: float
    """Variance of every direction orthogonal to the vectors."""

    def truncated(self, rank: int | None) -> "Principal":
        """With at most `rank` eigenpairs; the variance of the others is shared by all other directions."""
        kept, sites = self.vectors.shape
        if rank is None or rank >= kept:
            return self
        spare = np.sum(self.variances[rank:]) + self.residual * (sites - kept)
        return Principal(self.vectors[:rank], self.variances[:rank], float(spare / (sites - rank)))


def of_covariance(covariance: np.ndarray) -> Principal:
    """Of a matrix (sites, sites). Raises `ValueError` for one that is not symmetric or has negative eigenvalues."""
    scale = max(float(np.max(np.abs(covariance))), np.finfo(float).tiny)
    require(np.allclose(covariance, covariance.T, rtol=0, atol=1e-4 * scale), "covariance must be symmetric.")
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    require(
        bool(values[0] >= -1e-4 * max(values[-1], 0) - 1e-12 * scale),
        f"covariance must have no negative eigenvalues, got {values[0]:.3g} beside {values[-1]:.3g}.",
    )
    return Principal(vectors.T[::-1], np.maximum(values[::-1], 0), 0.0)


def of_samples(samples: np.ndarray, mean: np.ndarray | None, shrinkage: float | None) -> tuple[np.ndarray, Principal]:
    """The mean (sites,) and the covariance of samples (samples, sites).

    About a `mean` that is given, the covariance is a mean over samples; about their own, the sum of squares is divided
    by one less than their number. `shrinkage` None is Ledoit and Wolf's. Raises `ValueError` for too few samples, and
    where both they and the sites are too many.
    """
    count, sites = samples.shape
    least = 2 if mean is None else 1
    require(count >= least, f"a covariance needs {least} samples at least, got {count}.")
    require(
        min(count, sites) <= LARGEST,
        f"{count} samples of {sites} sites need a matrix of {min(count, sites)} rows; give at most {LARGEST} samples.",
    )
    centre = np.mean(samples, axis=0, dtype=float) if mean is None else mean
    few = count < sites
    powers, vectors, fourth = (_from_few if few else _from_many)(samples, centre)
    shrink = _ledoit_wolf(powers / count, fourth / count, count, sites) if shrinkage is None else shrinkage
    spread = powers / (count + 1 - least)
    isotropic = shrink * np.sum(spread) / sites
    return centre, Principal(vectors, (1 - shrink) * spread + isotropic, float(isotropic))


def _from_many(samples: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums of squares along all directions, the directions, and the sum of fourth powers of the norms."""
    gram, fourth = np.zeros((centre.size, centre.size)), 0.0
    for start in range(0, len(samples), _CHUNK):
        part = samples[start : start + _CHUNK] - centre
        gram += np.matmul(part.T, part)
        fourth += float(np.sum(np.sum(part**2, axis=1) ** 2))
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1], 0), vectors.T[::-1], fourth


def _from_few(samples: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The same where there are fewer samples than sites, in the directions in which they differ."""
    part = samples - centre
    fourth = float(np.sum(np.sum(part**2, axis=1) ** 2))
    values, amplitudes = np.linalg.eigh(np.matmul(part, part.T))  # nine times as fast as a singular value decomposition
    differ = values > values[-1] * _SMALLEST
    if not np.any(differ):  # equal samples: a component of no variance
        return np.zeros(1), np.eye(1, part.shape[1]), fourth
    values, amplitudes = values[differ][::-1], amplitudes[:, differ][:, ::-1]
    vectors = np.matmul(amplitudes.T, part) / np.sqrt(values)[:, None]
    # Orthonormal up to rounding over the ratio of the variances, whose square this step leaves.
    vectors -= 0.5 * (np.matmul(np.matmul(vectors, vectors.T), vectors) - vectors)
    return values, vectors, fourth


def _ledoit_wolf(variances: np.ndarray, fourth: float, count: int, sites: int) -> float:
    r"""$s = b^2/d^2$: $d^2 = \|S - \mu 1\|^2$, $b^2 = (\langle\|y\|^4\rangle - \|S\|^2)/n$, at most $d^2$."""
    squares, total = float(np.sum(variances**2)), float(np.sum(variances))
    distance = squares - total**2 / sites
    noise = max((fourth - squares) / count, 0.0)
    return 0.0 if noise == 0 else 1.0 if noise >= distance else noise / distance
