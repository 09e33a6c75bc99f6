"""Matrix products in the precision of their factors.

GPUs and TPUs round the factors of a product to 10 and fewer bits unless told not to. A log weight of a posterior is a
large number in which that rounding is no longer small, so everything but networks multiplies by these.
"""

from functools import partial

import jax
import jax.numpy as jnp

matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
tensordot = partial(jnp.tensordot, precision=jax.lax.Precision.HIGHEST)
