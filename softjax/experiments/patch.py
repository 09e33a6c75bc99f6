"""The analytic patch model (section 6, App. C): Fig. 3 and the top row of Fig. 4.

Low-frequency modes of the reverse drift soften together near the critical time, the equilibrium correlation length
inferred from them peaks, and domains grow from then on.
"""

from pathlib import Path

import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax.experiments._ensemble import Progress, measure
from softjax.experiments._summary import Row, cost_rows, equilibrium_row, growth_row, onset_row, peak_row
from softjax.experiments.configs import PatchConfig, checked
from softjax.fields import PatchDictionary, PatchField
from softjax.plotting import Quantity, overview
from softjax.processes import VP
from softjax.theory import critical_time, dictionary_critical_time

Config = PatchConfig


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Reverse trajectories of the patch model with all that the figures show.

    Dimensions are trajectory, time, shell, direction (and pattern, snapshot for the pictures); units and provenance
    are attributes. With `path`, a zarr store that an interruption leaves readable; the same call resumes it.
    """
    config = checked(config or Config())
    key_dictionary, key_paths = jr.split(jr.key(config.seed))
    process = VP(config.beta)
    dictionary = PatchDictionary.ising(config.patch_size, config.num_random, config.p_global, key=key_dictionary)
    field = PatchField(dictionary, process)
    shape = (config.grid_size,) * 2
    static = xr.Dataset(
        {
            "pattern": (("pattern", "patch_y", "patch_x"), np.asarray(dictionary.patterns), {"units": "data"}),
            "prior": (("pattern",), np.exp(np.asarray(dictionary.log_prior)), {"units": "1"}),
        },
        attrs={
            "critical_time": float(dictionary_critical_time(dictionary, process, shape)),
            "tree_level_critical_time": float(critical_time(process, config.patch_size**2)),
        },
    ).rename(pattern="dictionary")
    return measure(field, config, key=key_paths, static=static, path=path, progress=progress)


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> matplotlib.figure.Figure:
    """Dictionary and denoising strip (Fig. 3), lengths, growth and mode responses (top row of Fig. 4).

    `quantity="rayleigh"` shows the Rayleigh quotient, which changes sign, in place of the response magnitude.
    """
    return overview(dataset, quantity, title="Patch score model")


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical times, exact and measured, and the cost of the run."""
    return [
        Row("t_c, tree level (two patterns)", dataset.attrs["tree_level_critical_time"], "t"),
        Row("t_c, exact for this dictionary", dataset.attrs["critical_time"], "t"),
        equilibrium_row(dataset),
        peak_row("softest point of shell 1", dataset, -dataset["magnitude"].sel(shell=1)),
        onset_row(dataset),
        growth_row(dataset),
        *cost_rows(dataset),
    ]
