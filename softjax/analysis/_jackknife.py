r"""The blocked jackknife: standard error and bias of any function of averages (theory.md section 12).

Of g blocks, each left out once, with $h_j$ = samples / samples in block j, the pseudovalues are
$h_j\theta - (h_j - 1)\theta_{(j)}$ (Busing, Meijer and van der Leeden 1999; for equal blocks Quenouille's and Tukey's).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require
from softjax._repr import number, readable, sides, spread, with_error
from softjax._types import Array, Float


class Jackknife(eqx.Module):
    """A function of averages with its error; each a pytree of what the function returns.

    * `value`: of the averages over all samples;
    * `standard_error`: of the value;
    * `bias`: how much too large the value is on average, as estimated; `value - bias` is free of it to order 1/samples.

    >>> found = sj.jackknife(lambda mean: mean**2, jnp.asarray([1.0, 2.0, 3.0, 4.0]))
    >>> print(f"{found.value:.3f} {found.standard_error:.3f} {found.bias:.3f}")
    6.250 3.233 0.417
    """

    value: Any
    standard_error: Any
    bias: Any

    @readable
    def __repr__(self) -> list[str]:
        leaves = jax.tree.leaves(self.value)
        if len(leaves) > 1:
            return [f"{len(leaves)} results"]
        if leaves[0].ndim:
            return [f"{sides(leaves[0].shape)} values, {spread(leaves[0])}"]
        return [with_error(leaves[0], jax.tree.leaves(self.standard_error)[0]), f"bias={number(self.bias)}"]


@public
def jackknife(
    function: Callable[[Array], Any], samples: Float[Array, "samples ..."], num_blocks: int | None = None
) -> Jackknife:
    """A function of averages, such as a ratio of moments, with its standard error and bias.

    * `function`: of the averages (...), compiled in; returns an array or a pytree of arrays;
    * `samples`: (samples, ...), what is averaged; several moments of one thing along a further axis;
    * `num_blocks`: consecutive samples are left out in so many blocks, as equal as possible, each longer than the
      samples are correlated; by default every sample is a block of its own: they are independent.

    Raises `ValueError` for fewer than two blocks, and for more than there are samples.

    >>> found = sj.jackknife(jnp.log, jnp.asarray([1.0, 2.0, 3.0, 4.0]))
    >>> print(f"{found.value:.3f} {found.standard_error:.3f}")
    0.916 0.262
    """
    require(samples.ndim >= 1, "samples must have shape (samples, ...), got one number.")
    number = samples.shape[0] if num_blocks is None else num_blocks
    require(
        2 <= number <= samples.shape[0],
        f"num_blocks must lie between 2 and the number of samples, {samples.shape[0]}, got {number}.",
    )
    return jackknifed(function, samples, number)


@eqx.filter_jit
def jackknifed(function: Callable[[Array], Any], samples: Float[Array, "samples ..."], num_blocks: int) -> Jackknife:
    """`jackknife` of arguments that were checked."""
    count = samples.shape[0]
    block = np.arange(count) * num_blocks // count
    sizes = np.bincount(block)
    total = jnp.sum(samples, axis=0)
    of_block = jax.ops.segment_sum(samples, block, num_segments=num_blocks)
    column = (num_blocks, *(1,) * (samples.ndim - 1))
    left_out = (total - of_block) / jnp.asarray(count - sizes, samples.dtype).reshape(column)
    value, replicas = function(total / count), jax.vmap(function)(left_out)
    kinds = {jnp.result_type(leaf) for leaf in jax.tree.leaves(value)}
    require(
        all(jnp.issubdtype(kind, jnp.inexact) for kind in kinds),
        f"function must return floating numbers, got {', '.join(sorted(kind.name for kind in kinds))}.",
    )
    share = jnp.asarray(count / sizes, samples.dtype)

    def pseudovalues(value: Array, replicas: Array) -> tuple[Array, Array]:
        h = share.reshape(-1, *(1,) * (replicas.ndim - 1))
        pseudo = value - (h - 1) * (replicas - value)  # h value - (h - 1) replica, without cancellation
        mean = jnp.mean(pseudo, axis=0)
        return jnp.sqrt(jnp.mean((pseudo - mean) ** 2 / (h - 1), axis=0)), value - mean

    both = jax.tree.map(pseudovalues, value, replicas)
    error, bias = (jax.tree.map(lambda _, pair, place=place: pair[place], value, both) for place in (0, 1))
    return Jackknife(value, error, bias)
