"""Every critical time of one patch model, on one axis (section 8 of docs/theory.md).

Drift instability in mean field, corrected for fluctuations, and measured; speciation; peaks of the two lengths: the
literature has several "critical times", and this is how far apart they are.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration
from softjax.analysis import zero_crossing
from softjax.dynamics import cloning_agreement
from softjax.experiments._ensemble import Progress, measure
from softjax.experiments._summary import Row, cost_rows, equilibrium_row, growth_row
from softjax.experiments.configs import ClocksConfig, checked
from softjax.fields import PatchDictionary, PatchField
from softjax.plotting import clock_figure
from softjax.processes import VP, AbstractProcess, log_grid
from softjax.theory import (
    critical_time,
    dictionary_critical_time,
    dictionary_spectrum,
    hartree,
    speciation_time,
)
from softjax.theory._spectra import covariance_spectrum

Config = ClocksConfig
_OTHER_CLOCKS = {"sigma": "clock_sigma", "sigma/alpha": "clock_noise_to_signal", "log SNR": "clock_log_snr"}
AGREEMENT_AT_SPECIATION = 0.775
"""Agreement of clones at the speciation time, by which cloning measures it."""


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """An ensemble of the patch model with every clock computed: variables over the dimension `clock`.

    `clock_time` with its interval, in t, and the same instant as sigma, sigma/alpha and log SNR. The curves behind
    them: `mean_field_rate` and `hartree_rate` of the uniform mode over `time`, and the sitewise agreement of clones
    over `cloning_time`. Arguments as for `softjax.experiments.patch.run`.
    """
    config = checked(config or Config())
    require(config.time.num_steps >= 2, "time.num_steps must be at least 2, to clone in between, got 1.")
    key_dictionary, key_paths, key_clones = jr.split(jr.key(config.seed), 3)
    process = VP(config.beta)
    dictionary = PatchDictionary.ising(config.patch_size, config.num_random, config.p_global, key=key_dictionary)
    field, shape = PatchField(dictionary, process), (config.grid_size,) * 2
    exact = float(dictionary_critical_time(dictionary, process, shape))
    static = xr.Dataset(
        {"dictionary": (("pattern", "patch_y", "patch_x"), np.asarray(dictionary.patterns), {"units": "data"})},
        attrs={"critical_time": exact},
    )
    dataset = measure(field, config, key=key_paths, static=static, path=path, progress=progress)
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    closure = hartree(process, ts, dictionary, shape)
    spectra = jax.jit(jax.vmap(lambda t: dictionary_spectrum(dictionary, process, t, shape).ravel()[0].real))
    at = np.unique(np.linspace(1, config.time.num_steps * 0.5, config.num_cloning_times).astype(int)).tolist()
    clones = cloning_agreement(
        field, ts, at, key=key_clones, num=config.num_clones, shape=shape, classify=_sitewise, solver="euler"
    )
    about = {"units": "1/t", "long_name": "growth rate of the uniform mode"}
    dataset = dataset.assign(
        mean_field_rate=(("time",), np.asarray(spectra(ts)), about),
        hartree_rate=(("time",), np.asarray(closure.growth_rate[:, 0, 0]), about),
        agreement=(("cloning_time",), np.asarray(clones.agreement), {"units": "1"}),
        agreement_error=(("cloning_time",), np.asarray(clones.standard_error), {"units": "1"}),
    ).assign_coords(cloning_time=np.asarray(clones.ts))
    largest = float(jnp.max(covariance_spectrum(dictionary, process, ts[0], shape).real))
    rows = [
        Row("t_c, tree level (two patterns)", float(critical_time(process, config.patch_size**2)), "t"),
        Row("t_c, exact at x = 0", exact, "t"),
        Row("t_c, Hartree", float(closure.critical_time), "t"),
        _measured_row(dataset),
        Row("speciation, from the covariance", float(speciation_time(process, largest)), "t"),
        _cloning_row(dataset),
        equilibrium_row(dataset),
        growth_row(dataset),
    ]
    return dataset.assign(_on_every_clock(process, rows))


def figure(dataset: xr.Dataset) -> matplotlib.figure.Figure:
    """All clocks on one time axis, above the growth rate of the uniform mode and the agreement of clones."""
    return clock_figure(dataset, AGREEMENT_AT_SPECIATION)


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


def _sitewise(x: Configuration) -> Array:
    """The class of each site: the sign it ends with."""
    return x > 0


def _measured_row(dataset: xr.Dataset) -> Row:
    rates = jnp.asarray(dataset["rayleigh"].sel(shell=0).values)
    point = zero_crossing(jnp.asarray(dataset["time"].values), rates, key=jr.key(0))
    return Row("t_c, measured", float(point.location), "t", (float(point.interval[0]), float(point.interval[1])))


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
