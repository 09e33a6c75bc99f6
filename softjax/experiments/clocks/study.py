"""Every critical time of a model on one axis, and the order in which they come."""

from typing import Any

import numpy as np
import xarray as xr

from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows
from softjax.experiments._shared.target import resolve
from softjax.experiments._shared.trajectories import ReverseTrajectory, snapshots
from softjax.experiments.clocks import network, patch
from softjax.experiments.clocks.config import Config
from softjax.experiments.clocks.table import OTHER_CLOCKS, on_every_clock


def _kind(config: Config) -> Any:
    return patch if config.target == "patch" else network


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory of the patch model or of the target."""
    return _kind(config).unit(config)


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """What the module of the model's kind knows before."""
    return _kind(config).known(config, unit)


def weights(config: Config) -> dict[str, str]:
    """Checksum of the target; of the patch model, none."""
    return {} if config.target == "patch" else {"target_sha256": resolve(config).identity}


def derive(config: Config, unit: ReverseTrajectory, dataset: xr.Dataset) -> xr.Dataset:
    """The agreement of clones over `cloning_time`, and over `clock` every critical time.

    `clock_time` with its interval, in t, the same instant on three other clocks, and its place in the order.
    """
    kind = _kind(config)
    found = kind.clones(config, unit)
    rows = kind.rows(dataset.merge(found, combine_attrs="no_conflicts"))
    return found.merge(on_every_clock(unit.field.process, rows), combine_attrs="no_conflicts")


def summary(dataset: xr.Dataset) -> list[Row]:
    """The clock table: each instant in t with its interval, and as sigma, sigma/alpha and log SNR, and its place."""
    rows = []
    for name in dataset["clock"].values:
        at = dataset.sel(clock=name)
        low, high = float(at["clock_low"]), float(at["clock_high"])
        interval = None if np.isnan(low) and np.isnan(high) else (low, high)
        also = tuple((label, float(at[variable])) for label, variable in OTHER_CLOCKS.items())
        reason = str(at["clock_reason"].values)
        rows.append(Row(str(name), float(at["clock_time"]), dataset.attrs.get("clock_of", "t"), interval, also, reason))
    return [*rows, *cost_rows(dataset)]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """How far apart the clocks are, in words, and which of them the intervals can tell apart."""
    clocks = [row for row in rows[: dataset.sizes["clock"]] if np.isfinite(row.value)]
    first, last = (pick(clocks, key=lambda row: row.value) for pick in (max, min))
    width = dataset["clock_last"] - dataset["clock_first"]
    fixed = int(np.sum(width.values == 0))
    units, ratio = first.units, first.value / last.value
    return (
        f"On the way from noise, {first.name} comes first, at {units} = {first.text}, and {last.name} last, "
        f"at {units} = {last.text}: a factor of {ratio:.2f} between things that are all called critical time. "
        f"The intervals fix the place of {fixed} of the {len(clocks)} clocks that were found."
    )


STUDY = Study("clocks", unit, summary, findings, known=known, pictures=snapshots, derive=derive, weights=weights)
