"""The Jacobian of a drift at one configuration as a linear map, and the checks its users share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from softjax._checks import output_like, require_lattice, wider
from softjax._types import Configuration

Drift = Callable[[Configuration], Configuration]
"""Any map of configurations that keeps their shape."""


def as_precise(f: Drift, x: Configuration) -> Configuration:
    """The state, in the precision of the drift if that is wider.

    Raises `ValueError` for a drift of another shape, and for one that is not a real array.
    """
    require_lattice("x", x.shape)
    drift = jax.eval_shape(lambda x: output_like("f", f(x), x.shape), x)
    return x if x.dtype == drift.dtype else wider(x, jnp.zeros((), drift.dtype))[0]


def linearise(f: Drift, x: Configuration) -> Drift:
    """The map v -> J v, one linearisation shared by all v, for `x` from `as_precise`."""
    return jax.linearize(lambda x: output_like("f", f(x), x.shape).astype(x.dtype), x)[1]


def transpose(jacobian: Drift, x: Configuration) -> Drift:
    """The map v -> J^T v, without a second linearisation."""
    by_reverse = jax.linear_transpose(jacobian, x)
    return lambda v: by_reverse(v)[0]
