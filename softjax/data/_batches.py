"""Batches whose order is a function of the key and of the step alone, so that a resumed run sees the same ones."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import require
from softjax._types import PRNGKeyArray


def shuffled_batches(num_items: int, batch_size: int, step: int, *, key: PRNGKeyArray) -> np.ndarray:
    """Indices (batch_size,) of batch number `step` of an endless sequence of shuffled epochs.

    * `num_items`: how many there are;
    * `batch_size`: how many of them a batch has;
    * `step`: the number of the batch, from 0 on;
    * `key`: fixes the order.

    Every epoch is its own permutation of the items; what does not fill a last batch is left out of that epoch.

    >>> first, second = (sj.data.shuffled_batches(6, 3, step, key=jr.key(0)) for step in (0, 1))
    >>> sorted([*first.tolist(), *second.tolist()])
    [0, 1, 2, 3, 4, 5]
    """
    require(1 <= batch_size <= num_items, f"batch_size must be from 1 to {num_items}, got {batch_size}.")
    require(step >= 0, f"step must not be negative, got {step}.")
    epoch, batch = divmod(step, num_items // batch_size)
    order = _permutation(tuple(np.asarray(jr.key_data(key)).tolist()), str(jr.key_impl(key)), epoch, num_items)
    return order[batch * batch_size : (batch + 1) * batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(key_data: tuple[int, ...], impl: str, epoch: int, num_items: int) -> np.ndarray:
    key = jr.wrap_key_data(jnp.asarray(key_data, jnp.uint32), impl=impl)
    return np.asarray(jax.device_get(jr.permutation(jr.fold_in(key, epoch), num_items)))
