"""What one model makes of the same noisy images and of the same noise, and how well it agrees with the network."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Time, Times
from softjax.data import LabelledImages
from softjax.dynamics import simulate
from softjax.experiments._shared.networks import (
    fashion_folder,
    fashion_weights,
    loaded,
    trained_threshold,
    variant_name,
)
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row
from softjax.experiments._shared.trajectories import times
from softjax.experiments.locality.config import Config
from softjax.fields import AbstractField, LocalField
from softjax.processes import AbstractProcess
from softjax.sweeps import Unit, measured
from softjax.training.fashion import both_splits

NETWORK, BEST = "network", "best"
_images = lru_cache(maxsize=2)(both_splits)


class Task(eqx.Module):
    """What every model is given: noisy states (time, state, y, x) at some times, a grid, and noise (number, y, x)."""

    times: Float[Array, " time"]
    states: Float[Array, "time state y x"]
    ts: Times
    noise: Float[Array, "number y x"]

    def denoised(self, field: AbstractField) -> Float[Array, "time state y x"]:
        """The states freed of their noise."""
        return jax.lax.map(lambda tx: jax.lax.map(lambda x: field.denoise(tx[0], x), tx[1]), (self.times, self.states))

    def samples(self, field: AbstractField) -> Float[Array, "number y x"]:
        """Where the probability flow takes the noise."""
        return jax.lax.map(lambda x0: simulate(field, self.ts, key=jr.key(0), kind="flow", x0=x0).x, self.noise)


class Outcome(eqx.Module):
    """What a model made of its task."""

    denoised: Array = measured(("time", "state", "y", "x"), "data", "denoised test images")
    sample: Array = measured(("number", "y", "x"), "data", "images from the same noise")


class Model(Unit):
    """The network, or the local score of one patch size."""

    field: AbstractField
    task: Task

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Outcome:
        """Nothing is random here."""
        del member, key
        return Outcome(self.task.denoised(self.field), self.task.samples(self.field))


class BestModel(Unit):
    """At each time the local score that agrees best with the network."""

    network: AbstractField
    fields: list[LocalField]
    task: Task

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Outcome:
        """Nothing is random here."""
        del member, key
        network = self.task.denoised(self.network)
        agreement = [_squared_correlation(self.task.denoised(field), network) for field in self.fields]
        best = jnp.argmax(jnp.median(jnp.stack(agreement), axis=2), axis=0)
        field = SwitchedField(self.network.process, self.fields, self.task.times, best)
        return Outcome(self.task.denoised(field), self.task.samples(field))


class SwitchedField(AbstractField):
    """One of several fields at each time: the one chosen at the nearest, in log t, of some times."""

    process: AbstractProcess
    fields: list[LocalField]
    times: Times
    choice: Int[Array, " times"]

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Denoiser of the field chosen at `t`."""
        nearest = jnp.argmin(jnp.abs(jnp.log(self.times) - jnp.log(jnp.asarray(t, self.times.dtype))))
        return jax.lax.switch(self.choice[nearest], [lambda t, x, f=f: f.denoise(t, x) for f in self.fields], t, x)


def unit(config: Config, model: str) -> Model | BestModel:
    """One model's task; needs the real data. Raises `ValueError` where no patch size is named."""
    require(bool(config.patch_sizes), "patch_sizes must name at least one size, got none.")
    network, (train, test) = loaded(fashion_folder(config)), _data(config)
    key_patches, key_noise, key_samples = jr.split(jr.key(config.seed), 3)
    ts = times(config.time)
    compared = ts[np.unique(np.linspace(0, config.time.num_steps, config.num_times).astype(int))]
    states = _noisy_states(network.process, compared, test, config.num_states, key_noise)
    task = Task(compared, states, ts, jr.normal(key_samples, (config.num_samples, *test.images.shape[1:])))

    def local(size: int) -> LocalField:
        images, draw = train.images[: config.num_images], min(config.num_patches, config.num_images * states[0, 0].size)
        return LocalField(images, size, network.process, config.boundary, draw, key=key_patches)

    if model == NETWORK:
        return Model(network, task)
    if model == BEST:
        return BestModel(network, list(map(local, config.patch_sizes)), task)
    return Model(local(int(model.removeprefix("w = "))), task)


def _data(config: Config) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images."""
    return _images(variant_name(config.grey), trained_threshold(fashion_folder(config)), config.data)


def _noisy_states(
    process: AbstractProcess, compared: Times, test: LabelledImages, num: int, key: PRNGKeyArray
) -> Float[Array, "time state y x"]:
    clean = jnp.asarray(test.images[:num])
    noise = jr.normal(key, (compared.size, *clean.shape))
    alpha, sigma = jax.vmap(process.alpha)(compared), jax.vmap(process.sigma)(compared)
    return alpha[:, None, None, None] * clean + sigma[:, None, None, None] * noise


def models(config: Config) -> dict[str, list[str]]:
    """The models that are compared: the network, the local score of each patch size, and the best at each time."""
    return {"model": [NETWORK, *(f"w = {size}" for size in config.patch_sizes), BEST]}


def known(config: Config, unit: Model | BestModel) -> xr.Dataset:
    """The noisy images, their times, and the patch sizes."""
    del config
    states, about = np.asarray(unit.task.states), {"units": "data", "long_name": "noisy test images"}
    return xr.Dataset(
        {"state_noisy": (("time", "state", "y", "x"), states, about)},
        coords={"time": (("time",), np.asarray(unit.task.times), {"units": "1"})},
    )


def derive(config: Config, unit: Any, dataset: xr.Dataset) -> xr.Dataset:
    """How well the models agree with the network: squared correlations over the pixels of one image.

    `denoiser_r2`, `score_r2` (model, time, state), `sample_r2` (model, number), and `best_patch_size` (time,), that of
    the largest median `denoiser_r2`.
    """
    process, at = unit.network.process if isinstance(unit, BestModel) else unit.field.process, dataset["time"]
    alpha, variance = (
        xr.DataArray(np.asarray(value), {"time": at}, dims="time")
        for value in (
            jax.vmap(process.alpha)(jnp.asarray(at.values)),
            jax.vmap(process.sigma)(jnp.asarray(at.values)) ** 2,
        )
    )
    agreement = {
        "denoiser_r2": _agreement(dataset["denoised"]),
        "score_r2": _agreement((alpha * dataset["denoised"] - dataset["state_noisy"]) / variance),
        "sample_r2": _agreement(dataset["sample"]),
    }
    local = agreement["denoiser_r2"].isel(model=slice(1, -1)).median("state").argmax("model").values
    sizes = np.asarray(config.patch_sizes)[local]
    derived = {name: value.variable for name, value in agreement.items()}
    return xr.Dataset(derived).assign(best_patch_size=(("time",), sizes, {"units": "sites"}))


def _agreement(images: xr.DataArray) -> xr.DataArray:
    """Squared Pearson correlation of each model's images with the network's, over dimensions y and x."""
    network = images.sel(model=NETWORK).drop_vars("model")
    return (xr.corr(images, network, dim=("y", "x")) ** 2).assign_attrs(units="1")


def _squared_correlation(a: Array, b: Array) -> Array:
    """Squared Pearson correlation over the last two dimensions."""
    a, b = (x - jnp.mean(x, axis=(-2, -1), keepdims=True) for x in (a, b))
    product = jnp.sum(a * b, axis=(-2, -1))
    return product**2 / (jnp.sum(a**2, axis=(-2, -1)) * jnp.sum(b**2, axis=(-2, -1)))


def summary(dataset: xr.Dataset) -> list[Row]:
    """Median squared correlations with the network."""
    rows = []
    for name in dataset["model"].values[1:]:
        at = dataset.sel(model=name)
        also = tuple((label, float(at[label].median())) for label in ("denoiser_r2", "score_r2"))
        rows.append(Row(f"r2 of samples, {name}", float(at["sample_r2"].median()), "1", also=also))
    return rows


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """How local the network is, in words."""
    sizes, best = dataset["best_patch_size"].values, rows[-1]
    single = max(rows[:-1], key=lambda row: row.value)
    return (
        f"The patch side that agrees best falls from {sizes[0]} to {sizes[-1]} pixels on the way from noise to data. "
        f"Samples from equal noise agree with the network's to a median r2 of {best.value:.2f} with the best side at "
        f"each time, and of {single.value:.2f} with one side ({single.name.removeprefix('r2 of samples, ')})."
    )


STUDY = Study(
    "locality",
    unit,
    summary,
    findings,
    known=known,
    derive=derive,
    weights=fashion_weights,
    axes=models,
    members=lambda config: None,
    pack=lambda config: 1,
    saves_memory="Take fewer --num-patches, --num-states and --num-samples.",
)
