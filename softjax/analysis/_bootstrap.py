r"""Bootstrap over trajectories: means and medians of resamples, and tails that cover at their rate when there are few.

A percentile interval of n trajectories is too narrow: the spread of resamples is itself an estimate, for which
Student's t has longer tails than the normal distribution, and that of means is smaller by $\sqrt{1 - 1/n}$. The
expanded percentile interval (Hesterberg, The American Statistician 69, 371, 2015) has quantiles further out, for means
at $\Phi(\sqrt{n/(n-1)}\,t_{n-1})$ in place of the nominal tail: 0.57% in place of 2.5% for n = 8, 1.9% for n = 32.
Medians of resamples are not shrunk; theirs are at $\Phi(t_{n-1})$, 0.90% and 2.1%. Where a median peaks is scattered
by resampling more than by chance, and has nominal tails. Coverage was measured: docs/how-to/critical-points.md.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy.special import ndtr, stdtrit

from softjax._linalg import matmul, tensordot
from softjax._types import Array, Float, Int, PRNGKeyArray


def resamples(key: PRNGKeyArray, num_bootstrap: int, count: int) -> Int[Array, "resamples trajectories"]:
    """How often each trajectory is in each resample: a function of the key and the numbers, so that others pair."""
    rows = jr.randint(key, (num_bootstrap, count), 0, count)
    return jax.vmap(lambda row: jnp.bincount(row, length=count))(rows)


def nominal_tails(confidence: float) -> np.ndarray:
    """Levels of the two quantiles of a percentile interval, (2,)."""
    return np.asarray([0.5 * (1 - confidence), 0.5 * (1 + confidence)])


def expanded_tails(confidence: float, count: int, freedom: int | None = None, shrunk: bool = True) -> np.ndarray:
    """Levels of the two quantiles, (2,), for resamples of `count`, whose spread has count - 1 degrees of freedom.

    `freedom` overrides them; `shrunk` says whether resampling shrinks the spread, as of means.
    """
    if count == 1:
        return nominal_tails(confidence)
    longer = stdtrit(count - 1 if freedom is None else freedom, 0.5 * (1 - confidence))
    tail = float(ndtr(np.sqrt(count / (count - 1)) * longer if shrunk else longer))
    return np.asarray([tail, 1 - tail])


def resampled_means(values: Float[Array, " n *shape"], counts: Int[Array, "m n"]) -> Float[Array, " m *shape"]:
    """Mean over trajectories of every resample."""
    weights = counts.astype(values.dtype) / values.shape[0]
    return matmul(weights, values.reshape(values.shape[0], -1)).reshape(-1, *values.shape[1:])


def resampled_medians(values: Float[Array, " n *shape"], counts: Int[Array, "m n"]) -> Float[Array, " m *shape"]:
    """Median over trajectories of every resample: the least value that enough others do not exceed."""
    count = values.shape[0]
    at_most = (values[:, None] <= values).astype(values.dtype)
    ranks = ((count + 1) // 2, count // 2 + 1)

    def median(weights: Array) -> Array:
        reached = tensordot(weights, at_most, axes=1)
        lower, upper = (jnp.min(jnp.where(reached >= rank, values, jnp.inf), axis=0) for rank in ranks)
        return 0.5 * (lower + upper)

    return jax.lax.map(median, counts.astype(values.dtype), batch_size=64)
