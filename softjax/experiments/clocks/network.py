"""The clocks of a trained denoiser: its softening and the null's, its clones, its classes, and what grows."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import PRNGKeyArray
from softjax.analysis import zero_crossing
from softjax.data import FASHION_MNIST_CLASSES
from softjax.experiments._shared.microscope import described, lowest_peak_time, suggested_sampler
from softjax.experiments._shared.null import null_rows, stored_null
from softjax.experiments._shared.summary import Row, equilibrium_row, growth_row, median_peak, peak_row, point_row
from softjax.experiments._shared.target import classes_of_target, lattice_and_channels, resolve
from softjax.experiments._shared.trajectories import ReverseTrajectory, brightness, fitted_trajectory
from softjax.experiments.clocks.clones import cloned, knows_its_data
from softjax.experiments.clocks.config import Config
from softjax.experiments.clocks.table import AGREEMENT_AT_SPECIATION, cloning_row
from softjax.experiments.clocks.way import leading_growth, local_or_global


def unit(config: Config) -> ReverseTrajectory:
    """A trajectory of the target by the sampler that suits its process."""
    target = resolve(config)
    lattice, channels = lattice_and_channels(config, target)
    return fitted_trajectory(
        target.field,
        target.grid(config.network_steps, 0.0, 0.0),
        shape=(*lattice, *((channels,) if channels else ())),
        channels=channels,
        labels=classes_of_target(config, target),
        paths=_keys(config)[0],
        probe=config.probe,
        length=target.length,
        sampler=suggested_sampler(target.field),
    )


def _keys(config: Config) -> tuple[PRNGKeyArray, PRNGKeyArray, PRNGKeyArray]:
    """Of the trajectories, of the clones, and of the tangents."""
    paths, clones, tangents = jr.split(jr.key(config.seed), 3)
    return paths, clones, tangents


def known(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """Times, modes and classes, and the null of the data, if the target has it."""
    target = resolve(config)
    about = described(unit, lowest_peak_time(unit.field.process), target=config.target, clock_of=_clock(unit))
    null = stored_null(unit, target.folder) if target.folder else xr.Dataset()
    return about.merge(null, combine_attrs="no_conflicts")


def _clock(unit: ReverseTrajectory) -> str:
    return "sigma" if unit.field.process.has_edm_clock() else "t"


def clones(config: Config, unit: ReverseTrajectory) -> xr.Dataset:
    """What clones agree on, the growth of the leading tangent, and the nearer of two scores if the data are known."""
    target, (_, key_clones, key_tangents) = resolve(config), _keys(config)
    found = cloned(unit, target, config.num_clones, config.num_cloning_times, key_clones)
    found = found.merge(leading_growth(unit, target, key_tangents))
    if not knows_its_data(target):
        return found
    return found.merge(local_or_global(unit, target), combine_attrs="no_conflicts")


def rows(dataset: xr.Dataset) -> list[Row]:
    """Every clock, in the process's time."""
    clock, lowest = dataset.attrs["clock_of"], dataset.attrs["lowest_peak_time"]
    soft = -dataset["magnitude"] / dataset["free_response"]
    found = [equilibrium_row(dataset), *null_rows(dataset)[:1]]
    if "null_length" in dataset:
        found.append(peak_row("xi_eq furthest above the null's", dataset, _above_null(dataset), lowest))
    found += [peak_row(f"softest point of shell {n}", dataset, soft.sel(shell=n), lowest) for n in (0, 1, 2)]
    found += [growth_row(dataset), _tangent_row(dataset, lowest)]
    level = site_level(dataset)
    found.append(cloning_row(f"clones agree on {level:.3g} of the sites", dataset, level, clock))
    if "class_agreement" in dataset:
        found.append(cloning_row("clones agree on the class, 0.775", dataset, AGREEMENT_AT_SPECIATION, clock, _CLASS))
        found.append(_entropy_row(dataset))
    if "gap_of" in dataset.dims or dataset.attrs.get("images_missing"):
        found.append(_gap_row(dataset))
    return [replace(row, units=clock) for row in found]


_CLASS = "class_agreement"


def site_level(dataset: xr.Dataset) -> float:
    """The agreement of clones that is as far from chance as 0.775 is from one half."""
    chance = chance_agreement(dataset)
    return chance + (2 * AGREEMENT_AT_SPECIATION - 1) * (1 - chance)


def _gap_row(dataset: xr.Dataset) -> Row:
    """The first time, from noise, at which the local score is nearer than the memorising one."""
    name = "score nearer to the local than to all images"
    if "score_gap" not in dataset:
        return Row(name, float("nan"), "t", reason="Fashion-MNIST is not on this machine")
    gap = dataset["score_gap"].values
    point = zero_crossing(jnp.asarray(dataset["gap_time"].values), -jnp.asarray(gap), key=jr.key(0))
    return point_row(name, point)


def chance_agreement(dataset: xr.Dataset) -> float:
    """Agreement of different trajectories, site by site; the mean over pairs, of one class if any class comes twice."""
    channels = int(dataset.attrs["channels"])
    ends = jnp.asarray(dataset["final_state"].values)
    bright = np.asarray(jax.vmap(lambda x: brightness(x, channels))(ends)) > 0
    labels = dataset["label"].values if "label" in dataset.coords else np.zeros(len(bright))
    alike = [
        np.mean(bright[i] == bright[j])
        for i in range(len(bright))
        for j in range(i)
        if labels[i] == labels[j] or len(np.unique(labels)) == len(labels)
    ]
    return float(np.mean(alike))


def _above_null(dataset: xr.Dataset) -> xr.DataArray:
    return (dataset["equilibrium_length"] - dataset["null_length"]).transpose("trajectory", "time")


def _tangent_row(dataset: xr.Dataset, lowest: float) -> Row:
    """Where the leading tangent grows fastest per unit of log SNR, the median over a few trajectories."""
    rates = dataset["tangent_rate"].rename(tangent_of="trajectory", growth_time="time")
    return point_row("fastest growth of the leading tangent", median_peak(rates.to_dataset(), rates, lowest))


def _entropy_row(dataset: xr.Dataset) -> Row:
    r"""Where the collision entropy $-\ln P$(two clones of one class) falls fastest per unit of ln t.

    The interval: cloning agreements redrawn within their standard errors.
    """
    log_t = np.log(dataset["cloning_time"].values)
    agreement, error = dataset[_CLASS].values, dataset[f"{_CLASS}_error"].values
    floor = 1 / (2 * len(FASHION_MNIST_CLASSES))

    def fastest(curves: np.ndarray) -> np.ndarray:
        entropy = -np.log(np.clip(curves, floor, 1))
        middle = 0.5 * (log_t[1:] + log_t[:-1])
        return np.exp(middle[np.argmax(np.diff(entropy) / np.diff(log_t), axis=-1)])

    draws = np.random.default_rng(0).normal(agreement, error, (2000, len(log_t)))
    low, high = np.quantile(fastest(draws), [0.025, 0.975])
    return Row("class entropy falls fastest", float(fastest(agreement[None])[0]), "t", (float(low), float(high)))
