"""The axes of a sweep: their values, how they cross, and how they are typed."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from softjax._checks import require

Axes = Mapping[Any, Iterable[Any]]
"""Values of each name, a string; a tuple of names takes tuples of values, which run together."""


class Axis(NamedTuple):
    """One dimension of the results, along which one parameter changes, or several together."""

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def dim(self) -> str:
        """Name of the dimension: that of its first parameter."""
        return self.names[0]


def normalised(axes: Axes) -> list[Axis]:
    """Axes as given by a user; raises `ValueError` for empty ones, for unequal tuples and repeated names or values."""
    known = [_axis(names, values) for names, values in axes.items()]
    names = [name for axis in known for name in axis.names]
    require(len(set(names)) == len(names), f"every parameter may stand on one axis only, got {names}.")
    return known


def _axis(names: str | tuple[str, ...], values: Iterable[Any]) -> Axis:
    together = names if isinstance(names, tuple) else (names,)
    require(not isinstance(values, str | bytes), f"the values of axis {names} must be a list, got {values!r}.")
    rows = [tuple(value) if isinstance(names, tuple) else (value,) for value in values]
    require(bool(rows), f"axis {names} must have at least one value, got none.")
    require(
        all(len(row) == len(together) for row in rows),
        f"each value of axis {names} must be a tuple of {len(together)}, one for each name.",
    )
    plain = tuple(tuple(_plain(value) for value in row) for row in rows)
    require(len(set(plain)) == len(plain), f"the values of axis {names} must differ, got {[*map(_one, plain)]}.")
    return Axis(together, plain)


def _plain(value: Any) -> Any:
    """A NumPy or JAX scalar as Python's."""
    value = np.asarray(value).item() if np.ndim(value) == 0 and hasattr(value, "dtype") else value
    require(isinstance(value, bool | int | float | str), f"axis values must be numbers or words, got {value!r}.")
    require(not isinstance(value, float) or math.isfinite(value), f"axis values must be finite, got {value}.")
    return value


def _one(row: tuple[Any, ...]) -> Any:
    return row[0] if len(row) == 1 else row


def cells(axes: list[Axis]) -> list[dict[str, Any]]:
    """Parameters of every cell, the last axis running fastest; one cell without parameters where there is no axis."""
    crossed = itertools.product(*(axis.values for axis in axes))
    names = [name for axis in axes for name in axis.names]
    return [dict(zip(names, itertools.chain(*rows), strict=True)) for rows in crossed]


def coordinates(axes: list[Axis]) -> dict[str, tuple[tuple[str], np.ndarray]]:
    """Labels of the axes' dimensions, as a dataset takes them."""
    return {
        name: ((axis.dim,), np.asarray([row[place] for row in axis.values]))
        for axis in axes
        for place, name in enumerate(axis.names)
    }


def parse_axis(text: str) -> tuple[str | tuple[str, ...], list[Any]]:
    """An axis as it is typed: its name, or names, and its values.

    * `text`: of one of these forms:

    * `patch_size=3,5,7`: a list (numbers, true, false, or words);
    * `p_global=0.5:0.9:9`: 9 values from 0.5 to 0.9, evenly spaced; `log:0.01:1:5`: evenly in the logarithm;
    * `beta=1,2/time.t_max=6,3`: two parameters that run together.

    Raises `ValueError` for what is none of these.

    >>> sj.sweeps.parse_axis("p_global=0.5:0.9:3")
    ('p_global', [0.5, 0.7, 0.9])
    >>> sj.sweeps.parse_axis("beta=1,2/time.t_max=6,3")
    (('beta', 'time.t_max'), [(1, 6), (2, 3)])
    """
    parts = [part.partition("=") for part in text.split("/")]
    require(all(name and values for name, _, values in parts), f"an axis is NAME=VALUES, got {text!r}.")
    names = tuple(name.strip().replace("-", "_") for name, _, _ in parts)
    columns = [_parse_values(values) for _, _, values in parts]
    require(
        len({len(column) for column in columns}) == 1,
        f"parameters that run together need equally many values, got {[*map(len, columns)]} in {text!r}.",
    )
    return (names[0], columns[0]) if len(names) == 1 else (names, list(zip(*columns, strict=True)))


def _parse_values(text: str) -> list[Any]:
    spaced = np.geomspace if text.startswith("log:") else np.linspace
    ends = text.removeprefix("log:").split(":")
    if len(ends) == 1:
        return [_parse_value(value) for value in text.split(",")]
    try:
        return spaced(float(ends[0]), float(ends[1]), int(ends[2])).tolist()
    except (ValueError, IndexError) as error:
        raise ValueError(f"a range is START:STOP:NUMBER or log:START:STOP:NUMBER, got {text!r}.") from error


def _parse_value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)
