"""The empirical score of two global patterns (section 6): the middle row of Fig. 4.

The global score couples all sites through one projection. At its critical time the direction of the pattern turns
unstable, a bifurcation in one dimension; Fourier modes do not soften and the inferred length stays flat.
"""

from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax.experiments._ensemble import Progress, measure
from softjax.experiments._summary import Row, cost_rows, growth_row, onset_row, peak_row
from softjax.experiments.configs import EmpiricalConfig, checked
from softjax.fields import EmpiricalField
from softjax.plotting import Quantity, overview
from softjax.processes import VP
from softjax.theory import critical_time

Config = EmpiricalConfig


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Reverse trajectories of the two-pattern empirical score, measured like the patch model.

    The drift is also probed along the pattern itself: variables `pattern_rayleigh` and `pattern_magnitude`. Other
    arguments and results as for `softjax.experiments.patch.run`; `ValueError` when the blocks do not tile the lattice.
    """
    config = checked(config or Config())
    require(
        config.block_size >= 1 and config.grid_size % config.block_size == 0,
        f"block_size must divide grid_size = {config.grid_size}, got {config.block_size}.",
    )
    key_pattern, key_paths = jr.split(jr.key(config.seed))
    process = VP(config.beta)
    blocks = jr.rademacher(key_pattern, (config.grid_size // config.block_size,) * 2, float)
    pattern = jnp.kron(blocks, jnp.ones((config.block_size,) * 2))
    field = EmpiricalField(jnp.stack([pattern, -pattern]), process)
    static = xr.Dataset(
        {"dictionary": (("pattern", "patch_y", "patch_x"), np.asarray(field.patterns), {"units": "data"})},
        attrs={"critical_time": float(critical_time(process, pattern.size))},
    )
    return measure(field, config, key=key_paths, static=static, path=path, progress=progress, pattern=pattern)


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> matplotlib.figure.Figure:
    """Patterns and denoising strip, lengths, growth and mode responses (middle row of Fig. 4).

    `quantity="rayleigh"` shows the Rayleigh quotient, which changes sign, in place of the response magnitude.
    """
    return overview(dataset, quantity, title="Empirical score of two patterns")


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical time of the pattern, how little the Fourier shells and the inferred length notice, and the cost."""
    medians = dataset[["magnitude", "pattern_magnitude", "equilibrium_length"]].median("trajectory")
    softest_shell = (medians["magnitude"] / medians["magnitude"].isel(time=0)).min()
    softest_pattern = (medians["pattern_magnitude"] / medians["pattern_magnitude"].isel(time=0)).min()
    return [
        Row("t_c of the pattern, exact", dataset.attrs["critical_time"], "t"),
        peak_row("softest point along the pattern", dataset, -dataset["pattern_magnitude"]),
        Row("softest response / first, along the pattern", float(softest_pattern), "1"),
        Row("softest response / first, any shell", float(softest_shell), "1"),
        Row("largest median xi_eq", float(medians["equilibrium_length"].max()), "sites"),
        onset_row(dataset),
        growth_row(dataset),
        *cost_rows(dataset),
    ]
