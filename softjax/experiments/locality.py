"""Is the trained network a local, translation-equivariant score? Compared with the optimal one (Kamb & Ganguli 2024).

`LocalField` is the exact score that sees patches of one size and no positions. Where the network agrees with it, the
theory of local scores is a theory of the network; the patch size that agrees best is the network's working range.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Time, Times
from softjax.convert import load_network, read_description
from softjax.data import LabelledImages
from softjax.dynamics import simulate
from softjax.experiments._ensemble import Progress, provenance
from softjax.experiments._store import TrajectoryStore
from softjax.experiments._summary import Row
from softjax.experiments.configs import LocalityConfig, checked
from softjax.experiments.fashion import network_folder, trained_threshold, variant_name
from softjax.fields import AbstractField, LocalField
from softjax.plotting import locality_figure
from softjax.processes import AbstractProcess, log_grid
from softjax.training.fashion import both_splits

Config = LocalityConfig


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """What the network and local scores of every patch size make of the same noisy images and of the same noise.

    Over the dimension `model` ("network", each "w = ...", and "best", which has the best patch size at each time):

    * `denoised` (model, time, state, y, x) of noisy test images `state_noisy`; `sample` (model, number, y, x), drawn
      from equal noise along the probability flow;
    * `denoiser_r2`, `score_r2` (model, time, state), `sample_r2` (model, number): squared correlation with the
      network's, over the pixels of one image;
    * `best_patch_size` (time,): that of the largest median `denoiser_r2`.

    Needs the real data. Arguments as for `softjax.experiments.patch.run`; progress counts models.
    """
    config = checked(config or Config())
    require(bool(config.patch_sizes), "patch_sizes must name at least one size, got none.")
    folder = network_folder(config.weights, config.grey)
    network, description = load_network(folder), read_description(folder)
    train, test = both_splits(variant_name(config.grey), trained_threshold(description), config.data)
    key_patches, key_noise, key_samples = jr.split(jr.key(config.seed), 3)
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    times = ts[np.unique(np.linspace(0, config.time.num_steps, config.num_times).astype(int))]
    states = _noisy_states(network.process, times, test, config.num_states, key_noise)
    noise = jr.normal(key_samples, (config.num_samples, *test.images.shape[1:]))
    names = _names(config.patch_sizes)
    described = {"LocalityConfig": asdict(config), "weights": description["sha256"]}
    store = TrajectoryStore(path, len(names), described)
    store.create(_static(config, times, states), _template(times, states, noise))

    def local(size: int) -> LocalField:
        images, draw = train.images[: config.num_images], min(config.num_patches, config.num_images * states[0, 0].size)
        return LocalField(images, size, network.process, config.boundary, draw, key=key_patches)

    for index in store.todo.tolist():
        if index == 0:
            field: AbstractField = network
        elif names[index] == "best":
            best = _best(_with_correlations(store.dataset(), network.process))
            field = SwitchedField(network.process, list(map(local, config.patch_sizes)), times, jnp.asarray(best))
        else:
            field = local(config.patch_sizes[index - 1])
        denoised, samples = _evaluate(field, times, states, ts, noise)
        store.write(index, {"denoised": np.asarray(denoised), "sample": np.asarray(samples)})
        if progress:
            progress(index + 1, len(names))
    dataset = _with_correlations(store.dataset(), network.process)
    sizes = np.asarray(config.patch_sizes)[_best(dataset)]
    return dataset.assign(best_patch_size=(("time",), sizes, {"units": "sites"}))


def figure(dataset: xr.Dataset) -> matplotlib.figure.Figure:
    """Agreement against time for each patch size, agreement of samples, and the samples."""
    return locality_figure(dataset)


def summary(dataset: xr.Dataset) -> list[Row]:
    """Median squared correlations with the network."""
    rows = []
    for name in dataset["model"].values[1:]:
        at = dataset.sel(model=name)
        also = tuple((label, float(at[label].median())) for label in ("denoiser_r2", "score_r2"))
        rows.append(Row(f"r2 of samples, {name}", float(at["sample_r2"].median()), "1", also=also))
    return rows


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


@eqx.filter_jit
def _evaluate(
    field: AbstractField, times: Float[Array, " compared"], states: Array, ts: Times, noise: Array
) -> tuple[Array, Array]:
    """Denoised states (time, state, y, x), and samples (number, y, x) along the probability flow."""
    denoised = jax.lax.map(lambda tx: jax.lax.map(lambda x: field.denoise(tx[0], x), tx[1]), (times, states))
    samples = jax.lax.map(lambda x0: simulate(field, ts, key=jr.key(0), kind="flow", x0=x0).x, noise)
    return denoised, samples


def _noisy_states(
    process: AbstractProcess, times: Times, test: LabelledImages, num: int, key: PRNGKeyArray
) -> Float[Array, "time state y x"]:
    clean = jnp.asarray(test.images[:num])
    noise = jr.normal(key, (times.size, *clean.shape))
    alpha, sigma = jax.vmap(process.alpha)(times), jax.vmap(process.sigma)(times)
    return alpha[:, None, None, None] * clean + sigma[:, None, None, None] * noise


def _with_correlations(dataset: xr.Dataset, process: AbstractProcess) -> xr.Dataset:
    """The stored images with their correlations and scores, over `model` instead of the store's own dimension."""
    names = _names(dataset["patch_size"].values.tolist())[: dataset.sizes["trajectory"]]
    dataset = dataset.rename(trajectory="model").assign_coords(model=names)
    times = jnp.asarray(dataset["time"].values)
    over = {"time": dataset["time"]}
    alpha, variance = (
        xr.DataArray(np.asarray(value), over, dims="time")
        for value in (jax.vmap(process.alpha)(times), jax.vmap(process.sigma)(times) ** 2)
    )
    score = (alpha * dataset["denoised"] - dataset["state_noisy"]) / variance
    network = {"model": "network"}
    return dataset.assign(
        denoiser_r2=squared_correlation(dataset["denoised"], dataset["denoised"].sel(network)),
        score_r2=squared_correlation(score, score.sel(network)),
        sample_r2=squared_correlation(dataset["sample"], dataset["sample"].sel(network)),
    )


def squared_correlation(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Squared Pearson correlation of two images over their pixels, dimensions y and x."""
    return xr.corr(a, b.drop_vars("model"), dim=("y", "x")).assign_attrs(units="1") ** 2


def _best(dataset: xr.Dataset) -> np.ndarray:
    """Index of the patch size that agrees best, by the median over the states, at each time."""
    names = [name for name in dataset["model"].values if str(name).startswith("w = ")]
    return dataset["denoiser_r2"].sel(model=names).median("state").argmax("model").values


def _names(patch_sizes: Iterable[int]) -> list[str]:
    """The models that are compared."""
    return ["network", *(f"w = {size}" for size in patch_sizes), "best"]


def _static(config: Config, times: Times, states: Array) -> xr.Dataset:
    return xr.Dataset(
        {
            "state_noisy": (("time", "state", "y", "x"), np.asarray(states), {"units": "data"}),
            "patch_size": (("size",), np.asarray(config.patch_sizes), {"units": "sites"}),
            "time": (("time",), np.asarray(times), {"units": "1"}),
        },
        attrs=provenance(config.seed),
    )


def _template(times: Times, states: Array, noise: Array) -> xr.Dataset:
    """What one model's results look like."""
    about = {"units": "data"}
    return xr.Dataset(
        {
            "denoised": (("time", "state", "y", "x"), np.zeros(states.shape, states.dtype), about),
            "sample": (("number", "y", "x"), np.zeros(noise.shape, noise.dtype), about),
        }
    )
