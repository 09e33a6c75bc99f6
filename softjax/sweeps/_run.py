"""Computing what is missing of a sweep, and reading what there is."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.experimental.multihost_utils import sync_global_devices

from softjax._checks import require
from softjax._version import __version__
from softjax.sweeps import _checksums, _cluster, _store
from softjax.sweeps._labels import labelled
from softjax.sweeps._lock import Locks, lock_file
from softjax.sweeps._program import one_program
from softjax.sweeps._store import DONE, FAILED, TODO, Store
from softjax.sweeps._sweep import Sweep

Progress = Callable[[int, int], None]
"""Called with the number of finished units and of all of them."""
Derive = Callable[[xr.Dataset], xr.Dataset]
"""From the finished result, what follows from it."""


def run(
    sweep: Sweep,
    path: Path | str | None = None,
    *,
    progress: Progress | bool | None = None,
    pack: int | None = None,
    shard: tuple[int, int] | None = None,
    client: Any = None,
    derive: Derive | None = None,
    repair: bool = False,
    failures: Literal["warn", "raise", "keep"] = "warn",
) -> xr.Dataset:
    """Computes what is missing of a sweep, and returns all of it.

    The axes are dimensions with their values as coordinates, members the next one, then those of the arrays; without
    axes members come first, and only finished ones are there. Attributes say where the result comes from.

    * `sweep`: the units, their axes and members.
    * `sweep`: the units, their axes and members.
    * `sweep`: the units, their axes and members.
    * `path`: folder of the result, resumed if it exists; in memory if None. Several processes may fill one folder.
    * `progress`: True for a bar, or a function of the finished units and of all.
    * `pack`: units side by side and stored together; by default as many as the memory takes, up to a limit.
    * `shard`: (i, n) computes only every n-th block of units, from the i-th on, as in a job array.
    * `client`: a `distributed.Client`; its workers, which must see `path`, compute the blocks.
    * `derive`: called once with the finished result; the dataset that it returns is stored with it.
    * `repair`: damaged and failed units are computed anew.
    * `failures`: what is done about units that are not finite, which `attrs["failed"]` lists: a warning, a
      `FloatingPointError`, or nothing. The others are stored in any case, and NaN stands in place of these.

    Raises `FileExistsError` for a folder with something else in it, `DamagedResult` for one that has been changed,
    `PermissionError` for one that can't be written, and `MemoryError` where one unit alone is too large.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> data = sj.sweeps.run(sweep)
    >>> data["value"].shape, data["scale"].values.tolist()
    ((3, 2), [1.0, 2.0, 4.0])
    """
    from softjax.sweeps._progress import reporting

    path = None if path is None else Path(path).expanduser()
    require(shard is None or 0 <= shard[0] < shard[1], f"shard must be (i, n) with 0 <= i < n, got {shard}.")
    require(client is None or path is not None, "a client's workers need a path, a folder that they all see.")
    made = [] if path is None else _make_room(path)
    locks = Locks(path)
    try:
        compiled_before = sweep.compile_time
        store = _together(partial(_open, sweep, path, locks, pack, repair, client is None), path)
        with reporting(progress) as report:
            if client is not None and not store.complete:
                _cluster.fill(client, sweep, store, report)
            _fill(Filler(sweep, store, locks, compiled_before), shard, report)
        store = _together(partial(_complete, store, locks, derive), path)
        dataset = labelled(store)
    finally:
        locks.close()
        for folder in made:
            with suppress(OSError):  # unless something was written
                folder.rmdir()
    _tell(dataset.attrs.get("failed", []), failures)
    return dataset


def load(path: Path | str) -> xr.Dataset:
    """A result, finished or not, as `run` returns it: what is not finished is NaN, or left out where there are no axes.

    * `path`: the result's folder, or the one above it that a command was given.

    Raises `FileNotFoundError` where there
    is none or nothing is finished, and `DamagedResult`, naming file and unit, where it is not what was written.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = sj.sweeps.run(sweep, folder + "/result.zarr")
    ...     print(sj.sweeps.load(folder + "/result.zarr").equals(data))
    True
    """
    return labelled(opened(path))


def opened(path: Path | str) -> Store:
    """The result in a folder, or in the folder below it that a command has made."""
    path = Path(path).expanduser()
    inner = path / "data.zarr"
    begun = inner.exists() or lock_file(inner).exists()  # the lock alone: a run that lays it out
    path = inner if begun and not (path / "zarr.json").exists() else path
    store = _store.existing(path)
    if store is None:
        raise FileNotFoundError(
            f"there are no results at {path}. Run the experiment first, with this folder as output."
        )
    return store


def _make_room(path: Path) -> list[Path]:
    """Makes the folder that the result's is to stand in; returns what was made, the innermost first."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(
            f"{path.parent} can't be written ({error.strerror}). Choose a folder that you may write to."
        ) from error
    return made


def _open(sweep: Sweep, path: Path | None, locks: Locks, pack: int | None, repair: bool, works: bool) -> Store:
    """The store of a sweep: that at `path`, if it is of the same sweep, or a new one."""
    with locks.set_up():
        store, alone = None if path is None else _store.existing(path), locks.alone()
        if alone:
            locks.sign()
        if store is None:
            return _create(sweep, path, pack, works)
        asked = _checksums.as_json(sweep.identity())
        if any(store.identity.get(name) != value for name, value in asked.items()):
            _ = sweep.units  # what is wrong with the sweep itself is said first
            how = _differences(store.identity, asked) or "values of another kind"
            raise FileExistsError(
                f"{path} holds the results of another configuration ({how}). Choose another folder, or remove this one."
            )
        if alone:
            _store.sweep_up(store.path or Path())
            if repair:
                _repair(store)
        elif repair:
            raise FileExistsError(f"{path} is being filled by another process; repair it when that has ended.")
        _report_other_versions(store)
        return store


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What two sweeps do not have in common, in words; of different experiments only that; the key if nothing else."""
    before, now = _named(stored), _named(asked)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    names = ["experiment"] if "experiment" in names else [name for name in names if name != "key"] or names
    return "; ".join(f"{name}: {_short(before.get(name))} there, {_short(now.get(name))} here" for name in names)


def _named(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of a sweep depend on, by name: its axes as they are typed, the unit's parameters by theirs."""
    unit = identity["unit"]
    axes = [
        "/".join(f"{name}={','.join(map(str, column))}" for name, *column in zip(names, *rows, strict=True))
        for names, rows in identity["axes"]
    ]
    parameters = unit if isinstance(unit, Mapping) else {"unit": unit}
    return {**identity, "axes": " ".join(axes) or "none", "unit": None, **parameters}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _create(sweep: Sweep, path: Path | None, pack: int | None, works: bool) -> Store:
    lead = "unit" if sweep.axes or sweep.dim is None else sweep.dim
    block = sweep.block_size(pack)
    templates = sweep.templates(block)
    with ThreadPoolExecutor(1) as beside:  # the compiler leaves Python and most of the cores free
        if works and not one_program():
            beside.submit(sweep.programs[0].prepare, sweep.width(sweep.programs[0], block))
        known = sweep.known()
    layout = _store.Layout(
        lead=lead,
        num_units=sweep.num_units,
        block_size=block,
        templates=templates,
        known=known.assign(unit_number=((lead,), sweep.order)),
        identity=sweep.identity(),
        record=_provenance(sweep) | {"member_dim": sweep.dim},
    )
    return _store.create(path, layout)


def _provenance(sweep: Sweep) -> dict[str, Any]:
    """Where a result comes from: version, precision, device, random numbers, time."""
    return {
        "softjax_version": __version__,
        **_versions(),
        "float_type": str(jnp.result_type(float)),
        "key": f"{jr.key_impl(sweep.key)} {jr.key_data(sweep.key).tolist()}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "compile_time_s": 0.0,
        "run_time_s": 0.0,
        "units_computed": 0,
    }


def _versions() -> dict[str, str]:
    device = jax.devices()[0]
    name = f"{device.platform}: {device.device_kind} x {jax.device_count()}"
    return {"jax_version": jax.__version__, "device": name}


def _report_other_versions(store: Store) -> None:
    then, now = store.record, _versions()
    other = [f"{name}: {then[name]} then, {value} now" for name, value in now.items() if then[name] != value]
    if other and not store.complete:
        warnings.warn(f"{store.path} was begun under other conditions ({'; '.join(other)}).", stacklevel=4)


def _repair(store: Store) -> None:
    unsound = store.unsound()
    if unsound:
        store.update(complete=False)
        for block in unsound:
            store.clear(block)


class Filler:
    """Computes blocks of a sweep into its store."""

    def __init__(self, sweep: Sweep, store: Store, locks: Locks, compiled_before: float = 0.0):
        self._sweep, self.store, self.locks = sweep, store, locks
        self._compiled_before = compiled_before  # seconds of compilation that are not this run's
        self._ends = np.cumsum([program.cells.size * sweep.members for program in sweep.programs])
        self._widths = [sweep.width(program, store.block_size) for program in sweep.programs]
        self.run_time, self.units = 0.0, 0

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of compilation and of running, and how many units these were for."""
        compiling = self._sweep.compile_time - self._compiled_before
        return {"compile_time_s": compiling, "run_time_s": self.run_time, "units_computed": self.units}

    def block(self, number: int, wait: bool = False) -> bool:
        """Computes a block unless it is done or another process is at it; returns whether it is done."""
        with self.locks.block(number, wait) if not one_program() else nullcontext(True) as held:
            if not held or np.all(self.store.state_of(number) != TODO):
                return held
            values, states = self._computed(self.store.units_of(number))
            if _writes(self.store):
                self.store.write(number, values, states)
        self.units += states.size
        return True

    def _computed(self, positions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        owners = np.searchsorted(self._ends, positions, side="right")
        parts = [self._piece(int(owner), positions[owners == owner]) for owner in np.unique(owners)]
        values = {name: _stacked([part[0][name] for part in parts]) for name in self.store.names}
        return values, np.concatenate([part[1] for part in parts])

    def _piece(self, owner: int, positions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Units of one program."""
        program, members = self._sweep.programs[owner], self._sweep.members
        within = positions - (self._ends[owner] - program.cells.size * members)
        start, compiled = time.perf_counter(), program.compile_time
        results, self._widths[owner] = program.run(within // members, within % members, self._widths[owner])
        self.run_time += time.perf_counter() - start - (program.compile_time - compiled)
        states = np.full(positions.size, DONE)
        for column, (variable, value) in enumerate(zip(program.described, results, strict=True)):
            finite = np.isfinite(value).reshape(positions.size, -1).all(1) | variable.about.allow_nan
            states = np.where((states == DONE) & ~finite, FAILED + column, states)
        return {variable.name: value for variable, value in zip(program.described, results, strict=True)}, states


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Arrays (units, ...) one after the other, filled up to a common shape."""
    shape = tuple(map(max, *(part.shape[1:] for part in parts))) if len(parts) > 1 else parts[0].shape[1:]
    return np.concatenate([_store.padded(part, shape, part.dtype) for part in parts])


def _fill(filler: Filler, shard: tuple[int, int] | None, report: Progress) -> None:
    """Computes all blocks, or those of a shard; waits for those that other processes are at."""
    store = filler.store
    states = store.states()
    finished = int(np.sum(states != TODO))
    report(finished, store.num_units)
    if finished == store.num_units:
        return
    blocks = range(store.num_blocks) if shard is None else range(shard[0], store.num_blocks, shard[1])
    todo = [block for block in blocks if np.any(states[store.units_of(block)] == TODO)]
    try:
        busy = []
        for block in todo:
            done = filler.block(block)
            busy += [] if done else [block]
            finished += store.units_of(block).size if done else 0
            report(finished, store.num_units)
        for block in busy if shard is None else []:
            filler.block(block, wait=True)
            finished += store.units_of(block).size
            report(finished, store.num_units)
    finally:
        if _writes(store):
            _record(filler)


def _record(filler: Filler) -> None:
    """Adds up what the units took."""
    store = filler.store
    with filler.locks.set_up():
        store.reload()
        store.update(record={name: store.record.get(name, 0) + value for name, value in filler.spent.items()})


def _writes(store: Store) -> bool:
    """Whether this process writes what it computes: of those that run one program together, one does."""
    return not one_program() or jax.process_index() == 0 or store.path is None


def _complete(store: Store, locks: Locks, derive: Derive | None) -> Store:
    """Marks a result whose units are all done or failed, with what follows from it."""
    with locks.set_up():
        store.reload()
        states = store.states()
        if store.complete or np.any(states == TODO):
            return store
        if derive is not None and np.any(states == DONE):
            store.add(derive(labelled(store)))
        store.update(complete=True)
        return store


def _together(change: Callable[[], Store], path: Path | None) -> Store:
    """The store after a change of it, made by one of the processes that run one program, before the others go on."""
    if path is None or not one_program():
        return change()
    store = change() if jax.process_index() == 0 else None
    sync_global_devices(str(path))
    if store is None:
        store = _store.existing(path)
        assert store is not None
    return store


def _tell(failed: Sequence[str], failures: str) -> None:
    if not failed or failures == "keep":
        return
    listed = "; ".join(failed[:8]) + (f"; and {len(failed) - 8} more" if len(failed) > 8 else "")
    message = f"{len(failed)} unit(s) failed: {listed}. The others are stored."
    if failures == "raise":
        raise FloatingPointError(message)
    warnings.warn(message, stacklevel=3)
