"""What a unit measures, said once: names, dimensions, units and descriptions of the arrays that it returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import equinox as eqx
import jax

from softjax._checks import require

_METADATA = "softjax.measured"
ATTRIBUTE = "attribute_of_cell"
"""Marks numbers that are attributes of one cell's dataset, over the axes of a sweep."""
OF_CELL = "_of_cell"
"""Ends the names of coordinates that differ from cell to cell."""


@dataclass(frozen=True)
class About:
    """How an array is labelled: dimensions from the outermost on, unit, description, whether NaN is an answer."""

    dims: tuple[str, ...] = ()
    units: str = ""
    long_name: str = ""
    allow_nan: bool = False


class Variable(eqx.Module):
    """One array of a result, with its labels; a unit returns one where its dimensions differ from case to case."""

    name: str = eqx.field(static=True)
    value: Any
    dims: tuple[str, ...] = eqx.field(static=True)
    about: About = eqx.field(static=True)

    @property
    def attributes(self) -> dict[str, str]:
        """Unit and description, as a dataset holds them."""
        labels = {"units": self.about.units, "long_name": self.about.long_name}
        return {name: text for name, text in labels.items() if text}


def measured(dims: tuple[str, ...] = (), units: str = "1", long_name: str = "", *, allow_nan: bool = False) -> Any:
    """A field of an `equinox.Module` that a unit returns, with its labels in the dataset.

    * `dims`: names of its dimensions; a Module in a field with dims adds its own fields' dims after these;
    * `units` and `long_name`: stand in the dataset, on axes and in reports;
    * `allow_nan`: NaN is an answer here ("nothing to estimate"); elsewhere it marks the unit as failed.

    >>> import equinox as eqx
    >>> class Lengths(eqx.Module):
    ...     length: jax.Array = sj.sweeps.measured(("time",), "sites", "correlation length")
    >>> class Trajectory(sj.sweeps.Unit):
    ...     def __call__(self, member, key):
    ...         return Lengths(jnp.ones(3))
    >>> data = sj.sweeps.run(sj.sweeps.Sweep(Trajectory(), members=2, key=jr.key(0)))
    >>> data["length"].dims, data["length"].attrs["units"]
    (('member', 'time'), 'sites')
    """
    return eqx.field(metadata={_METADATA: About(tuple(dims), units, long_name, allow_nan)})


def variable(
    name: str, value: Any, dims: tuple[str, ...], units: str = "1", long_name: str = "", *, allow_nan: bool = False
) -> Variable:
    """One array of a unit's result with labels that differ from case to case; elsewhere `measured` says them once.

    * `name`: of the array in the dataset, wherever it stands in the result;
    * `value`: the array;
    * `dims`: names of its dimensions;
    * `units`, `long_name`, `allow_nan`: as for `measured`.

    >>> class Trajectory(sj.sweeps.Unit):
    ...     def __call__(self, member, key):
    ...         return sj.sweeps.variable("length", jnp.ones(3), ("time",), "sites")
    >>> data = sj.sweeps.run(sj.sweeps.Sweep(Trajectory(), members=2, key=jr.key(0)))
    >>> data["length"].dims, data["length"].attrs["units"]
    (('member', 'time'), 'sites')
    """
    return Variable(name, value, tuple(dims), About(tuple(dims), units, long_name, allow_nan))


def variables(tree: Any) -> list[Variable]:
    """Every array of a unit's result under its own name: that of its field, key or place.

    Raises `ValueError` for a result without arrays, and for two arrays of one name.
    """
    found = list(_walk(tree, "value", About()))
    require(bool(found), "the unit must return at least one array, got none.")
    names = [variable.name for variable in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"the unit returns several arrays called {', '.join(twice)}: give them different names.")
    return found


def _walk(tree: Any, name: str, outer: About) -> Iterator[Variable]:
    if tree is None:
        return
    if isinstance(tree, Variable):
        yield Variable(tree.name, tree.value, outer.dims + tree.dims, tree.about)
    elif is_dataclass(tree):
        for field in fields(tree):
            inner = field.metadata.get(_METADATA, About())
            merged = replace(inner, dims=outer.dims + inner.dims, allow_nan=outer.allow_nan or inner.allow_nan)
            yield from _walk(getattr(tree, field.name), field.name, merged)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _walk(value, str(key), outer)
    elif isinstance(tree, tuple | list):
        names = getattr(tree, "_fields", [f"{name}_{place}" for place in range(len(tree))])
        for inner_name, value in zip(names, tree, strict=True):
            yield from _walk(value, inner_name, outer)
    elif isinstance(tree, jax.Array | jax.ShapeDtypeStruct):
        extra = tuple(f"{name}_{place}" for place in range(len(tree.shape) - len(outer.dims)))
        yield Variable(name, tree, (outer.dims + extra)[: len(tree.shape)], outer)
    else:
        raise ValueError(f"the unit must return arrays, got {type(tree).__name__} for {name}.")
