"""What one trajectory of the patch model is, and every critical time that can be read off many."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration
from softjax.dynamics import CloningAgreement, cloning_agreement
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, equilibrium_row, growth_row, instability_row
from softjax.experiments._shared.trajectories import (
    ReverseTrajectory,
    dictionary,
    labels,
    reverse_trajectory,
    snapshots,
)
from softjax.experiments.clocks.config import Config
from softjax.fields import PatchDictionary, PatchField
from softjax.processes import VP, AbstractProcess
from softjax.theory import (
    critical_time,
    dictionary_critical_time,
    dictionary_spectrum,
    hartree,
    speciation_time,
)
from softjax.theory._spectra import covariance_spectrum

_OTHER_CLOCKS = {"sigma": "clock_sigma", "sigma/alpha": "clock_noise_to_signal", "log SNR": "clock_log_snr"}
AGREEMENT_AT_SPECIATION = 0.775
"""Agreement of clones at the speciation time, by which cloning measures it."""


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


def derive(config: Config, unit: ReverseTrajectory, dataset: xr.Dataset) -> xr.Dataset:
    """The agreement of clones over `cloning_time`, and over `clock` every critical time.

    `clock_time` with its interval, in t, and the same instant as sigma, sigma/alpha and log SNR.
    """
    clones = _cloned(config, unit)
    agreement = xr.Dataset(
        {
            "agreement": (("cloning_time",), np.asarray(clones.agreement), {"units": "1"}),
            "agreement_error": (("cloning_time",), np.asarray(clones.standard_error), {"units": "1"}),
        },
        coords={"cloning_time": np.asarray(clones.ts)},
    )
    known = dataset.attrs
    rows = [
        Row("t_c, tree level (two patterns)", known["tree_level_critical_time"], "t"),
        Row("t_c, exact at x = 0", known["critical_time"], "t"),
        Row("t_c, Hartree", known["hartree_critical_time"], "t"),
        instability_row(dataset),
        Row("speciation, from the covariance", known["speciation_time"], "t"),
        _cloning_row(agreement),
        equilibrium_row(dataset),
        growth_row(dataset),
    ]
    return agreement.merge(_on_every_clock(unit.field.process, rows))


def _cloned(config: Config, unit: ReverseTrajectory) -> CloningAgreement:
    *_, key = jr.split(jr.key(config.seed), 3)
    at = np.unique(np.linspace(1, config.time.num_steps * 0.5, config.num_cloning_times).astype(int)).tolist()
    return cloning_agreement(
        unit.field,
        unit.ts,
        at,
        key=key,
        num=config.num_clones,
        shape=unit.shape,
        classify=_sitewise,
        solver="euler",
    )


def summary(dataset: xr.Dataset) -> list[Row]:
    """The clock table: each instant in t with its interval, and as sigma, sigma/alpha and log SNR."""
    rows = []
    for name in dataset["clock"].values:
        at = dataset.sel(clock=name)
        low, high = float(at["clock_low"]), float(at["clock_high"])
        interval = None if np.isnan(low) else (low, high)
        also = tuple((label, float(at[variable])) for label, variable in _OTHER_CLOCKS.items())
        rows.append(Row(str(name), float(at["clock_time"]), "t", interval, also))
    return [*rows, *cost_rows(dataset)]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """How far apart the clocks are, in words."""
    clocks = [row for row in rows[: dataset.sizes["clock"]] if np.isfinite(row.value)]
    first, last = (pick(clocks, key=lambda row: row.value) for pick in (max, min))
    return (
        f"On the way from noise, {first.name} comes first, at t = {first.text}, and {last.name} last, at t = "
        f"{last.text}: a factor of {first.value / last.value:.2f} between things that are all called critical time."
    )


def _sitewise(x: Configuration) -> Array:
    """The class of each site: the sign it ends with."""
    return x > 0


def _cloning_row(dataset: xr.Dataset) -> Row:
    """Where the agreement passes its value at speciation; the interval from two standard errors of the agreement."""
    agreement, error = dataset["agreement"].values, dataset["agreement_error"].values
    log_t = np.log(dataset["cloning_time"].values)

    def crossing(curve: np.ndarray) -> float:
        above = curve >= AGREEMENT_AT_SPECIATION
        if not above.any() or above.all():
            return float("nan")
        i = int(above.argmax())
        fraction = (AGREEMENT_AT_SPECIATION - curve[i - 1]) / (curve[i] - curve[i - 1])
        return float(np.exp(log_t[i - 1] + fraction * (log_t[i] - log_t[i - 1])))

    interval = (crossing(agreement - 2 * error), crossing(agreement + 2 * error))
    return Row("speciation, from cloning (sitewise)", crossing(agreement), "t", interval)


def _on_every_clock(process: AbstractProcess, rows: list[Row]) -> xr.Dataset:
    t = jnp.asarray([row.value for row in rows])
    intervals = np.asarray([row.interval or (np.nan, np.nan) for row in rows])
    columns = {
        "clock_time": (t, "1"),
        "clock_low": (intervals[:, 0], "1"),
        "clock_high": (intervals[:, 1], "1"),
        "clock_sigma": (jax.vmap(process.sigma)(t), "data"),
        "clock_noise_to_signal": (jax.vmap(process.noise_to_signal)(t), "1"),
        "clock_log_snr": (jax.vmap(process.log_snr)(t), "1"),
    }
    variables = {name: (("clock",), np.asarray(value), {"units": units}) for name, (value, units) in columns.items()}
    return xr.Dataset(variables, coords={"clock": [row.name for row in rows]})


STUDY = Study("clocks", unit, summary, findings, known=known, pictures=snapshots, derive=derive)
