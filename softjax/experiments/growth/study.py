"""What one trajectory of a target is, and whether its snapshots say what grows on the way to its end."""

import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from scipy.stats import DegenerateDataWarning, bootstrap

from softjax._checks import require
from softjax.analysis import equilibrium_correlation_length
from softjax.experiments._shared.microscope import lowest_peak_time
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, cost_rows, equilibrium_row, median_peak, point_row, softest
from softjax.experiments._shared.target import classes_of_target, lattice_and_channels, resolve
from softjax.experiments._shared.trajectories import dictionary, labels
from softjax.experiments.growth.config import Config
from softjax.experiments.growth.unit import GrowthAlong, log_growth
from softjax.fields import PatchDictionary, PatchField
from softjax.processes import VP, log_grid
from softjax.spectral import fourier_modes
from softjax.theory import dictionary_critical_time

_PATCH = {"t_max": 6.0, "t_min": 1e-3, "num_steps": 200}  # half the steps of `softjax patch`
_LOW_SHELLS = 3


def unit(config: Config) -> GrowthAlong:
    """A trajectory of the patch model, or of the target, with its tangents."""
    key_field, paths = jr.split(jr.key(config.seed))
    if config.target == "patch":
        require(not config.labels, f"the patch model has no classes, got labels {config.labels}; leave them out.")
        model = config.model
        patterns = PatchDictionary.ising(model.patch_size, model.num_random, model.p_global, key=key_field)
        ts = log_grid(*(getattr(config, name) or value for name, value in _PATCH.items()))
        shape, channels, classes = (model.grid_size, model.grid_size), 0, None
        field: Any = PatchField(patterns, VP(model.beta))
    else:
        target = resolve(config)
        field, lattice, channels = target.field, *lattice_and_channels(config, target)
        shape = (*lattice, *((channels,) if channels else ()))
        steps = config.num_steps or (48 if field.process.has_edm_clock() else 100)
        ts = target.grid(steps, config.t_max, config.t_min)
        classes = classes_of_target(config, target)
    lattice = shape[: len(shape) - bool(channels)]
    return GrowthAlong(
        field=field,
        ts=ts,
        modes=fourier_modes(lattice, config.probe.max_shell, config.probe.kind, channels=0),
        labels=None if classes is None else jnp.asarray(classes),
        paths=paths,
        shape=shape,
        channels=channels,
        kind=("flow" if field.process.has_edm_clock() else "sde") if config.kind == "auto" else config.kind,
        num_tangents=config.num_tangents,
        iterations=config.iterations,
        num_probes=config.num_probes,
    )


def known(config: Config, unit: GrowthAlong) -> xr.Dataset:
    """Times and modes, the growth of noise alone, the target, and of the patch model its dictionary and exact t_c."""
    process, field = unit.field.process, unit.field
    about = {"target": config.target, "kind": unit.kind, "clock": "sigma" if process.has_edm_clock() else "t"}
    free = unit.free_rates()
    lowest = lowest_peak_time(process)
    found = labels(unit, lowest_peak_time=lowest, num_fit_shells=config.probe.num_fit_shells, **about)
    directions = np.bincount(np.asarray(unit.modes.shells))
    found = found.assign(
        free_rate=(("time",), np.asarray(free), {"units": "1/t", "long_name": "rate of noise alone"}),
        free_growth=(
            ("time",),
            np.asarray(log_growth(unit, free)),
            {"units": "1", "long_name": "its growth to the end"},
        ),
        log_snr=(("time",), np.asarray(jax.vmap(process.log_snr)(unit.ts)), {"units": "1"}),
        num_directions=(("shell",), directions * (unit.channels or 1), {"units": "1"}),
    )
    if isinstance(field, PatchField):
        exact = float(dictionary_critical_time(field.dictionary, process, unit.shape))
        return found.assign_attrs(critical_time=exact).merge(dictionary(field.dictionary.patterns))
    return found


def weights(config: Config) -> dict[str, str]:
    """Checksum of the target; of the patch model, none."""
    return {} if config.target == "patch" else {"target_sha256": resolve(config).identity}


def derive(config: Config, unit: GrowthAlong, dataset: xr.Dataset) -> xr.Dataset:
    """Growth beyond that of noise alone, as it was and as the snapshots say; equilibrium lengths.

    `realised` is ln of the amplitude of a shell from t to the end; `predicted` that of a direction that grew at the
    Rayleigh quotients of the path; both (trajectory, time, shell), less `free_growth`. `softness` is the response of
    the moment in units of that of noise.
    """
    over = ("trajectory", "time", "shell")
    free = dataset["free_growth"].values[:, None]
    predicted = jax.vmap(lambda rates: log_growth(unit, rates))(jnp.asarray(dataset["rate"].values)) - free
    realised = 0.5 * np.log(dataset["amplification"].values) - free
    magnitude = jnp.asarray(dataset["magnitude"].values)
    fit = equilibrium_correlation_length(unit.modes.wavenumbers, magnitude, config.probe.num_fit_shells)
    softness = dataset["magnitude"].values / np.abs(dataset["free_rate"].values)[:, None]
    return xr.Dataset(
        {
            "predicted": (over, np.asarray(predicted), {"units": "1", "long_name": "growth by the rates on the path"}),
            "realised": (over, realised, {"units": "1", "long_name": "growth of the shell to the end"}),
            "softness": (over, softness, {"units": "1", "long_name": "response over that of noise"}),
            "equilibrium_length": (over[:2], np.asarray(fit.length), {"units": "sites"}),
        }
    )


def at_the_peak(dataset: xr.Dataset) -> int:
    """Index of the time at which the snapshots are taken: where the median equilibrium length peaks."""
    return softest(dataset, equilibrium_row(dataset).value)


def explained(x: np.ndarray, y: np.ndarray) -> float:
    """Squared correlation of two arrays; NaN where one does not vary."""
    x, y = x.ravel() - x.mean(), y.ravel() - y.mean()
    power = (x @ x) * (y @ y)
    return float((x @ y) ** 2 / power) if power > 0 else float("nan")


def _explained_row(name: str, x: np.ndarray, y: np.ndarray) -> Row:
    """Share of the variance of y (trajectories, shells) that x explains, with its BCa interval over trajectories."""
    rows = np.arange(len(x))
    value = explained(x, y)
    if len(x) < 3:
        return Row(name, value, "1", reason="an interval needs three trajectories")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (rows,), lambda rows: explained(x[rows], y[rows]), vectorized=False, n_resamples=2000, rng=0
        ).confidence_interval
    if not np.isfinite(found.low):
        return Row(name, value, "1", reason="the trajectories do not differ")
    return Row(name, value, "1", (float(found.low), float(found.high)))


def between(values: np.ndarray, axis: int) -> np.ndarray:
    """What differs between trajectories (axis 0), or between the shells of one (axis 1)."""
    return values - values.mean(axis=axis, keepdims=True)


def summary(dataset: xr.Dataset) -> list[Row]:
    """What grows, when, and how much of it the snapshots explain."""
    clock, at = dataset.attrs["clock"], at_the_peak(dataset)
    there = dataset.isel(time=at)
    realised, predicted, soft = (there[name].values for name in ("realised", "predicted", "softness"))
    last = int(dataset["shell"].values[-1])
    content = dataset["tangent_content"].isel(tangent=0, wave_shell=slice(0, _LOW_SHELLS)).sum("wave_shell")
    fastest = median_peak(dataset, tangent_rate(dataset), dataset.attrs["lowest_peak_time"])
    snapshot = -np.log(np.maximum(soft, np.finfo(soft.dtype).tiny))
    return [
        replace(equilibrium_row(dataset), units=clock),
        point_row("fastest growth of the leading tangent", fastest, clock),
        Row("its power in shells 0 to 2 at the start", float(content.mean()), "1"),
        *(Row(f"growth of shell {n} beyond noise", float(np.median(realised[:, n])), "ln") for n in (0, 1, last)),
        _explained_row("r^2, rates along the path", predicted, realised),
        _explained_row("r^2, softness at the peak", snapshot, realised),
        _explained_row("r^2 between shells, rates along the path", between(predicted, 1), between(realised, 1)),
        _explained_row("r^2 between shells, softness at the peak", between(snapshot, 1), between(realised, 1)),
        _explained_row("r^2 between trajectories, softness there", between(snapshot, 0), between(realised, 0)),
        Row("share of shells 0 to 2 in what noise there adds", float(np.median(low_share(dataset)[:, at])), "1"),
        Row("largest change in the last round of the search", float(dataset["tangent_change"].max()), "ln"),
        *cost_rows(dataset),
    ]


def tangent_rate(dataset: xr.Dataset) -> xr.DataArray:
    """Growth rate of the leading tangent per unit of log-SNR, (trajectory, time); at the end that of the last step."""
    first = dataset["tangent_growth"].isel(tangent=0)
    rates = np.diff(first.values) / np.diff(dataset["log_snr"].values)
    return first.copy(data=np.concatenate([rates, rates[:, -1:]], axis=1))


def low_share(dataset: xr.Dataset) -> np.ndarray:
    """Share of the lowest shells, of the directions probed, in what white noise at t adds to the end."""
    size = np.prod([dataset.sizes[name] for name in dataset["final_state"].dims[1:]])
    power = (dataset["amplification"] * dataset["num_directions"]).isel(shell=slice(0, _LOW_SHELLS)).sum("shell")
    return (power / (size * dataset["whole_amplification"])).values


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """Whether the softness of one moment predicts what grows, in words."""
    by_name, clock = {row.name: row for row in rows}, dataset.attrs["clock"]
    path, snap = by_name["r^2, rates along the path"], by_name["r^2, softness at the peak"]
    shells_of_one = by_name["r^2 between shells, softness at the peak"]
    trajectories = by_name["r^2 between trajectories, softness there"]
    at = float(dataset["time"][at_the_peak(dataset)])
    fastest = by_name["fastest growth of the leading tangent"]
    shells = ", ".join(f"{by_name[f'growth of shell {n} beyond noise'].value:.2f}" for n in (0, 1))
    return (
        f"From {clock} = {at:.3g}, where the equilibrium length peaks, to the end, shells 0 and 1 grow by {shells} "
        f"(ln) more than noise alone would. Of what differs in this between shells and trajectories, the softness of "
        f"that moment explains r^2 = {snap.text}, the rates along the whole path {path.text}; between the shells of "
        f"one trajectory the softness explains {shells_of_one.text}, between trajectories, shell by shell, "
        f"{trajectories.text}. The direction that grows most has "
        f"{by_name['its power in shells 0 to 2 at the start'].value:.0%} of its power in shells 0 to 2, and grows "
        f"fastest at {clock} = {fastest.text}."
    )


STUDY = Study(
    "growth",
    unit,
    summary,
    findings,
    known=known,
    derive=derive,
    weights=weights,
    pack=lambda config: config.chunk or None,
    saves_memory="Take a smaller --chunk, or fewer --num-probes.",
)
