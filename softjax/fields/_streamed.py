r"""Posterior mean over a dictionary of any size: matrix products over a part at a time, by a running log-sum-exp.

Site i sees the features $x_i$; pattern m has features $y_m$, a value $v_m$ and a bias $b_m$. The mean is
$\sum_m p_m(i)\,v_m$, $p_m(i) \propto \exp(x_i\cdot y_m + b_m)$. What is held is one part of the patterns times the
sites, whatever the size of the dictionary, in derivatives too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from softjax._linalg import matmul
from softjax._types import Array, Float


class Part(NamedTuple):
    """Some patterns, with their biases and values, and whether each site (rows) may be compared with each."""

    patterns: Float[Array, "patterns features"]
    bias: Float[Array, " patterns"]
    values: Float[Array, "patterns ..."]
    allowed: Array | None = None


class _Sums(NamedTuple):
    """Largest logit so far, and the sums of the weights relative to it, alone and with the values; (*sites) each."""

    peak: Array
    total: Array
    weighted: Array


def streamed_mean(
    seen: Float[Array, "*sites features"], parts: Any, take: Callable[[Any], Part], value_shape: tuple[int, ...] = ()
) -> Float[Array, "..."]:
    """Posterior mean at every site, (*sites, *value_shape).

    * `seen`: what each site sees; no axis of sites, or one;
    * `parts`, `take`: a pytree with a leading axis, and what makes a `Part` of one of its items;
    * `value_shape`: of the value of one pattern, () or (values,).
    """
    sites, dtype = seen.shape[:-1], seen.dtype
    per_value = (*sites, *(1,) * len(value_shape))

    def absorb(sums: _Sums, part: Any) -> tuple[_Sums, None]:
        patterns, bias, values, allowed = take(part)
        logits = _logits(seen, patterns, bias)
        if allowed is not None:
            logits = jnp.where(allowed, logits, -jnp.inf)
        # Peaks only guard against overflow and cancel in the ratio: their derivative is cut.
        peak = jnp.maximum(sums.peak, jax.lax.stop_gradient(jnp.max(logits, axis=-1)))
        fade = jnp.exp(sums.peak - peak)
        total, weighted = _summed(jnp.exp(logits - peak[..., None]), values)
        return _Sums(peak, fade * sums.total + total, fade.reshape(per_value) * sums.weighted + weighted), None

    start = _Sums(
        jnp.full(sites, jnp.finfo(dtype).min, dtype), jnp.zeros(sites, dtype), jnp.zeros((*sites, *value_shape), dtype)
    )
    # Derivatives compute a part's weights again; stored, they would be as many as sites times patterns.
    sums, _ = jax.lax.scan(jax.checkpoint(absorb, prevent_cse=False), start, parts)
    return sums.weighted / sums.total.reshape(per_value)


def slices(size: int, patterns: Array, bias: Array, values: Array) -> tuple[Array, Callable[[Array], Part]]:
    """`parts` and `take` of a dictionary in memory, at most `size` patterns at a time.

    The last part overlaps the one before, so that nothing is copied; what was seen then is left out.
    """
    count = patterns.shape[0]
    num_parts = -(-count // size)
    size = -(-count // num_parts)

    def take(index: Array) -> Part:
        start = jnp.minimum(index * size, count - size)
        y, b, v = (jax.lax.dynamic_slice_in_dim(a, start, size) for a in (patterns, bias, values))
        return Part(y, only(start + jnp.arange(size) >= index * size, b), v)

    return jnp.arange(num_parts), take


def only(valid: Array, bias: Float[Array, " patterns"]) -> Float[Array, " patterns"]:
    """Biases that leave out some patterns: far below all others, as infinity times a vanishing tangent would be NaN."""
    return jnp.where(valid, bias, 0.25 * jnp.finfo(bias.dtype).min)


def _logits(seen: Array, patterns: Array, bias: Array) -> Array:
    """Overlaps and biases, (*sites, patterns)."""
    if seen.ndim == 1:
        return matmul(patterns, seen) + bias
    # The bias as one more feature: a sum of its own would cost a fifth of the whole.
    return matmul(jnp.column_stack([seen, jnp.ones_like(seen[:, :1])]), jnp.column_stack([patterns, bias]).T)


def _summed(weights: Array, values: Array) -> tuple[Array, Array]:
    """Sums over the patterns of the weights (*sites, patterns), alone and with the values (patterns, *value_shape)."""
    if values.ndim > 1:
        return jnp.sum(weights, axis=-1), matmul(weights, values)
    both = matmul(weights, jnp.column_stack([jnp.ones_like(values), values]))
    return both[..., 0], both[..., 1]
