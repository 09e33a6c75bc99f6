"""The clocks of the patch model: exact critical times, and those read off its trajectories."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration
from softjax.dynamics import cloning_agreement
from softjax.experiments._shared.summary import Row, equilibrium_row, growth_row, instability_row
from softjax.experiments._shared.trajectories import ReverseTrajectory, dictionary, labels, reverse_trajectory
from softjax.experiments.clocks.config import Config
from softjax.experiments.clocks.table import AGREEMENT_AT_SPECIATION, agreement_of_clones, cloning_row
from softjax.fields import PatchDictionary, PatchField
from softjax.processes import VP
from softjax.theory import (
    critical_time,
    dictionary_critical_time,
    dictionary_spectrum,
    hartree,
    speciation_time,
)
from softjax.theory._spectra import covariance_spectrum


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory of the patch model."""
    require(config.time.num_steps >= 2, "time.num_steps must be at least 2, to clone in between, got 1.")
    key_dictionary, key_paths, _ = jr.split(jr.key(config.seed), 3)
    patterns = PatchDictionary.ising(config.patch_size, config.num_random, config.p_global, key=key_dictionary)
    return reverse_trajectory(PatchField(patterns, VP(config.beta)), config, config.grid_size, key_paths)


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """The dictionary, exact critical times, and the growth rates of the uniform mode over `time`."""
    field, ts, shape = unit.field, unit.ts, unit.shape
    assert isinstance(field, PatchField)
    patterns, process = field.dictionary, field.process
    closure = hartree(process, ts, patterns, shape)
    spectra = jax.jit(jax.vmap(lambda t: dictionary_spectrum(patterns, process, t, shape).ravel()[0].real))
    largest = float(jnp.max(covariance_spectrum(patterns, process, ts[0], shape).real))
    about = {"units": "1/t", "long_name": "growth rate of the uniform mode"}
    attributes = {
        "critical_time": float(dictionary_critical_time(patterns, process, shape)),
        "tree_level_critical_time": float(critical_time(process, config.patch_size**2)),
        "hartree_critical_time": float(closure.critical_time),
        "hartree_reason": closure.reason,
        "speciation_time": float(speciation_time(process, largest)),
        "agreement_at_speciation": AGREEMENT_AT_SPECIATION,
    }
    return (
        labels(unit, **attributes)
        .merge(dictionary(patterns.patterns))
        .assign(
            mean_field_rate=(("time",), np.asarray(spectra(ts)), about),
            hartree_rate=(("time",), np.asarray(closure.growth_rate[:, 0, 0]), about),
        )
    )


def clones(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """The agreement of clones, site by site, over `cloning_time`."""
    *_, key = jr.split(jr.key(config.seed), 3)
    at = np.unique(np.linspace(1, config.time.num_steps * 0.5, config.num_cloning_times).astype(int)).tolist()
    found = cloning_agreement(
        unit.field,
        unit.ts,
        at,
        key=key,
        num=config.num_clones,
        shape=unit.shape,
        classify=_sitewise,
        solver="euler",
    )
    return agreement_of_clones(found.ts, found.agreement, found.standard_error)


def rows(dataset: xr.Dataset) -> list[Row]:
    """Every clock, in t."""
    known = dataset.attrs
    return [
        Row("t_c, tree level (two patterns)", known["tree_level_critical_time"], "t"),
        Row("t_c, exact at x = 0", known["critical_time"], "t"),
        Row("t_c, Hartree", known["hartree_critical_time"], "t", reason=known["hartree_reason"]),
        instability_row(dataset),
        Row("speciation, from the covariance", known["speciation_time"], "t"),
        cloning_row("speciation, from cloning (sitewise)", dataset, AGREEMENT_AT_SPECIATION),
        equilibrium_row(dataset),
        growth_row(dataset),
    ]


def _sitewise(x: Configuration) -> Array:
    """The class of each site: the sign it ends with."""
    return x > 0
