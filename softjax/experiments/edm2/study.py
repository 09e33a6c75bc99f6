"""What one trajectory of an EDM2 network is, and what is read off many."""

from dataclasses import replace

import numpy as np
import xarray as xr

from softjax.experiments._shared.flow import flow_trajectory
from softjax.experiments._shared.networks import LOWEST_PEAK, checksum, edm_folder
from softjax.experiments._shared.null import null_findings, null_rows, stored_null
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, equilibrium_row, growth_row
from softjax.experiments._shared.trajectories import ReverseTrajectory, class_labels, labels, snapshots
from softjax.experiments.edm2.config import Config


def unit(config: Config) -> ReverseTrajectory:
    """A deterministic trajectory of the network."""
    return flow_trajectory(
        config.weights, config.num_trajectories, config.labels, config.seed, config.noise, config.probe
    )


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """Noise levels (`time`) and modes, the null of the data, and the class of every trajectory, `label`."""
    folder = edm_folder(config.weights)
    about = labels(unit, weights_sha256=checksum(folder), lowest_peak_time=LOWEST_PEAK, clock="sigma")
    about = about.merge(stored_null(unit, folder), combine_attrs="no_conflicts")
    return about.assign_coords(class_labels(unit))


def weights(config: Config) -> dict[str, str]:
    """Checksum of the network."""
    return {"weights_sha256": checksum(edm_folder(config.weights))}


def summary(dataset: xr.Dataset) -> list[Row]:
    """The empirical critical noise level, where the pattern's length grows fastest, and the cost of the run."""
    rows = [equilibrium_row(dataset), growth_row(dataset)]
    rows = [replace(row, units="sigma") for row in rows]
    return [rows[0], *null_rows(dataset), rows[1], *cost_rows(dataset)]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What was found, in words: where the equilibrium length peaks, and how soft the modes are there."""
    critical, growth = rows[0], next(row for row in rows if row.name.startswith("fastest growth"))
    if not np.isfinite(critical.value):
        return f"The equilibrium length has no peak ({critical.reason}); the image grows fastest at {growth.text}."
    there = dataset.sel(time=critical.value, method="nearest")
    softness = (there["magnitude"] * there["time"]).median("trajectory").values
    order = "the lower the shell, the softer" if np.all(np.diff(softness) > 0) else "not in the order of the shells"
    return (
        f"The equilibrium length peaks at sigma = {critical.text}. There the responses sigma |J v| of shells 0, 1 and "
        f"{softness.size - 1} have fallen from 1, that of noise, to {softness[0]:.2f}, {softness[1]:.2f} and "
        f"{softness[-1]:.2f}: {order}. The image's correlation length grows fastest at sigma = {growth.text}. "
        f"{null_findings(dataset, rows)}"
    )


STUDY = Study(
    "edm2",
    unit,
    summary,
    findings,
    known=known,
    pictures=snapshots,
    weights=weights,
    pack=lambda config: config.chunk or None,
    saves_memory="Take a smaller --chunk; 1 takes the least.",
)
