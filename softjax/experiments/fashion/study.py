"""What one trajectory of the trained U-Net is, and how far that network is from a local, equivariant field."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array
from softjax.convert import load_module, read_description, shipped
from softjax.data import FASHION_MNIST_CLASSES, SPIN_THRESHOLD
from softjax.experiments._shared.judge import Judge
from softjax.experiments._shared.networks import (
    LOWEST_PEAK,
    checksum,
    fashion_folder,
    fashion_weights,
    loaded,
    trained_threshold,
    variant_name,
)
from softjax.experiments._shared.null import null_findings, null_rows, stored_null
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import (
    Row,
    cost_rows,
    equilibrium_row,
    growth_row,
    onset_row,
    peak_row,
    softening_findings,
)
from softjax.experiments._shared.trajectories import (
    ReverseTrajectory,
    labels,
    reverse_trajectory,
    snapshots,
    states_of,
)
from softjax.experiments._shared.zone import equivariance
from softjax.experiments.fashion.config import Config
from softjax.fields import AbstractField
from softjax.observables import binarize

SURE = 0.8
"""Probability above which the classifier is taken to recognise a sample."""


def unit(config: Config) -> ReverseTrajectory:
    """A reverse trajectory of the network; `ValueError` for times that it was not trained on."""
    require(
        config.num_equivariance_times <= config.time.num_steps,
        f"num_equivariance_times must be at most num_steps, {config.time.num_steps}.",
    )
    folder = fashion_folder(config)
    field, about = loaded(folder), read_description(folder).get("about", {})
    trained_up_to = about.get("training", {}).get("t_max", np.inf)
    require(
        config.time.t_max <= trained_up_to,
        f"{folder} was trained on times up to {trained_up_to:g}, not {config.time.t_max:g}: take "
        f"--time.t-max {trained_up_to:g}, or train it further (softjax train fashion --start).",
    )
    key_paths, _ = jr.split(jr.key(config.seed))
    return reverse_trajectory(field, config, config.grid_size, key_paths)


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """Times and modes, which network it is, and the null of its data."""
    folder = fashion_folder(config)
    epochs = float(read_description(folder).get("about", {}).get("epochs", 0.0))
    beta = float(unit.field.process.beta(unit.ts[0]))  # constant
    about = labels(unit, beta=beta, epochs=epochs, lowest_peak_time=LOWEST_PEAK, weights_sha256=checksum(folder))
    return about.merge(stored_null(unit, folder), combine_attrs="no_conflicts")


def derive(config: Config, unit: ReverseTrajectory, dataset: xr.Dataset) -> xr.Dataset:
    """What the classifier sees, and how equivariant the network is.

    `class_index` and `class_probability` of the final states, freed of the noise that is left at t_min, by the
    classifier that ships, if they are of the size and the threshold that it knows; over the dimensions
    equivariance_time and state, `leakage` (share of the response outside the Fourier pair, per shell), `zone_rate`
    (sigma^2 Re lambda over the whole zone) and `effective_radius` of the denoiser's Jacobian.
    """
    last, states = dataset["time"][-1], dataset["final_state"]
    images = np.asarray(_denoised(unit.field, jnp.asarray(last), jnp.asarray(states)))
    shown = classes(images, config.grey, trained_threshold(fashion_folder(config)))
    if not config.num_equivariance_times:
        return shown
    _, key_probes = jr.split(jr.key(config.seed))
    measured = equivariance(
        unit,
        states_of(unit, jnp.arange(config.num_equivariance_states)),
        num_times=config.num_equivariance_times,
        max_shell=config.probe.max_shell,
        key=key_probes,
    )
    return shown.merge(measured)


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical times as measured, and the cost of the run."""
    return [
        equilibrium_row(dataset),
        *null_rows(dataset),
        peak_row("softest point of shell 1", dataset, -dataset["magnitude"].sel(shell=1), LOWEST_PEAK),
        onset_row(dataset),
        growth_row(dataset),
        *_class_rows(dataset),
        Row("epochs of training", float(dataset.attrs["epochs"]), ""),
        *cost_rows(dataset),
    ]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """Where the modes soften, and what survives the null, in words."""
    return f"{softening_findings(dataset, rows)} {null_findings(dataset, rows)}"


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
    about = {"long_name": "its probability", "units": "1"}
    over = ("trajectory",)
    return xr.Dataset(
        {
            "class_index": (over, probabilities.argmax(1), index),
            "class_probability": (over, probabilities.max(1), about),
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


STUDY = Study(
    "fashion",
    unit,
    summary,
    findings,
    known=known,
    pictures=snapshots,
    derive=derive,
    weights=fashion_weights,
)
