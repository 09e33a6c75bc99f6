"""Results on disk: one zarr group, one chunk for each block of units, and a ledger that is written last.

The ledger holds, for every unit, a checksum of each of its arrays and whether it is done; the group's attributes hold
checksums of everything else and of themselves. A killed run leaves what is finished readable, and nothing that has
been changed since it was written is returned as a number. zarr writes every file under another name and renames it.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from softjax.sweeps import _checksums as checksums

VERSION = 2
"""Of the layout; 1 was one folder per trajectory and array, without checksums."""
LEDGER = "ledger"
TODO, DONE, FAILED = 0, 1, 2
"""States of a unit; FAILED + i: its i-th array is not finite."""


class DamagedResult(ValueError):
    """What is stored is not what was written.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = sj.sweeps.run(sweep, folder + "/result.zarr")
    ...     written = pathlib.Path(folder, "result.zarr", "value", "c.0").write_bytes(b"another file")
    ...     try:
    ...         sj.sweeps.load(folder + "/result.zarr")
    ...     except sj.sweeps.DamagedResult:
    ...         print("not what was written")
    not what was written
    """


@dataclass(frozen=True)
class Template:
    """One array of a unit as it is stored."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]


class Store:
    """A result that is open for reading and writing."""

    def __init__(self, group: zarr.Group, path: Path | None):
        self._group, self.path = group, path
        self.reload()

    def reload(self) -> None:
        """Reads the attributes anew, and checks them."""
        self._group = zarr.open_group(self._group.store, mode="r+")
        known = dict(self._group.attrs)
        root: Any = known.pop("softjax", {})
        seal, self.attributes, self._root = known.pop("seal", None), known, root
        if self._root.get("version") != VERSION:
            raise FileExistsError(f"{self.path} is a result of another version of softjax. Choose another folder.")
        if seal != checksums.of_attributes(self._root, self.attributes):
            raise DamagedResult(f"{self.path}: the attributes in zarr.json have been changed. {_REMOVE}")
        if self.path is not None:
            for name, entry in self._root["arrays"].items():
                self._check_metadata(name, entry["metadata"])

    def _check_metadata(self, name: str, expected: str) -> None:
        assert self.path is not None
        file = self.path / name / "zarr.json"
        if not file.exists() or checksums.digest(file.read_bytes()) != expected:
            raise DamagedResult(f"{file} is missing or has been changed. {_REMOVE}")

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on; equal for all who may work on them."""
        return self._root["identity"]

    @property
    def record(self) -> dict[str, Any]:
        """Where the results come from, and what they took."""
        return self._root["record"]

    @property
    def block_size(self) -> int:
        """Units in one chunk."""
        return self._root["block"]

    @property
    def num_units(self) -> int:
        """Units in all."""
        return self._root["units"]

    @property
    def num_blocks(self) -> int:
        """Chunks of units."""
        return -(-self.num_units // self.block_size)

    @property
    def complete(self) -> bool:
        """Whether all units are done or failed, and what follows from them is stored."""
        return self._root["complete"]

    @property
    def names(self) -> list[str]:
        """The arrays that every unit has, in the order of the ledger."""
        return self._root["names"]

    def units_of(self, block: int) -> np.ndarray:
        """Numbers of the units in a block."""
        return np.arange(block * self.block_size, min((block + 1) * self.block_size, self.num_units))

    def states(self) -> np.ndarray:
        """TODO, DONE or FAILED + i for every unit; raises `DamagedResult`."""
        return self._ledger()[:, -1]

    def state_of(self, block: int) -> np.ndarray:
        """States of the units of a block."""
        return self._ledger(self.units_of(block))[:, -1]

    def _ledger(self, units: np.ndarray | None = None) -> np.ndarray:
        picked = slice(None) if units is None else slice(units[0], units[-1] + 1)
        try:
            ledger = np.asarray(self._array(LEDGER)[picked])
        except (ValueError, RuntimeError, OSError) as error:
            raise DamagedResult(f"{self._file(LEDGER)}: {_first_line(error)} {_REPAIR}") from error
        if self.complete and not np.all(ledger[:, -1]):
            raise DamagedResult(f"{self._file(LEDGER)}: files of a complete result are missing. {_REPAIR}")
        return ledger

    def order(self) -> np.ndarray:
        """Unit numbers in the order in which they are stored."""
        return self._known("unit_number")

    def write(self, block: int, values: Mapping[str, np.ndarray], states: np.ndarray) -> None:
        """Stores a block of units, whose arrays have a leading axis, and then that it is finished."""
        units = self.units_of(block)
        rows = np.zeros((units.size, len(self.names) + 1), np.uint32)
        for column, name in enumerate(self.names):
            array = self._array(name)
            kept = padded(values[name], array.shape[1:], array.dtype)
            rows[:, column] = checksums.of_units(units, kept)
            array[units[0] : units[-1] + 1] = kept
        rows[:, -1] = states
        self._array(LEDGER)[units[0] : units[-1] + 1] = rows

    def clear(self, block: int) -> None:
        """Forgets a block, so that it is computed anew."""
        units = self.units_of(block)
        self._array(LEDGER)[units[0] : units[-1] + 1] = np.zeros((units.size, len(self.names) + 1), np.uint32)

    def unsound(self) -> list[int]:
        """Blocks with a unit that is damaged or has failed."""
        found = []
        for block in range(self.num_blocks):
            try:
                if np.any(self._ledger(self.units_of(block))[:, -1] >= FAILED):
                    found.append(block)
                for name in self.names:
                    self._checked(name, self.units_of(block))
            except DamagedResult:
                found.append(block)
        return sorted(set(found))

    def update(self, complete: bool | None = None, record: Mapping[str, Any] | None = None, **attributes: Any) -> None:
        """Changes the attributes, all at once."""
        self._root["record"] = self.record | dict(record or {})
        self._root["complete"] = self.complete if complete is None else complete
        self.attributes |= attributes
        _write_attributes(self._group, self._root, self.attributes)

    def add(self, known: xr.Dataset) -> None:
        """Stores what does not belong to a single unit; it counts from the next `update` on."""
        self._root |= _stored(self._group, self.path, known, self._root)
        self.attributes |= known.attrs

    def dataset(self) -> xr.Dataset:
        """Everything, checked; the dimension over all units comes first, `state` says which are done.

        Raises `DamagedResult`, naming file and unit.
        """
        units, states = np.arange(self.num_units), self.states()
        variables = {"state": xr.Variable((self._root["lead"],), states)}
        for name in self.names:
            variables[name] = self._variable(name, self._checked(name, units, states))
        for name in self._root["arrays"].keys() - {LEDGER, *self.names}:
            variables[name] = self._variable(name, self._known(name))
        for name, text in self._root["texts"].items():
            variables[name] = xr.Variable(text["dims"], np.asarray(text["values"]), text["attributes"])
        coordinates = [name for name in self._root["coordinates"] if name in variables]
        return xr.Dataset(variables, attrs=self.attributes).set_coords(coordinates)

    def _variable(self, name: str, values: np.ndarray) -> xr.Variable:
        array = self._array(name)
        return xr.Variable(array.metadata.dimension_names or (), values, dict(array.attrs))  # pyright: ignore

    def _checked(self, name: str, units: np.ndarray, states: np.ndarray | None = None) -> np.ndarray:
        """An array of these units; only what is done is looked at."""
        ledger = self._ledger(units)
        states = ledger[:, -1] if states is None else states
        try:
            values = np.asarray(self._array(name)[units[0] : units[-1] + 1])
        except (ValueError, RuntimeError, OSError) as error:
            if units.size <= self.block_size:
                raise self._damaged(name, units, _first_line(error)) from error
            return np.concatenate([self._checked(name, self.units_of(block)) for block in range(self.num_blocks)])
        found = checksums.of_units(units, values)
        wrong = units[(states == DONE) & (found != ledger[:, self.names.index(name)])]
        if wrong.size:
            raise self._damaged(name, wrong, "is missing or not what was written.")
        return values

    def _damaged(self, name: str, units: np.ndarray, why: str) -> DamagedResult:
        block, array = int(units[0]) // self.block_size, self._array(name)
        file = self._file(name, ".".join(["c", str(block), *["0"] * (array.ndim - 1)]))
        which = f"{self._root['lead']} {', '.join(map(str, units[:8].tolist()))}{' ...' if units.size > 8 else ''}"
        return DamagedResult(f"{file} ({which}): {why} {_REPAIR}")

    def _known(self, name: str) -> np.ndarray:
        try:
            values = np.asarray(self._array(name)[...])
        except (ValueError, RuntimeError, OSError) as error:
            raise DamagedResult(f"{self._file(name)}: {_first_line(error)} {_REMOVE}") from error
        if checksums.of_array(values) != self._root["arrays"][name]["values"]:
            raise DamagedResult(f"{self._file(name)}: a file is missing or not what was written. {_REMOVE}")
        return values

    def _file(self, *parts: str) -> Path:
        return Path(self.path or "memory", *parts)

    def _array(self, name: str) -> zarr.Array:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


_REPAIR = "Running again with repair (--repair) computes it anew."
_REMOVE = "Remove the folder, or restore it from a copy."


@dataclass(frozen=True)
class Layout:
    """What a new result begins with."""

    lead: str
    """Name of the dimension over units."""
    num_units: int
    block_size: int
    templates: Sequence[Template]
    known: xr.Dataset
    """What does not belong to a single unit."""
    identity: Mapping[str, Any]
    record: Mapping[str, Any]


def create(path: Path | None, layout: Layout) -> Store:
    """Lays out a result, in memory or in a new folder, which has its name once it is whole.

    Raises `FileExistsError` for a folder with something else in it and `PermissionError` for one that can't be written.
    """
    if path is None:
        return Store(_laid_out(None, layout), None)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is not a softjax result. Choose another folder.")
    new = path.with_name(f".{path.name}.new")  # of a run that was killed here, if it exists
    shutil.rmtree(new, ignore_errors=True)
    _laid_out(new, layout)
    new.replace(path)
    return Store(zarr.open_group(str(path), mode="r+"), path)


def _laid_out(path: Path | None, layout: Layout) -> zarr.Group:
    group = zarr.create_group(MemoryStore() if path is None else str(path))
    ledger = Template(LEDGER, (len(layout.templates) + 1,), np.dtype(np.uint32), ("column",), {})
    arrays = {}
    for one in (*layout.templates, ledger):
        shape, chunk = (layout.num_units, *one.shape), (layout.block_size, *(max(side, 1) for side in one.shape))
        _create(group, one.name, shape, one.dtype, chunk, (layout.lead, *one.dims), one.attributes)
        arrays[one.name] = {"metadata": checksums.of_metadata(path, one.name)}
    root = {
        "version": VERSION,
        "lead": layout.lead,
        "units": layout.num_units,
        "block": layout.block_size,
        "names": [one.name for one in layout.templates],
        "identity": dict(layout.identity),
        "record": dict(layout.record),
        "complete": False,
        "arrays": arrays,
        "texts": {},
        "coordinates": [],
    }
    _write_attributes(group, root | _stored(group, path, layout.known, root), layout.known.attrs)
    return group


def existing(path: Path) -> Store | None:
    """The result at `path`; None where there is nothing yet. Raises `FileExistsError` for what is no result."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        group = zarr.open_group(str(path), mode="r+")
        group.attrs["softjax"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, NotADirectoryError) as error:
        damaged = (path / "zarr.json").exists() and (path / LEDGER).exists()
        if damaged:
            raise DamagedResult(f"{path / 'zarr.json'} can't be read: {_first_line(error)} {_REMOVE}") from error
        raise FileExistsError(f"{path} is not a softjax result. Choose another folder.") from error
    return Store(group, path)


def sweep_up(path: Path) -> None:
    """Removes what killed runs left of files that they were writing to this result."""
    for leftover in (*path.glob("*.partial"), *path.glob("*/*.partial")):
        leftover.unlink(missing_ok=True)


def _stored(group: zarr.Group, path: Path | None, known: xr.Dataset, root: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a dataset's variables; returns the entries of the root that change."""
    arrays, texts = dict(root["arrays"]), dict(root["texts"])
    for name, variable in known.variables.items():
        values, attributes, name = np.asarray(variable.values), dict(variable.attrs), str(name)
        if values.dtype.kind in "UO":
            texts[name] = {"dims": list(variable.dims), "values": values.tolist(), "attributes": attributes}
            continue
        dims, chunk = tuple(map(str, variable.dims)), tuple(max(side, 1) for side in values.shape)
        _create(group, name, values.shape, values.dtype, chunk, dims, attributes)[...] = values
        arrays[name] = {"metadata": checksums.of_metadata(path, name), "values": checksums.of_array(values)}
    coordinates = sorted({*root["coordinates"], *map(str, known.coords)})
    return {"arrays": arrays, "texts": texts, "coordinates": coordinates}


def _create(
    group: zarr.Group, name: str, shape: tuple, dtype: Any, chunk: tuple, dims: tuple[str, ...], attributes: Any
) -> zarr.Array:
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunk or "auto",
        fill_value=np.nan if np.issubdtype(dtype, np.inexact) else 0,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=0), Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dims,
        attributes=dict(attributes),
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def _write_attributes(group: zarr.Group, root: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    sealed = checksums.as_json({"softjax": root, **attributes})
    root, others = sealed["softjax"], {name: value for name, value in sealed.items() if name != "softjax"}
    group.attrs.put(sealed | {"seal": checksums.of_attributes(root, others)})


def padded(values: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Values (units, ...) in the common shape of all cells, missing ones NaN, or 0 for integers."""
    if values.shape[1:] == shape and values.dtype == dtype:
        return values
    kept = np.full((values.shape[0], *shape), np.nan if np.issubdtype(dtype, np.inexact) else 0, dtype)
    kept[(slice(None), *map(slice, values.shape[1:]))] = values
    return kept


def _first_line(error: Exception) -> str:
    return f"{str(error).partition(chr(10))[0].rstrip('.') or type(error).__name__}."
