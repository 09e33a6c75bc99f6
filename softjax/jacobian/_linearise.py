"""The Jacobian of a drift at one configuration as a linear map, and the checks its users share."""

from collections.abc import Callable

import jax

from softjax._checks import require, require_finite, require_lattice
from softjax._types import Configuration

Drift = Callable[[Configuration], Configuration]
"""Any map of configurations that keeps their shape."""


def require_drift(f: Drift, x: Configuration) -> None:
    """Refuse a state that is not finite and a drift that changes its shape."""
    require_lattice("x", x.shape)
    require_finite("x", x)
    drift = jax.eval_shape(f, x)
    require(drift.shape == x.shape, f"f must return the shape of its configuration, {x.shape}; got {drift.shape}.")


def linearise(f: Drift, x: Configuration) -> Drift:
    """The map v -> J v, one linearisation shared by all v. Raises `ValueError` as `require_drift`."""
    require_drift(f, x)
    return jax.linearize(f, x)[1]


def transpose(jacobian: Drift, x: Configuration) -> Drift:
    """The map v -> J^T v, without a second linearisation."""
    by_reverse = jax.linear_transpose(jacobian, x)
    return lambda v: by_reverse(v)[0]
