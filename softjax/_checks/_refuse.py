"""Refusals. Each message says what was got, what is wanted and what to do.

Static facts (shapes, sizes, options) raise `ValueError` while tracing. Values are checked only where they are known,
outside `jit`: a tracer passes unchecked, because a run-time check would be a host callback, which keeps programs out of
JAX's compilation cache.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jax.core import Tracer


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None when it is traced."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def require(condition: bool, message: str) -> None:
    """Raise `ValueError(message)` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_option(name: str, value: Any, options: Collection[str]) -> None:
    """Refuse an unknown option by name."""
    known = isinstance(value, str) and value in options
    require(known, f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}.")


def require_lattice(name: str, shape: Sequence[int], ndim: int | None = None) -> None:
    """Refuse a shape that is not a lattice of (optionally `ndim`) dimensions with sites in each."""
    require(len(shape) > 0 and all(n > 0 for n in shape), f"{name} must be a lattice, got shape {tuple(shape)}.")
    if ndim is not None:
        require(
            len(shape) == ndim,
            f"{name} must be one configuration with {ndim} lattice axes, got shape {tuple(shape)}. "
            "For a batch of configurations use jax.vmap.",
        )


def require_shape(name: str, shape: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse one configuration of the wrong shape."""
    require(
        tuple(shape) == tuple(wanted),
        f"{name} must be one configuration of shape {tuple(wanted)}, got {tuple(shape)}. "
        "For a batch of configurations use jax.vmap.",
    )


def require_finite(name: str, value: Any) -> None:
    """Refuse NaN and infinity, where the value is known."""
    array = concrete(value)
    if array is not None and not np.all(np.isfinite(array)):
        bad = int(np.size(array) - np.sum(np.isfinite(array)))
        if array.size == 1:
            raise ValueError(f"{name} must be finite, got {array.item():g}.")
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite values of {array.size}.")


def require_not_nan(name: str, value: Any) -> None:
    """Refuse NaN, where the value is known."""
    array = concrete(value)
    if array is not None and np.any(np.isnan(array)):
        raise ValueError(f"{name} must be numbers, got {int(np.sum(np.isnan(array)))} NaN of {array.size} values.")


def require_positive(name: str, value: Any) -> None:
    """Refuse zero, negative numbers and NaN, where the value is known."""
    array = concrete(value)
    if array is not None and not np.all(array > 0):
        raise ValueError(f"{name} must be positive, got {np.min(array):g}.")


def require_not_negative(name: str, value: Any) -> None:
    """Refuse negative numbers and NaN, where the value is known."""
    array = concrete(value)
    if array is not None and not np.all(array >= 0):
        raise ValueError(f"{name} must not be negative, got {np.min(array):g}.")


def require_decreasing(name: str, ts: Any) -> None:
    """Refuse a time grid that is not finite, one-dimensional, at least two long and strictly decreasing."""
    require(np.ndim(ts) == 1, f"{name} must be one-dimensional, got shape {np.shape(ts)}.")
    require(np.size(ts) >= 2, f"{name} needs at least two grid points, got {np.size(ts)}.")
    require_finite(name, ts)
    array = concrete(ts)
    if array is not None and not np.all(np.diff(array) < 0):
        index = int(np.argmax(np.diff(array) >= 0))
        raise ValueError(
            f"{name} must decrease strictly, from noise to data; got {array[index]:g} followed by "
            f"{array[index + 1]:g} at index {index}. log_grid and karras_grid build such grids."
        )
