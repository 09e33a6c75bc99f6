r"""An EDM2 network along its deterministic sampler (App. E): Fig. 2 of the paper, for the network that ships or others.

The noise level plays the part of the time. Mode responses are those of the flow's drift $(D - x)/\sigma$, along
directions that are equal in all colours; the correlation length is the luminance's second moment.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.analysis import equilibrium_correlation_length
from softjax.convert import load_network, read_description, shipped
from softjax.dynamics import Trajectory, heun, reverse_drift
from softjax.experiments._ensemble import AbstractEnsemble, Observe, Progress, measure_ensemble
from softjax.experiments._summary import Row, cost_rows, equilibrium_row, growth_row
from softjax.experiments.configs import EDM2Config, checked
from softjax.fields import NetworkField
from softjax.jacobian import mode_response
from softjax.observables import correlation_length, luminance
from softjax.plotting import edm2_figure
from softjax.processes import karras_grid
from softjax.spectral import FourierModes, fourier_modes

Config = EDM2Config
LOWEST_PEAK = 0.1
"""Peaks are looked for above this noise level: below, the image is finished and the response that of its pixels."""
_MEMORY_SHARE = 0.6  # of the device's memory that one chunk may take
_CPU_MEMORY = 8 * 2**30  # bytes a chunk may take where the device doesn't say what it has


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Deterministic trajectories of the network with all that the figure shows.

    Dimensions and arguments as of `softjax.experiments.patch.run`, with `time` the noise level sigma, `final_state`
    (trajectory, y, x, channel) and `label` (trajectory,). Raises `ValueError` for networks that are no EDM denoiser.
    """
    config = checked(config or Config())
    field, network, digest = _load(config)
    grid = config.noise
    ts = karras_grid(grid.sigma_max, grid.sigma_min, grid.num_steps, grid.rho)
    side, channels = network["img_resolution"], network["img_channels"]
    modes = fourier_modes((side, side), config.probe.max_shell, config.probe.kind)
    labels = _labels(config, network["label_dim"])
    key = jr.key(config.seed)

    def plan(directions_at_a_time: int | None) -> HeunFlow:
        return HeunFlow(
            field=field,
            ts=ts[:-1],
            modes=modes,
            observer=Observer(field, modes, config.probe.num_fit_shells, directions_at_a_time),
            shape=(side, side, channels),
            labels=None if labels is None else jnp.asarray(labels),
        )

    chunk, ensemble = _fitting(config, plan, key)
    attributes = {"weights_sha256": digest, "lowest_peak_time": LOWEST_PEAK}
    static = xr.Dataset({} if labels is None else {"label": (("number",), labels, {"units": "1"})}, attrs=attributes)
    identity = {"weights": digest}
    return measure_ensemble(
        ensemble, config, chunk, key=key, static=static, path=path, progress=progress, identity=identity
    )


def figure(dataset: xr.Dataset) -> matplotlib.figure.Figure:
    """A trajectory, the images, lengths, mode responses and their normalised dispersion, against log sigma."""
    return edm2_figure(dataset)


def summary(dataset: xr.Dataset) -> list[Row]:
    """The empirical critical noise level, where the pattern's length grows fastest, and the cost of the run."""
    rows = [equilibrium_row(dataset), growth_row(dataset)]
    return [replace(row, units="sigma") for row in rows] + cost_rows(dataset)


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What was found, in words: where the equilibrium length peaks, and how soft the modes are there."""
    critical, growth = rows[:2]
    there = dataset.sel(time=critical.value, method="nearest")
    softness = (there["magnitude"] * there["time"]).median("trajectory").values
    order = "the lower the shell, the softer" if np.all(np.diff(softness) > 0) else "not in the order of the shells"
    return (
        f"The equilibrium length peaks at sigma = {critical.text}. There the responses sigma |J v| of shells 0, 1 and "
        f"{softness.size - 1} have fallen from 1, that of noise, to {softness[0]:.2f}, {softness[1]:.2f} and "
        f"{softness[-1]:.2f}: {order}. The image's correlation length grows fastest at sigma = {growth.text}."
    )


class HeunFlow(AbstractEnsemble):
    """Deterministic trajectories of EDM's sampler, each with its class; `ts` are the positive noise levels."""

    field: NetworkField
    ts: Times
    modes: FourierModes
    observer: "Observer"
    labels: Int[Array, " trajectories"] | None
    shape: tuple[int, ...] = eqx.field(static=True)

    def trajectories(self, members: Int[Array, " num"], key: PRNGKeyArray, observe: Observe) -> Trajectory:
        """By `heun`, down to zero noise; `observe(t, x)` is called for the field of the trajectory's class."""
        ts = jnp.append(self.ts, 0)

        def one(member: Array) -> tuple[Configuration, Any]:
            field, watch = self.field, observe
            if self.labels is not None:
                field = eqx.tree_at(lambda f: f.label, field, self.labels[member], is_leaf=lambda leaf: leaf is None)
                watch = eqx.tree_at(lambda o: o.field, observe, field) if isinstance(observe, Observer) else observe
            sample = heun(field, ts, key=jr.fold_in(key, member), shape=self.shape, observe=watch)
            return sample.x, sample.observed

        x, observed = jax.vmap(one)(members)
        return Trajectory(ts, x, observed)


class Observer(eqx.Module):
    """What is measured on every positive noise level of a trajectory."""

    field: NetworkField
    modes: FourierModes
    num_fit_shells: int = eqx.field(static=True)
    directions_at_a_time: int | None = eqx.field(static=True, default=None)

    def __call__(self, t: Array, x: Configuration) -> dict[str, Array]:
        """One number, or one per shell or direction, for each name in the dataset."""
        modes, batch = _in_all_channels(self.modes, x.shape[-1]), self.directions_at_a_time
        response = mode_response(lambda x: reverse_drift(self.field, t, x), x, modes, batch_size=batch)
        fit = equilibrium_correlation_length(self.modes.wavenumbers, response.magnitude, self.num_fit_shells)
        grey = luminance(x) if x.shape[-1] == 3 else jnp.mean(x, axis=-1)
        return {
            "correlation_length": correlation_length(grey, "second_moment"),
            "magnetisation": jnp.mean(grey),
            "rayleigh": response.rayleigh,
            "magnitude": response.magnitude,
            "direction_rayleigh": response.direction_rayleigh,
            "direction_magnitude": response.direction_magnitude,
            "equilibrium_length": fit.length,
            "equilibrium_length_error": fit.standard_error,
        }


def _in_all_channels(modes: FourierModes, channels: int) -> FourierModes:
    """The modes of a grey image, equal in all colours, of unit norm again."""
    directions = jnp.repeat(modes.directions[..., None], channels, axis=-1) / float(np.sqrt(channels))
    return eqx.tree_at(lambda m: m.directions, modes, directions)


def _load(config: Config) -> tuple[NetworkField, dict[str, Any], str]:
    """The field, the network's configuration, and the checksum of its weights."""
    folder = config.weights or shipped("edm2-fashion")
    field, description = load_network(folder), read_description(folder)
    require(field.process.has_edm_clock(), f"{folder} is no EDM network; softjax fashion takes the U-Net.")
    return field, description["config"], description["sha256"]


def _labels(config: Config, num_classes: int) -> np.ndarray | None:
    """The class of every trajectory, None for an unconditional network."""
    if num_classes == 0:
        require(not config.labels, f"this network is unconditional, got labels {config.labels}; leave them out.")
        return None
    known = np.asarray(config.labels or range(num_classes))
    require_classes("labels", known, num_classes)
    return np.resize(known, config.num_trajectories)


def require_classes(name: str, classes: np.ndarray, num_classes: int) -> None:
    """Refuses classes that the network does not have."""
    require(
        bool(np.all((classes >= 0) & (classes < num_classes))),
        f"{name} must lie between 0 and {num_classes - 1}, got {tuple(classes.tolist())}.",
    )


def _fitting(config: Config, plan: Callable[[int | None], HeunFlow], key: PRNGKeyArray) -> tuple[int, HeunFlow]:
    """How many trajectories run side by side, and the ensemble with as many directions at a time as fit the memory.

    What one trajectory needs is what the compiler says; directions are halved until it fits.
    """
    stats = jax.devices()[0].memory_stats() or {}
    budget = _MEMORY_SHARE * stats["bytes_limit"] if "bytes_limit" in stats else _CPU_MEMORY
    batch: int | None = None
    while (needed := _bytes_of_one(plan(batch), key)) > budget and batch != 1:
        batch = (batch or plan(None).modes.shells.size) // 2
    fitting = int(np.clip(budget // max(needed, 1), 1, config.num_trajectories))
    return config.chunk or fitting, plan(batch)


def _bytes_of_one(ensemble: HeunFlow, key: PRNGKeyArray) -> int:
    """Memory that one trajectory of the ensemble takes besides the network."""
    one = eqx.filter_jit(lambda e, members, key: e.trajectories(members, key, e.observer).observed)
    compiled: Any = one.lower(ensemble, jnp.zeros(1, jnp.int32), key).compile()  # pyright: ignore
    return compiled.compiled.memory_analysis().temp_size_in_bytes
