"""What is to be computed: a unit of work, the values that it is made for, and how often."""

import hashlib
import inspect
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Int, PRNGKeyArray
from softjax.sweeps._axes import Axes, cells, coordinates, normalised
from softjax.sweeps._cost import operations
from softjax.sweeps._measured import ATTRIBUTE, OF_CELL, Variable
from softjax.sweeps._program import Program, contents, is_array, one_program, signature
from softjax.sweeps._store import Template

_PACK = {"cpu": 64}
_ACCELERATOR_PACK = 1024
"""Units side by side at most: more are no faster, and these are lost by a kill."""
_TAKEN = {"unit", "unit_number", "state", "done", "ledger"}  # names in the store
_RATE = {"cpu": 2e9}  # elementary operations per second of one core, or of an accelerator, for the estimate of time
_ACCELERATOR_RATE = 2e12


class Unit(eqx.Module):
    """One unit of work: what one trajectory, or one trial, yields. Numbers are array leaves, sizes static fields.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> data = sj.sweeps.run(sweep)
    >>> data["value"].dims, bool(np.allclose(data["value"].sel(scale=4.0), 4 * data["value"].sel(scale=1.0)))
    (('scale', 'member'), True)
    """

    @abstractmethod
    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Any:
        """A pytree of arrays, the result of the member with this number.

        * `member`: its number, from 0 on;
        * `key`: the sweep's, the same for all.
        """


@dataclass(frozen=True)
class Explanation:
    """What a sweep will take; nothing of it is computed.

    * `num_cells`, `num_members`: their product is the number of units;
    * `num_programs`: programs to compile;
    * `pack`: units side by side, at most;
    * `argument_bytes`: of one pack;
    * `result_bytes`: of the whole result, uncompressed;
    * `seconds`: a rough estimate of the run time, from the number of elementary operations; compilation comes on top.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> explained = sweep.explain()
    >>> explained.num_cells, explained.num_members, explained.num_programs
    (3, 2, 1)
    """

    num_cells: int
    num_members: int
    num_programs: int
    """Programs to compile."""
    pack: int
    """Units side by side, at most."""
    argument_bytes: int
    """Of one pack."""
    result_bytes: int
    """Of the whole result, uncompressed."""
    seconds: float
    """A rough estimate of the run time, from the number of elementary operations; compilation comes on top."""

    def __str__(self) -> str:
        units = self.num_cells * self.num_members
        return (
            f"{self.num_cells} cells x {self.num_members} members = {units} units in {self.num_programs} program(s), "
            f"packs of up to {self.pack};\nresults {self.result_bytes / 1e6:.3g} MB, arguments of a pack "
            f"{self.argument_bytes / 1e6:.3g} MB; very roughly {self.seconds:.2g} s, and some seconds to compile each."
        )


class Sweep:
    """A unit of work over crossed axes of values, with members in each cell.

    * `unit`: a function that returns a `Unit` for keyword values of the axes, or without axes a `Unit` itself. Any
      callable pytree of a member and a key is one. Units of equal structure, shapes and static fields are one program.
    * `axes`: lists of values by name, crossed; under a tuple of names a list of tuples, whose parameters run together.
    * `members`: units in each cell, trajectories say; None for one, without a dimension of its own.
    * `key`: the random key. Every cell gets the same, so that differences between cells are paired.
    * `independent`: each cell gets a key of its own instead.
    * `dim`: name of the members' dimension.
    * `known`: a function of a cell's unit and of the same keyword values that returns an `xarray.Dataset` of what is
      known of the cell beforehand; in its variables, `dim` is the members' dimension.
    * `identity`: what the results depend on, anything JSON takes, in place of the values in the units.

    Raises `ValueError` for empty, repeated or non-finite values, and where `unit` refuses some, naming these.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> data = sj.sweeps.run(sweep)
    >>> sweep.num_units, dict(data["value"].sizes)
    (6, {'scale': 3, 'member': 2})
    """

    def __init__(
        self,
        unit: Callable[..., Any],
        axes: Axes | None = None,
        *,
        key: PRNGKeyArray,
        members: int | None = 1,
        independent: bool = False,
        dim: str = "member",
        known: Callable[..., xr.Dataset] | None = None,
        identity: Mapping[str, Any] | None = None,
    ):
        number = 1 if members is None else members
        require(int(number) == number and number >= 1, f"members must be a whole number from 1 on, got {members}.")
        self.key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jr.wrap_key_data(key)
        self.axes, self.members = normalised(axes or {}), int(number)
        self.dim = None if members is None else dim
        self.cells = cells(self.axes)
        self._unit, self._known, self._independent, self._identity = unit, known, independent, identity
        names = [name for axis in self.axes for name in axis.names]
        require(self.dim not in names, f"an axis has the name of the members' dimension, {dim!r}: give another dim.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("units", "programs")}

    @property
    def num_units(self) -> int:
        """Units in all."""
        return len(self.cells) * self.members

    @cached_property
    def units(self) -> list[Any]:
        """The unit of every cell."""
        if not self.axes and isinstance(self._unit, Unit):
            return [self._unit]
        self._require_names()
        return [self._made(self._unit, values) for values in self.cells]

    def _require_names(self) -> None:
        """Refuses a function that can't be called with the axes alone, such as one of a member and a key."""
        names = list(self.cells[0])
        try:
            inspect.signature(self._unit).bind(**self.cells[0])
        except ValueError:
            pass  # some written in C say nothing of their arguments
        except TypeError as error:
            given = f"axes are {', '.join(names)}" if names else "there are no axes"
            raise ValueError(
                f"unit must be a Unit, or a function of the axes' names that returns one: {given}, and it can't be "
                f"called with these ({error}). What computes from a member and a key is the __call__ of a Unit."
            ) from error

    def _made(self, make: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        try:
            return make(**values)
        except ValueError as error:
            if not values:
                raise
            cell = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise ValueError(f"at {cell}: {error}") from error

    @cached_property
    def programs(self) -> list[Program]:
        """The units grouped into programs, in the order of their first cells."""
        groups: dict[Any, list[int]] = {}
        for cell, unit in enumerate(self.units):
            require(callable(unit), f"unit must return a callable of (member, key), got {type(unit).__name__}.")
            groups.setdefault(signature(unit), []).append(cell)
        return [
            Program(group, [self.units[cell] for cell in group], self.key, self._independent)
            for group in groups.values()
        ]

    @property
    def compile_time(self) -> float:
        """Seconds that compiling the programs has taken so far."""
        return sum((program.compile_time for program in vars(self).get("programs", ())), 0.0)

    @property
    def order(self) -> np.ndarray:
        """Unit numbers, cell * members + member, in the order in which units are stored: program by program."""
        members = np.arange(self.members)
        return np.concatenate([(program.cells[:, None] * self.members + members).ravel() for program in self.programs])

    def block_size(self, pack: int | None) -> int:
        """Units that are computed side by side and stored together: `pack`, or what wastes least up to a limit.

        * `pack`: units side by side, or None to choose.
        """
        sizes = [program.cells.size * self.members for program in self.programs]
        if pack is not None:
            require(int(pack) == pack and pack >= 1, f"pack must be a whole number from 1 on, got {pack}.")
            return min(int(pack), sum(sizes))
        if one_program():
            return 1  # a unit that takes several devices is alone
        devices = len(jax.local_devices())
        largest = min(max(sizes), _PACK.get(jax.default_backend(), _ACCELERATOR_PACK) * devices)
        ends = np.cumsum([0, *sizes])

        def wasted(block: int) -> int:  # units of padding, where a program ends within a block
            pieces = sum(
                -(-int(end) // block) - int(start) // block for start, end in zip(ends, ends[1:], strict=False)
            )
            return pieces * block - self.num_units

        step = devices if largest >= devices else 1
        return min(
            range(largest - largest % step, 0, -step), key=lambda block: (wasted(block) * 50 // self.num_units, -block)
        )

    def width(self, program: Program, block: int) -> int:
        """Units of a program side by side in blocks of this size.

        * `program`: one of the sweep's programs;
        * `block`: units side by side, at most.
        """
        return min(block, program.cells.size * self.members)

    def templates(self, block: int) -> list[Template]:
        """What is stored of one unit: where programs differ in the shapes, the largest.

        * `block`: units side by side, at most.
        """
        described = [program.templates(self.width(program, block)) for program in self.programs]
        names = [variable.name for variable in described[0]]
        taken = {*_TAKEN, self.dim, *(name for axis in self.axes for name in axis.names)} & {*names}
        require(not taken, f"the unit returns {', '.join(sorted(taken))}: the result needs this name, take another.")
        for other in described:
            require(
                [variable.name for variable in other] == names,
                f"every cell must yield the same arrays, got {names} and {[variable.name for variable in other]}.",
            )
        return [_common(column) for column in zip(*described, strict=True)]

    def known(self) -> xr.Dataset:
        """What is known of the cells beforehand, and the axes' values; what differs has the axes' dimensions."""
        if self._known is None:
            return xr.Dataset(coords=coordinates(self.axes))
        parts = [
            self._made(partial(self._known, unit), values) for unit, values in zip(self.units, self.cells, strict=True)
        ]
        known = (
            parts[0] if len(parts) == 1 and not self.axes else _crossed(parts, [axis.dim for axis in self.axes], self)
        )
        return known.assign_coords(coordinates(self.axes))

    def identity(self) -> dict[str, Any]:
        """What the results depend on: they are resumed only where all of it is equal."""
        axes = [[list(axis.names), [list(row) for row in axis.values]] for axis in self.axes]
        return {
            "axes": axes,
            "members": self.members,
            "key": [str(jr.key_impl(self.key)), jr.key_data(self.key).tolist(), self._independent],
            "float_type": str(jnp.result_type(float)),
            "unit": fingerprint(*self.units) if self._identity is None else dict(self._identity),
        }

    def explain(self, pack: int | None = None) -> Explanation:
        """Cells, programs, packs, memory, and a rough estimate of the time; computes nothing.

        * `pack`: units side by side, if not chosen by softjax.
        """
        block = self.block_size(pack)
        programs = self.programs
        bytes_of_unit = sum(int(np.prod(one.shape)) * one.dtype.itemsize for one in self.templates(block))
        steps = sum(self._operations(program, block) for program in programs)
        backend = jax.default_backend()
        rate = _RATE.get(backend, _ACCELERATOR_RATE) * len(jax.local_devices())
        return Explanation(
            num_cells=len(self.cells),
            num_members=self.members,
            num_programs=len(programs),
            pack=block,
            argument_bytes=max(program.argument_bytes(block) for program in programs),
            result_bytes=bytes_of_unit * self.num_units,
            seconds=steps / rate,
        )

    def _operations(self, program: Program, block: int) -> float:
        """Of all units of a program."""
        width = self.width(program, block)
        return program.cells.size * self.members / width * operations(program.traced(width).jaxpr.jaxpr)


def fingerprint(*trees: Any) -> str:
    """A checksum of every number and name in some pytrees; addresses in memory do not count.

    * `trees`: pytrees of anything with a fixed `repr`.

    >>> sj.sweeps.fingerprint(jnp.ones(2)) == sj.sweeps.fingerprint(jnp.zeros(2))
    False
    """
    digest, seen = hashlib.sha256(), {}
    for tree in trees:
        leaves, treedef = jax.tree.flatten(tree)
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", str(treedef)).encode())
        for leaf in leaves:
            if is_array(leaf) and id(leaf) not in seen:
                seen[id(leaf)] = hashlib.sha256(contents(leaf)).digest()
            text = re.sub(r" at 0x[0-9a-f]+", "", repr(leaf)).encode()
            digest.update(seen[id(leaf)] if is_array(leaf) else text)
    return digest.hexdigest()


def _common(column: tuple[Variable, ...]) -> Template:
    """One array as all cells can be stored in it."""
    first = column[0]
    require(
        len({len(variable.value.shape) for variable in column}) == 1,
        f"{first.name} must have equally many dimensions in every cell.",
    )
    shape = tuple(max(sides) for sides in zip(*(variable.value.shape for variable in column), strict=True))
    dtype = np.result_type(*(variable.value.dtype for variable in column))
    ragged = any(variable.value.shape != shape for variable in column)
    return Template(
        first.name, shape, np.result_type(dtype, np.float32) if ragged else dtype, first.dims, first.attributes
    )


def _crossed(parts: list[xr.Dataset], dims: list[str], sweep: Sweep) -> xr.Dataset:
    """Datasets of all cells as one: what is equal once, numbers that differ over the axes, filled up with NaN."""
    shape = tuple(len(axis.values) for axis in sweep.axes)
    variables, attributes, names = {}, {}, dict.fromkeys(name for part in parts for name in part.variables)
    for name in names:
        column = [part[name] for part in parts if name in part]
        if len(column) == len(parts) and all(one.variable.equals(column[0].variable) for one in column):
            variables[name] = column[0].variable
        elif len(column) == len(parts) and column[0].dtype.kind in "biuf":
            largest = tuple(max(sides) for sides in zip(*(one.shape for one in column), strict=True))
            values = np.full((len(column), *largest), np.nan)
            for row, one in zip(values, column, strict=True):
                row[tuple(map(slice, one.shape))] = one.values
            label = f"{name}{OF_CELL}" if name in column[0].dims else name
            variables[label] = xr.Variable((*dims, *column[0].dims), values.reshape(*shape, *largest), column[0].attrs)
    for name in parts[0].attrs:
        column = [part.attrs.get(name) for part in parts]
        if all(value == column[0] for value in column):
            attributes[name] = column[0]
        elif all(isinstance(value, int | float) for value in column):
            variables[name] = xr.Variable(tuple(dims), np.asarray(column, float).reshape(shape), {ATTRIBUTE: 1})
    kept = {name: value for name, value in variables.items() if name not in parts[0].coords}
    coords = {name: value for name, value in variables.items() if name in parts[0].coords}
    return xr.Dataset(kept, coords, attributes)
