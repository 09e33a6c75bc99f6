"""A U-Net trained on Fashion-MNIST (section 7, App. D): the bottom row of Fig. 4 and, on grey images, Fig. 8.

The probes of the patch model on a network that learned from real data, and beyond the paper how far that
network is from a local, translation-equivariant field: leakage of its Fourier modes, growth rates over the whole
Brillouin zone, and the reach of its Jacobian.
"""

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
from softjax._types import Array, Configuration, PRNGKeyArray, Times
from softjax.convert import load_module, load_network, read_description, shipped
from softjax.data import FASHION_MNIST_CLASSES, SPIN_THRESHOLD
from softjax.dynamics import reverse_drift, simulate_ensemble
from softjax.experiments._ensemble import Progress, measure
from softjax.experiments._judge import Judge
from softjax.experiments._store import completed
from softjax.experiments._summary import Row, cost_rows, equilibrium_row, growth_row, onset_row, peak_row
from softjax.experiments.configs import FashionConfig, checked
from softjax.fields import AbstractField
from softjax.jacobian import dispersion, effective_radius, mode_leakage
from softjax.observables import binarize
from softjax.plotting import Quantity, overview
from softjax.processes import log_grid
from softjax.spectral import FourierModes, fourier_modes

Config = FashionConfig
LOWEST_PEAK = 0.1
"""Peaks are looked for above this time: below, the images are finished and the responses that of their pixels."""
SURE = 0.8
"""Probability above which the classifier is taken to recognise a sample."""
_NUM_PROBES = 16


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Reverse trajectories of the network with all that the figure shows.

    Besides what `softjax.experiments.patch.run` measures: `class_index` and `class_probability` of the final states,
    freed of the noise that is left at t_min, by the classifier that ships, if they are of the size and the threshold
    that it knows; over the dimensions equivariance_time and state, `leakage` (share of the response outside the Fourier
    pair, per shell), `zone_rate` (sigma^2 Re lambda over the whole zone) and `effective_radius` of the denoiser's
    Jacobian. Arguments as there.
    """
    config = checked(config or Config())
    require(
        config.num_equivariance_times <= config.time.num_steps,
        f"num_equivariance_times must be at most num_steps, {config.time.num_steps}.",
    )
    folder = network_folder(config.weights, config.grey)
    field, description = load_network(folder), read_description(folder)
    trained_up_to = description.get("about", {}).get("training", {}).get("t_max", np.inf)
    require(
        config.time.t_max <= trained_up_to,
        f"{folder} was trained on times up to {trained_up_to:g}, not {config.time.t_max:g}: take "
        f"--time.t-max {trained_up_to:g}, or train it further (softjax train fashion --start).",
    )
    identity = {"weights": description["sha256"]}
    epochs = float(description.get("about", {}).get("epochs", 0.0))
    static = xr.Dataset(
        attrs={"epochs": epochs, "lowest_peak_time": LOWEST_PEAK, "weights_sha256": identity["weights"]}
    )
    key_paths, key_probes = jr.split(jr.key(config.seed))
    dataset = measure(field, config, key=key_paths, static=static, path=path, progress=progress, identity=identity)

    def more() -> xr.Dataset:
        last, states = dataset["time"][-1], dataset["final_state"]
        images = np.asarray(_denoised(field, jnp.asarray(last), jnp.asarray(states)))
        shown = classes(images, config.grey, trained_threshold(description))
        if not config.num_equivariance_times:
            return shown
        return shown.merge(_equivariance(field, config, key_paths, key_probes))

    return completed(dataset, path, more)


def network_folder(weights: str | None, grey: bool) -> Path:
    """The folder of a user's network, or of the one that comes with softjax."""
    return Path(weights) if weights else shipped(f"fashion-{variant_name(grey)}")


def variant_name(grey: bool) -> str:
    """What the variants of the data are called."""
    return "grey" if grey else "binary"


def trained_threshold(description: dict[str, Any]) -> int:
    """Grey level from which on the spins that a network was trained on are up, by its card."""
    return description.get("about", {}).get("training", {}).get("threshold", SPIN_THRESHOLD)


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> matplotlib.figure.Figure:
    """Samples, a denoising strip, lengths, growth and mode responses; below, how equivariant the network is."""
    return overview(dataset, quantity, title="U-Net on Fashion-MNIST")


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical times as measured, and the cost of the run."""
    return [
        equilibrium_row(dataset),
        peak_row("softest point of shell 1", dataset, -dataset["magnitude"].sel(shell=1), LOWEST_PEAK),
        onset_row(dataset),
        growth_row(dataset),
        *_class_rows(dataset),
        Row("epochs of training", float(dataset.attrs["epochs"]), ""),
        *cost_rows(dataset),
    ]


def classes(states: np.ndarray, grey: bool, threshold: int = SPIN_THRESHOLD) -> xr.Dataset:
    """What the shipped classifier sees in states (N, h, w), as spins or clipped to [-1, 1].

    Nothing in states of a size, or spins of a `threshold`, that it was not trained on.
    """
    classifier = load_module(shipped(f"classifier-{variant_name(grey)}"))
    if states.shape[1:] != (classifier.config.side,) * 2 or (not grey and threshold != SPIN_THRESHOLD):
        return xr.Dataset()
    judge, images = Judge(classifier), jnp.asarray(states) if grey else binarize(jnp.asarray(states))
    probabilities = np.asarray(jax.nn.softmax(jax.jit(jax.vmap(judge))(images[..., None])))
    index = {"long_name": "most probable class", "units": "1", "class_names": list(FASHION_MNIST_CLASSES)}
    return xr.Dataset(
        {
            "class_index": (("trajectory",), probabilities.argmax(1), index),
            "class_probability": (
                ("trajectory",),
                probabilities.max(1),
                {"long_name": "its probability", "units": "1"},
            ),
        }
    )


@eqx.filter_jit
def _denoised(field: AbstractField, t: Array, states: Array) -> Array:
    """The last step of a sampler: images (N, h, w), from states with the noise of the time t."""
    return jax.lax.map(lambda x: field.denoise(t, x), states)


def _class_rows(dataset: xr.Dataset) -> list[Row]:
    if "class_probability" not in dataset:
        return []
    sure = float(np.mean(dataset["class_probability"].values > SURE))
    return [Row(f"samples with a class of probability > {SURE:g}", sure, "")]


def _equivariance(field: AbstractField, config: Config, key_paths: PRNGKeyArray, key: PRNGKeyArray) -> xr.Dataset:
    """Leakage, whole-zone growth rates and reach at a few times, evenly spaced in log t, of the first trajectories."""
    shape = (config.grid_size,) * 2
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    index = np.unique(np.linspace(0, config.time.num_steps, config.num_equivariance_times).astype(int))
    states = _states(field, ts, key_paths, config)[:, index]
    measured = _probe_equivariance(field, ts[index], states, fourier_modes(shape, config.probe.max_shell), key)
    over = ("state", "equivariance_time")
    leakage, rate, radius = map(np.asarray, measured)
    return xr.Dataset(
        {
            "leakage": ((*over, "shell"), leakage, {"units": "1", "long_name": "response outside the Fourier pair"}),
            "zone_rate": ((*over, "ky", "kx"), rate, {"units": "1", "long_name": "sigma^2 Re lambda(k), FFT order"}),
            "effective_radius": (over, radius, {"units": "sites", "long_name": "reach of the denoiser's Jacobian"}),
        },
        coords={"equivariance_time": np.asarray(ts)[index]},
    )


@eqx.filter_jit
def _states(field: AbstractField, ts: Times, key: PRNGKeyArray, config: Config) -> Array:
    return simulate_ensemble(
        field,
        ts,
        key=key,
        num=config.num_equivariance_states,
        shape=(config.grid_size,) * 2,
        observe=lambda t, x: x,
        solver=config.integration.solver,
        engine=config.integration.engine,
    ).observed


@eqx.filter_jit
def _probe_equivariance(
    field: AbstractField, ts: Times, states: Array, modes: FourierModes, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    def probe(t: Array, x: Configuration) -> tuple[Array, Array, Array]:
        def drift(x: Configuration) -> Configuration:
            return reverse_drift(field, t, x)

        rate, _ = dispersion(drift, x, key=key, num_probes=_NUM_PROBES)
        radius, _ = effective_radius(lambda x: field.denoise(t, x), x, key=key, num_probes=_NUM_PROBES)
        return mode_leakage(drift, x, modes).leakage, field.process.sigma(t) ** 2 * rate.real, radius

    return jax.vmap(lambda xs: jax.lax.map(lambda tx: probe(*tx), (ts, xs)))(states)
