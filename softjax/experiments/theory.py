"""The theory of the two-pattern patch model in four pictures, with the simulation beside it (sections 2-5, App. A).

The dispersion relation over time with its zero line; the growth rate of the uniform mode in mean field, with
fluctuations, and measured; the pitchfork of the mean-field state; the structure factor that the closure predicts.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax.analysis import zero_crossing
from softjax.experiments._ensemble import Progress, measure
from softjax.experiments._summary import Row, cost_rows
from softjax.experiments.configs import TheoryConfig, checked
from softjax.fields import PatchDictionary, PatchField
from softjax.plotting import theory_figure
from softjax.processes import VP, log_grid
from softjax.theory import bifurcation_diagram, critical_time, hartree, patch_spectrum

Config = TheoryConfig


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """An ensemble of the two-pattern patch model, and its theory on the same times.

    Over `time`: `mean_field_rate`, `hartree_rate` of the uniform mode, `equilibrium` and `near_onset` of the pitchfork;
    over `time` and `wavevector_index` along an axis: `dispersion` (mean field) and `structure_factor` (Hartree).
    Arguments as for `softjax.experiments.patch.run`.
    """
    config = checked(config or Config())
    process, shape = VP(config.beta), (config.grid_size,) * 2
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    dictionary = PatchDictionary.two_pattern(config.patch_size)
    static = xr.Dataset(
        {"dictionary": (("pattern", "patch_y", "patch_x"), np.asarray(dictionary.patterns), {"units": "data"})},
        attrs={"critical_time": float(critical_time(process, config.patch_size**2))},
    )
    field = PatchField(dictionary, process)
    dataset = measure(field, config, key=jr.key(config.seed), static=static, path=path, progress=progress)
    closure = hartree(process, ts, config.patch_size, shape)
    half = config.grid_size // 2 + 1
    spectrum = jax.jit(jax.vmap(lambda t: patch_spectrum(process, t, config.patch_size, shape)[0, :half]))(ts)
    fork = bifurcation_diagram(process, ts, config.patch_size**2)
    along = ("time", "wavevector_index")
    rate = {"units": "1/t", "long_name": "growth rate"}
    return dataset.assign(
        mean_field_rate=(("time",), np.asarray(spectrum[:, 0]), rate),
        hartree_rate=(("time",), np.asarray(closure.growth_rate[:, 0, 0]), rate),
        dispersion=(along, np.asarray(spectrum), rate),
        structure_factor=(along, np.asarray(closure.structure_factor[:, 0, :half]), {"units": "data^2"}),
        equilibrium=(("time",), np.asarray(fork.equilibrium), {"units": "data"}),
        near_onset=(("time",), np.asarray(fork.near_onset), {"units": "data"}),
    ).assign_attrs(hartree_critical_time=float(closure.critical_time))


def figure(dataset: xr.Dataset) -> matplotlib.figure.Figure:
    """Dispersion surface, growth rate of the uniform mode, pitchfork, structure factor."""
    return theory_figure(dataset)


def summary(dataset: xr.Dataset) -> list[Row]:
    """The critical time in mean field, with fluctuations, and measured."""
    rates = jnp.asarray(dataset["rayleigh"].sel(shell=0).values)
    measured = zero_crossing(jnp.asarray(dataset["time"].values), rates, key=jr.key(0))
    interval = (float(measured.interval[0]), float(measured.interval[1]))
    return [
        Row("t_c, tree level", dataset.attrs["critical_time"], "t"),
        Row("t_c, Hartree", dataset.attrs["hartree_critical_time"], "t"),
        Row("t_c, measured", float(measured.location), "t", interval),
        *cost_rows(dataset),
    ]
