"""How objects show themselves: one line with shapes, values and intervals; under `jit` shapes and types instead."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

_LONGEST = 40


def readable(parts: Callable[[Any], Iterable[str]]) -> Callable[[Any], str]:
    """A `__repr__` of what a method lists; of the name alone, where a transformation has put other things in."""

    @functools.wraps(parts)
    def shown(self: Any) -> str:
        name = type(self).__name__
        try:
            return f"{name}({', '.join(parts(self))})"
        except Exception:  # between transformations a pytree's leaves may be anything, and showing it must not fail
            return f"{name}(...)"

    return shown


def sides(shape: Sequence[int]) -> str:
    """A shape as "32 x 32"."""
    return " x ".join(map(str, shape)) or "1"


def fields(self: Any) -> list[str]:
    """All fields of a dataclass by name."""
    return [f"{field.name}={number(getattr(self, field.name))}" for field in dataclasses.fields(self)]


def number(value: Any) -> str:
    """One number in four digits; of other arrays, and of what is traced, the type and the shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{np.asarray(value):.4g}" if value.shape == () and _known(value) else _abstract(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if inspect.isroutine(value):
        return f"function {value.__name__}"
    text = repr(value)
    return text if len(text) <= _LONGEST or dataclasses.is_dataclass(value) else f"a {type(value).__name__}"


def with_error(value: Any, error: Any) -> str:
    """A number and its standard error."""
    return f"{number(value)} ± {number(error)}"


def with_interval(value: Any, interval: Any) -> str:
    """A number and the ends of its interval."""
    if not (_known(interval) and np.ndim(interval) == 1):
        return f"{number(value)}, interval {number(interval)}"
    low, high = np.asarray(interval)
    return f"{number(value)} [{low:.4g}, {high:.4g}]"


def spread(values: Any) -> str:
    """The least and the largest of many numbers."""
    if not _known(values):
        return _abstract(values)
    finite = np.asarray(values)[np.isfinite(values)]
    return f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"


def times(ts: Any) -> str:
    """A grid of times."""
    ends = f" from {ts[0]:.4g} to {ts[-1]:.4g}" if _known(ts) and np.ndim(ts) == 1 and np.size(ts) else ""
    return f"{np.shape(ts)[-1] if np.ndim(ts) else 1} times{ends}"


def parameters(tree: Any) -> str:
    """The number of parameters in a pytree."""
    count = sum(leaf.size for leaf in jax.tree.leaves(tree) if np.issubdtype(getattr(leaf, "dtype", int), np.inexact))
    for unit, name in ((1e9, " billion"), (1e6, " million")):
        if count >= unit:
            return f"{count / unit:.3g}{name} parameters"
    return f"{count} parameter{'' if count == 1 else 's'}"


def channels(count: int | None) -> list[str]:
    """The channels, where there are any."""
    return [f"channels={count}"] if count else []


def _known(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray, np.generic)) and not isinstance(value, Tracer)


def _abstract(value: Any) -> str:
    kind = np.dtype(value.dtype)
    return f"{kind.kind}{8 * kind.itemsize}[{','.join(map(str, value.shape))}]"
