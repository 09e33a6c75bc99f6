"""What one trajectory of the patch model is, and what is read off many."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array
from softjax.experiments._shared.null import rate_of_noise
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import (
    Row,
    cost_rows,
    equilibrium_row,
    growth_row,
    instability_row,
    lowest_searched,
    onset_row,
    peak_row,
    softening_findings,
)
from softjax.experiments._shared.trajectories import (
    ReverseTrajectory,
    dictionary,
    labels,
    reverse_trajectory,
    snapshots,
)
from softjax.experiments.patch.config import Config
from softjax.fields import PatchDictionary, PatchField
from softjax.jacobian import ZoneProbe
from softjax.processes import VP
from softjax.theory import critical_time, dictionary_critical_time


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory of the patch model."""
    key_dictionary, key_paths = jr.split(jr.key(config.seed))
    patterns = PatchDictionary.ising(config.patch_size, config.num_random, config.p_global, key=key_dictionary)
    return reverse_trajectory(PatchField(patterns, VP(config.beta)), config, config.grid_size, key_paths)


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """The dictionary with its priors, and the exact critical times."""
    field = unit.field
    assert isinstance(field, PatchField)
    exact = dictionary_critical_time(field.dictionary, field.process, unit.shape)
    about = labels(
        unit,
        beta=config.beta,
        critical_time=float(exact),
        tree_level_critical_time=float(critical_time(field.process, config.patch_size**2)),
    )
    prior = np.exp(np.asarray(field.dictionary.log_prior))
    return about.merge(dictionary(field.dictionary.patterns)).assign(prior=(("pattern",), prior, {"units": "1"}))


def pictures(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """Snapshots of trajectory 0, with the growth rate of every wave at each: -1 is that of noise alone."""
    states = snapshots(config, unit)
    assert isinstance(unit.field, PatchField)
    ts, xs = jnp.asarray(states["snapshot_time"].values), jnp.asarray(states["snapshot_state"].values)
    rates = np.asarray(_rates(ZoneProbe(unit.field, unit.shape), ts, xs))
    about = {"long_name": "growth rate of every wave over the magnitude of noise's", "units": "1"}
    return states.assign(snapshot_zone=(("snapshot", "n_y", "n_x"), rates, about))


@eqx.filter_jit
def _rates(probe: ZoneProbe, ts: Array, xs: Array) -> Array:
    return jax.vmap(lambda t, x: probe(t, x).rayleigh / jnp.abs(rate_of_noise(probe.field.process, t)))(ts, xs)


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical times, exact and measured, and the cost of the run."""
    return [
        Row("t_c, tree level (two patterns)", dataset.attrs["tree_level_critical_time"], "t"),
        Row("t_c, exact for this dictionary", dataset.attrs["critical_time"], "t"),
        equilibrium_row(dataset),
        instability_row(dataset),
        peak_row("softest point of shell 1", dataset, -dataset["magnitude"].sel(shell=1), lowest_searched(dataset)),
        onset_row(dataset),
        growth_row(dataset),
        *cost_rows(dataset),
    ]


STUDY = Study("patch", unit, summary, softening_findings, known=known, pictures=pictures)
