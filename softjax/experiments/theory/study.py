"""What one trajectory of the two-pattern patch model is, and its theory on the same times."""

import jax
import jax.random as jr
import numpy as np
import xarray as xr

from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, instability_row
from softjax.experiments._shared.trajectories import (
    ReverseTrajectory,
    dictionary,
    labels,
    reverse_trajectory,
    snapshots,
)
from softjax.experiments.theory.config import Config
from softjax.fields import PatchDictionary, PatchField
from softjax.processes import VP
from softjax.theory import bifurcation_diagram, critical_time, hartree, patch_spectrum


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory of the model with two uniform patterns."""
    field = PatchField(PatchDictionary.two_pattern(config.patch_size), VP(config.beta))
    return reverse_trajectory(field, config, config.grid_size, jr.key(config.seed))


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """The patterns, the critical times, and the curves of the theory.

    Over `time`: `mean_field_rate`, `hartree_rate` of the uniform mode, `equilibrium` and `near_onset` of the pitchfork;
    over `time` and `wavevector_index` along an axis: `dispersion` (mean field) and `structure_factor` (Hartree).
    """
    field, ts, half = unit.field, unit.ts, config.grid_size // 2 + 1
    assert isinstance(field, PatchField)
    process, number = field.process, config.patch_size**2
    closure = hartree(process, ts, config.patch_size, unit.shape)
    spectrum = jax.jit(jax.vmap(lambda t: patch_spectrum(process, t, config.patch_size, unit.shape)[0, :half]))(ts)
    fork = bifurcation_diagram(process, ts, number)
    along, rate = ("time", "wavevector_index"), {"units": "1/t", "long_name": "growth rate"}
    curves = {
        "mean_field_rate": (("time",), np.asarray(spectrum[:, 0]), rate),
        "hartree_rate": (("time",), np.asarray(closure.growth_rate[:, 0, 0]), rate),
        "dispersion": (along, np.asarray(spectrum), rate),
        "structure_factor": (along, np.asarray(closure.structure_factor[:, 0, :half]), {"units": "data^2"}),
        "equilibrium": (("time",), np.asarray(fork.equilibrium), {"units": "data"}),
        "near_onset": (("time",), np.asarray(fork.near_onset), {"units": "data"}),
    }
    about = labels(
        unit,
        critical_time=float(critical_time(process, number)),
        hartree_critical_time=float(closure.critical_time),
        hartree_reason=closure.reason,
    )
    return about.merge(dictionary(field.dictionary.patterns)).assign(curves)


def summary(dataset: xr.Dataset) -> list[Row]:
    """The critical time in mean field, with fluctuations, and measured."""
    return [
        Row("t_c, tree level", dataset.attrs["critical_time"], "t"),
        Row("t_c, Hartree", dataset.attrs["hartree_critical_time"], "t", reason=dataset.attrs["hartree_reason"]),
        instability_row(dataset),
        *cost_rows(dataset),
    ]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """Which theory the measured critical time agrees with, in words."""
    del dataset
    tree, closed, measured = rows[:3]
    return (
        f"The uniform mode turns unstable at t = {measured.text}; mean field says {tree.value:.4g}, and with "
        f"fluctuations (Hartree) {closed.value:.4g}."
    )


STUDY = Study("theory", unit, summary, findings, known=known, pictures=snapshots)
