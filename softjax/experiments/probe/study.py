"""What one trajectory of the target is, and what is read off many."""

from dataclasses import replace

import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import PRNGKeyArray
from softjax.experiments._shared.microscope import described, looked_at, lowest_peak_time, suggested_sampler
from softjax.experiments._shared.networks import LOWEST_PEAK
from softjax.experiments._shared.null import null_findings, null_rows, stored_null
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, equilibrium_row, growth_row, nearest, softest
from softjax.experiments._shared.target import classes_of_target, lattice_and_channels, resolve
from softjax.experiments._shared.trajectories import ReverseTrajectory, fitted_trajectory, snapshots
from softjax.experiments.probe.config import Config


def unit(config: Config) -> ReverseTrajectory:
    """A trajectory of the target, by the sampler that suits its process unless another is asked for."""
    target = resolve(config)
    lattice, channels = lattice_and_channels(config, target)
    trained = np.inf if target.t_max is None else target.t_max
    require(config.t_max <= trained, f"{config.target} was trained on times up to {trained}, not {config.t_max}.")
    sampler = suggested_sampler(target.field) if config.sampler == "auto" else config.sampler
    return fitted_trajectory(
        target.field,
        target.grid(config.num_steps, config.t_max, config.t_min),
        shape=(*lattice, *((channels,) if channels else ())),
        channels=channels,
        labels=classes_of_target(config, target),
        paths=_keys(config, sampler)[0],
        probe=config.probe,
        length=target.length if config.length == "auto" else config.length,
        sampler=sampler,
        solver=config.integration.solver,
        engine=config.integration.engine,
    )


def _keys(config: Config, sampler: str) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Of the trajectories, and of all else: those of `softjax edm2` and of `softjax fashion`."""
    paths, rest = jr.split(jr.key(config.seed))
    return (jr.key(config.seed) if sampler == "heun" else paths), rest


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """Times, modes and classes, the responses of noise, what the target is, and the null of its data if it has them."""
    target = resolve(config)
    lowest = LOWEST_PEAK if target.t_max is not None else lowest_peak_time(unit.field.process)
    process = unit.field.process
    about = described(unit, lowest, target=config.target, process=repr(process), sampler=unit.sampler)
    null = stored_null(unit, target.folder) if target.folder else xr.Dataset()
    return about.merge(null, combine_attrs="no_conflicts")


def weights(config: Config) -> dict[str, str]:
    """Checksum of the target, and of its source where it is code."""
    return {"target_sha256": resolve(config).identity}


def derive(config: Config, unit: ReverseTrajectory, dataset: xr.Dataset) -> xr.Dataset:
    """The whole zone along the first trajectories, and the leading modes where the equilibrium length peaks."""
    return looked_at(
        unit,
        dataset,
        num_zone_times=config.num_zone_times,
        num_states=min(config.num_states, config.num_trajectories),
        num_modes=config.num_modes,
        max_shell=config.probe.max_shell,
        key=_keys(config, unit.sampler)[1],
    )


def softness(dataset: xr.Dataset) -> xr.DataArray:
    """Median responses in units of those of noise alone, (time, shell): 1 where no structure is felt."""
    return dataset["magnitude"].median("trajectory") / dataset["free_response"]


def summary(dataset: xr.Dataset) -> list[Row]:
    """Where the low modes soften and the image grows, how local and equivariant the field is there, and the cost."""
    clock = dataset.attrs["clock"]
    rows = [replace(row, units=clock) for row in (equilibrium_row(dataset), growth_row(dataset))]
    null = null_rows(dataset)
    at = softest(dataset, rows[0].value)
    soft = softness(dataset).isel(time=at).values
    rows += [Row(f"softness of shell {n} there", float(soft[n]), "1") for n in (0, 1, soft.size - 1)]
    if "effective_radius" in dataset:
        there = _at_zone(dataset, at)
        rows.append(Row("leakage of shell 1", float(there["leakage"].sel(shell=1).mean()), "1"))
        rows.append(Row("reach of the denoiser", float(there["effective_radius"].mean()), "sites"))
    if "leading_rate" in dataset:
        rows.append(Row("leading rate, -1 for noise", float(leading_rates(dataset)[:, 0].mean()), "1"))
        low = dataset["leading_content"][:, 0].isel(wave_shell=slice(0, 3)).sum("wave_shell")
        rows.append(Row("power of that mode in shells 0 to 2", float(low.mean()), "1"))
    return [rows[0], *null, *rows[1:], *cost_rows(dataset)]


def _at_zone(dataset: xr.Dataset, at: int) -> xr.Dataset:
    return dataset.isel(equivariance_time=nearest(dataset["equivariance_time"], float(dataset["time"][at])))


def leading_rates(dataset: xr.Dataset) -> xr.DataArray:
    """Growth rates of the leading modes in units of the rate at which noise relaxes: -1 for noise, 0 for marginal."""
    return dataset["leading_rate"] / dataset["free_response"].sel(time=dataset.attrs["leading_time"], method="nearest")


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What was found, in words."""
    by_name, clock = {row.name: row for row in rows}, dataset.attrs["clock"]
    peak, growth = rows[0], next(row for row in rows if row.name.startswith("fastest growth"))
    soft = [row.value for row in rows if row.name.startswith("softness")]
    last = int(dataset["shell"].values[-1])
    where = f"The equilibrium length peaks at {clock} = {peak.text}. There the"
    if not np.isfinite(peak.value):
        where = f"The equilibrium length has no peak ({peak.reason}). Where it is largest the"
    words = [
        f"{where} responses of shells 0, 1 and {last} are {soft[0]:.2f}, {soft[1]:.2f} and {soft[2]:.2f} of those of "
        f"noise alone. The correlation length grows fastest at {clock} = {growth.text}."
    ]
    if "reach of the denoiser" in by_name:
        words.append(
            f"Near there the denoiser reaches {by_name['reach of the denoiser'].value:.2g} sites, and "
            f"{by_name['leakage of shell 1'].value:.0%} of the response to shell 1 leaves its Fourier pair (0 for a "
            "translation-equivariant field)."
        )
    if "power of that mode in shells 0 to 2" in by_name:
        power = by_name["power of that mode in shells 0 to 2"].value
        words.append(f"Its leading mode has {power:.0%} of its power in shells 0 to 2.")
    return " ".join([*words, null_findings(dataset, rows)])


STUDY = Study(
    "probe",
    unit,
    summary,
    findings,
    known=known,
    pictures=snapshots,
    derive=derive,
    weights=weights,
    pack=lambda config: config.chunk or None,
    saves_memory="Take a smaller --chunk; 1 takes the least.",
)
