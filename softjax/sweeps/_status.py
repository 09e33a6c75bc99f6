"""How far a result is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softjax.sweeps._labels import problems, stored_axes
from softjax.sweeps._lock import owner
from softjax.sweeps._run import opened
from softjax.sweeps._store import DONE


@dataclass(frozen=True)
class Status:
    """What a result has, and what it lacks.

    * `path`: folder of the result;
    * `axes`: number of values on each axis, by name;
    * `members`: units in each cell;
    * `num_units`: units in all;
    * `num_done`: units that are stored;
    * `failed`: each failed unit, with the reason;
    * `owner`: who works on it now; empty if nobody does;
    * `seconds_per_unit`: run time, NaN before the first.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = sj.sweeps.run(sweep, folder + "/result.zarr")
    ...     found = sj.sweeps.status(folder + "/result.zarr")
    >>> found.axes, found.num_done, found.num_todo, found.failed
    ({'scale': 3}, 6, 0, [])
    """

    path: Path
    axes: dict[str, int]
    """Number of values on each axis."""
    members: int
    num_units: int
    num_done: int
    failed: list[str]
    """Each failed unit, with the reason."""
    owner: str
    """Who works on it now; empty if nobody does."""
    seconds_per_unit: float
    """Run time, NaN before the first."""

    @property
    def num_todo(self) -> int:
        """Units that are not computed yet."""
        return self.num_units - self.num_done - len(self.failed)

    def __str__(self) -> str:
        cells = " x ".join(f"{name} {count}" for name, count in self.axes.items())
        lines = [f"{self.path}: {cells + ' x ' if cells else ''}{self.members} members = {self.num_units} units"]
        lines.append(f"{self.num_done} done, {len(self.failed)} failed, {self.num_todo} to do")
        if self.num_todo and np.isfinite(self.seconds_per_unit):
            lines[-1] += f", about {self.num_todo * self.seconds_per_unit:.0f} s on one machine as before"
        lines += [f"now filled by {self.owner}"] if self.owner else []
        return "\n".join([*lines, *(f"failed: {reason}" for reason in self.failed)])


def status(path: Path | str) -> Status:
    """How far the result in a folder is, while it is filled or afterwards.

    * `path`: as for `run` or `load`.

    Raises `FileNotFoundError` where there is none, and `DamagedResult`.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = sj.sweeps.run(sweep, folder + "/result.zarr", shard=(0, 2), pack=1)
    ...     print(sj.sweeps.status(folder + "/result.zarr").num_todo)
    3
    """
    store = opened(path)
    states, axes = store.states(), stored_axes(store)
    order = store.order()
    assert store.path is not None
    computed, seconds = store.record["units_computed"], store.record["run_time_s"]
    return Status(
        path=store.path,
        axes={axis.dim: len(axis.values) for axis in axes},
        members=store.identity["members"],
        num_units=store.num_units,
        num_done=int(np.sum(states == DONE)),
        failed=problems(store, axes, order, states).get("failed", []),
        owner=owner(store.path),
        seconds_per_unit=seconds / computed if computed else np.nan,
    )
