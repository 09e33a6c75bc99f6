"""What one trajectory of the two-pattern empirical score is, and what is read off many."""

import jax.numpy as jnp
import jax.random as jr
import xarray as xr

from softjax._checks import require
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, growth_row, onset_row, peak_row
from softjax.experiments._shared.trajectories import (
    ReverseTrajectory,
    dictionary,
    labels,
    reverse_trajectory,
    snapshots,
)
from softjax.experiments.empirical.config import Config
from softjax.fields import EmpiricalField
from softjax.processes import VP
from softjax.theory import critical_time


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory, probed along the pattern too; `ValueError` when the blocks do not tile the lattice."""
    require(
        config.grid_size % config.block_size == 0,
        f"block_size must divide grid_size = {config.grid_size}, got {config.block_size}.",
    )
    key_pattern, key_paths = jr.split(jr.key(config.seed))
    blocks = jr.rademacher(key_pattern, (config.grid_size // config.block_size,) * 2, float)
    pattern = jnp.kron(blocks, jnp.ones((config.block_size,) * 2))
    field = EmpiricalField(jnp.stack([pattern, -pattern]), VP(config.beta))
    return reverse_trajectory(field, config, config.grid_size, key_paths, pattern)


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """The two patterns and the exact critical time."""
    field = unit.field
    assert isinstance(field, EmpiricalField)
    exact = float(critical_time(field.process, config.grid_size**2))
    about = labels(unit, beta=config.beta, critical_time=exact)
    return about.merge(dictionary(field.patterns))


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


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """Whether the pattern softens and the Fourier shells do not, in words."""
    del dataset
    exact, along, pattern, shell, length = rows[:5]
    return (
        f"The pattern softens to {pattern.value:.3g} of its first response at t = {along.text} (exact t_c "
        f"{exact.value:.4g}), the softest Fourier shell only to {shell.value:.3g}, and the equilibrium length that is "
        f"inferred from the shells stays below {length.value:.3g} sites: one direction turns unstable, no length grows."
    )


STUDY = Study("empirical", unit, summary, findings, known=known, pictures=snapshots)
