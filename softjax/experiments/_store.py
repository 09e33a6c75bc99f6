"""Crash-safe results: one zarr group, one chunk per trajectory, and a flag that is written last.

zarr writes, xarray reads. A killed or interrupted run leaves its finished trajectories readable; running again with
the same configuration computes the missing ones only.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import MemoryStore


class TrajectoryStore:
    """Arrays with a leading trajectory axis, filled one trajectory at a time, in a folder or in memory.

    Opening an existing folder resumes it. Raises `FileExistsError` when it holds another configuration or something
    that is not a softjax result, and `PermissionError` when it can't be written.
    """

    def __init__(self, path: Path | None, num: int, config: Mapping[str, Any]):
        self._store = MemoryStore() if path is None else _writable(path)
        self._num = num
        self._config = json.dumps(config, sort_keys=True)
        existing = None if path is None or not any(path.iterdir()) else _open(path)
        if existing is not None and existing.attrs.get("config") != self._config:
            raise FileExistsError(
                f"{path} holds the results of another configuration. Choose another folder, or remove this one."
            )
        self._ready = existing is not None and bool(existing.attrs.get("ready", False))
        # A group that never became ready holds no results yet, and is begun again.
        self._group = existing if self._ready and existing is not None else self._begin()

    def _begin(self) -> zarr.Group:
        return zarr.create_group(self._store, attributes={"config": self._config}, overwrite=True)

    @property
    def ready(self) -> bool:
        """Whether the arrays have been laid out."""
        return self._ready

    @property
    def todo(self) -> np.ndarray:
        """Indices of the trajectories that are not finished."""
        if not self._ready:
            return np.arange(self._num)
        return np.flatnonzero(np.asarray(self._array("done")) == 0)

    def create(self, static: xr.Dataset, per_trajectory: xr.Dataset) -> None:
        """Lays out the arrays: `static` is written now, `per_trajectory` is a template of one trajectory."""
        if self._ready:
            return
        for name, variable in static.variables.items():
            _create(self._group, str(name), variable.shape, variable.dtype, variable, chunks=variable.shape)
            self._array(str(name))[...] = variable.values
        for name, variable in per_trajectory.data_vars.items():
            shape = (self._num, *variable.shape)
            chunks = (1, *variable.shape)
            _create(self._group, str(name), shape, variable.dtype, variable, chunks, lead=("trajectory",))
        done = xr.Variable(("trajectory",), np.zeros(self._num, np.int8))
        _create(self._group, "done", done.shape, done.dtype, done, chunks=(1,))
        self._group.attrs.update({**static.attrs, "ready": True})
        self._ready = True

    def write(self, index: int, values: Mapping[str, np.ndarray]) -> None:
        """Stores one finished trajectory."""
        for name, value in values.items():
            self._array(name)[index] = value
        self._array("done")[index] = 1

    def annotate(self, **attributes: Any) -> None:
        """Adds attributes to the results."""
        self._group.attrs.update(attributes)

    def dataset(self) -> xr.Dataset:
        """The finished trajectories, loaded."""
        return _finished(xr.open_zarr(self._store, consolidated=False, chunks=None))

    def _array(self, name: str) -> zarr.Array:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


def completed(dataset: xr.Dataset, path: Path | None, more: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The finished results at `path` with what `more` derives from them: computed once, and then kept there."""
    if dataset.attrs.get("completed", False):
        return dataset
    derived = more()
    if path is not None:
        group = _open(path)
        for name, variable in derived.variables.items():
            array = _create(group, str(name), variable.shape, variable.dtype, variable, chunks=variable.shape)
            array[...] = variable.values
        group.attrs["completed"] = True  # last: after a kill this is done again
    # What a killed run left of them gives way.
    return dataset.drop_vars(derived.variables, errors="ignore").merge(derived).assign_attrs(completed=True)


def load_results(path: Path | str) -> xr.Dataset:
    """Results of a run, finished or interrupted: its finished trajectories.

    `path` is the `data.zarr` that a command or `run(config, path)` has written. Raises `FileNotFoundError` when there
    is none.
    """
    if not _open(Path(path)).attrs.get("ready", False):
        raise FileNotFoundError(f"{path} holds no results yet: the run was stopped before its first trajectory.")
    return _finished(xr.open_zarr(path, consolidated=False, chunks=None))


def _finished(dataset: xr.Dataset) -> xr.Dataset:
    finished = dataset.isel(trajectory=np.flatnonzero(dataset["done"].values == 1)).drop_vars(["done"])
    return finished.set_coords([name for name in finished.data_vars if finished[name].attrs.get("coordinate")]).load()


def _open(path: Path) -> zarr.Group:
    if not Path(path).exists():
        raise FileNotFoundError(
            f"there are no results at {path}. Run the experiment first, with this folder as output."
        )
    try:
        return zarr.open_group(str(path), mode="r+")
    except (FileNotFoundError, ValueError) as error:
        raise FileExistsError(f"{path} is not a softjax result. Choose another folder.") from error


def _writable(path: Path) -> str:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".softjax-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"{path} can't be written ({error.strerror}). Choose a folder that you may write to with --out."
        ) from error
    for leftover in path.rglob("*.partial"):  # of a write that was killed
        leftover.unlink(missing_ok=True)
    return str(path)


def _create(
    group: zarr.Group, name: str, shape: tuple, dtype: Any, like: Any, chunks: tuple, lead: tuple[str, ...] = ()
) -> zarr.Array:
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=tuple(max(c, 1) for c in chunks) or "auto",
        fill_value=np.nan if np.issubdtype(dtype, np.floating) else 0,
        dimension_names=(*lead, *like.dims),
        attributes=dict(like.attrs),
        overwrite=True,
    )
