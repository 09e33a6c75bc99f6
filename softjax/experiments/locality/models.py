"""The models that are compared, what they are given, and what they make of it."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Time, Times
from softjax.convert import load_covariance, read_description, shipped
from softjax.data import LabelledImages
from softjax.dynamics import simulate
from softjax.experiments._shared.networks import (
    checksum,
    fashion_folder,
    images_of_network,
    loaded,
    require_classes,
)
from softjax.experiments._shared.trajectories import times
from softjax.experiments.locality.config import Config
from softjax.fields import (
    AbstractField,
    CovarianceField,
    EmpiricalField,
    LocalField,
    NetworkField,
    PositionedLocalField,
    RescaledField,
)
from softjax.processes import EDM, VP, AbstractProcess
from softjax.sweeps import Unit, measured

NETWORK, BEST, GLOBAL, WIENER, PCA = "network", "best", "global", "Wiener", "PCA-local"
LOCAL, FIXED = "w = ", "fixed "
_TOGETHER = 8  # states side by side: what depends on the time only is computed once for them


def names(config: Config) -> list[str]:
    """All models: the network, local scores, the best equivariant one at each time, and those that are not local."""
    local = [f"{LOCAL}{size}" for size in config.patch_sizes]
    return [NETWORK, *local, *(f"{FIXED}{size}" for size in config.fixed_sizes), PCA, BEST, WIENER, GLOBAL]


class Task(eqx.Module):
    """What every model is given: noisy states (time, state, y, x) at some times, and noise with the grid of a sampler.

    Under "ddim" the grid is one of noise-to-signal ratios, and the noise stands for states over alpha.
    """

    times: Float[Array, " time"]
    states: Float[Array, "time state y x"]
    grid: Times
    noise: Float[Array, "number y x"]
    sampler: str = eqx.field(static=True)

    def denoised(self, field: AbstractField) -> Float[Array, "time state y x"]:
        """The states freed of their noise."""

        def at(tx: tuple[Array, Array]) -> Array:
            return jax.lax.map(lambda x: field.denoise(tx[0], x), tx[1], batch_size=_TOGETHER)

        return jax.lax.map(at, (self.times, self.states))

    def samples(self, field: AbstractField) -> Float[Array, "number y x"]:
        """Where the sampler takes the noise."""
        # In EDM's variables a step of DDIM is one of Euler's: x' = D + (sigma'/sigma)(x - D).
        followed = RescaledField(field, EDM()) if self.sampler == "ddim" else field

        def end(x0: Configuration) -> Configuration:
            return simulate(followed, self.grid, key=jr.key(0), kind="flow", x0=x0).x

        return jax.lax.map(end, self.noise, batch_size=_TOGETHER)


class Outcome(eqx.Module):
    """What a model made of its task."""

    denoised: Array = measured(("time", "state", "y", "x"), "data", "denoised test images")
    sample: Array = measured(("number", "y", "x"), "data", "images from the same noise")


class Model(Unit):
    """A field with its task."""

    field: AbstractField
    task: Task

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Outcome:
        """Nothing is random here."""
        del member, key
        return Outcome(self.task.denoised(self.field), self.task.samples(self.field))


class BestModel(Unit):
    """At each time the equivariant local score that agrees best with the network on the noisy test images."""

    network: AbstractField
    fields: list[LocalField]
    task: Task

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Outcome:
        """Nothing is random here."""
        del member, key
        denoised = jnp.stack([self.task.denoised(field) for field in self.fields])
        best = jnp.argmax(jnp.mean(correlation(denoised, self.task.denoised(self.network)), axis=2), axis=0)
        field = SwitchedField(self.network.process, self.fields, self.task.times, best)
        return Outcome(denoised[best, jnp.arange(best.size)], self.task.samples(field))


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


def correlation(a: Any, b: Any) -> Any:
    """Pearson's r over the last two dimensions, of NumPy or JAX arrays."""
    a, b = (x - x.mean(axis=(-2, -1), keepdims=True) for x in (a, b))
    norm = (a**2).sum(axis=(-2, -1)) * (b**2).sum(axis=(-2, -1))
    return (a * b).sum(axis=(-2, -1)) / norm**0.5


class Setting(NamedTuple):
    """A network, of one class if it has classes, with its data and task."""

    network: NetworkField
    train: LabelledImages
    """Of the class."""
    test: LabelledImages
    task: Task


def folder(config: Config) -> Path:
    """Of the network: one that ships, by its name, or any other."""
    if config.weights and not Path(config.weights).expanduser().is_dir():
        return shipped(config.weights)
    return fashion_folder(config)


def classes(config: Config) -> tuple[int, ...]:
    """The classes of a conditional network that are compared; nothing for another."""
    network = read_description(folder(config))["config"]
    number = network.get("label_dim", network.get("num_classes", 0))
    if not number:
        require(not config.labels, "the network has no classes: leave labels out.")
        return ()
    require_classes("labels", np.asarray(config.labels, int), number)
    return config.labels or tuple(range(number))


def data(config: Config) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images as the network was trained on them."""
    return images_of_network(folder(config), config.data, config.grey)


def setting(config: Config, label: int | None) -> Setting:
    """What all models of one class share."""
    return _setting(config, label, checksum(folder(config)))


@lru_cache(maxsize=10)
def _setting(config: Config, label: int | None, sha256: str) -> Setting:
    del sha256
    network, number = loaded(folder(config)), max(len(classes(config)), 1)
    train, test = data(config)
    if label is not None:
        network = network.with_label(label)
        train, test = (LabelledImages(s.images[s.labels == label], s.labels[s.labels == label]) for s in (train, test))
    keys = jr.split(jr.fold_in(jr.key(config.seed), 0 if label is None else label + 1), 2)
    process, t = network.process, times(config.time)
    grid = _of_process(process, t)
    compared = grid[np.unique(np.linspace(0, config.time.num_steps, config.num_times).astype(int))]
    states = noisy_states(process, compared, test.images[: max(config.num_states // number, 2)], keys[0])
    noise = process.prior_scale(grid[0]) * jr.normal(
        keys[1], (max(config.num_samples // number, 2), *test.images.shape[1:])
    )
    if config.sampler == "ddim":
        noise, grid = noise / process.alpha(grid[0]), ddim_levels(config.time.t_max, config.time.num_steps)
    return Setting(network, train, test, Task(compared, states, grid, noise, config.sampler))


def ddim_levels(t_max: float, num_steps: int) -> Times:
    """Noise-to-signal ratios of DDIM: even steps of the cosine schedule, from that of VP at `t_max` down to 0."""
    cosine = VP.cosine()
    start = cosine.from_noise_to_signal(VP(1.0).noise_to_signal(t_max))
    levels = jax.vmap(cosine.noise_to_signal)(start * jnp.linspace(1, 1 / num_steps, num_steps))
    return jnp.append(levels, 0)


def _of_process(process: AbstractProcess, ts: Times) -> Times:
    """The times of a process at which its noise-to-signal ratio is that of VP at times `ts`."""
    own = jax.vmap(process.from_noise_to_signal)(jax.vmap(VP(1.0).noise_to_signal)(ts))
    require(bool(jnp.all(jnp.isfinite(own))), f"{process} has not so much or so little noise: narrow the times.")
    return own


def noisy_states(
    process: AbstractProcess, compared: Times, clean: np.ndarray, key: PRNGKeyArray
) -> Float[Array, "time state y x"]:
    """Images with noise of their own at each time."""
    noise = jr.normal(key, (compared.size, *clean.shape))
    alpha, sigma = jax.vmap(process.alpha)(compared), jax.vmap(process.sigma)(compared)
    return alpha[:, None, None, None] * jnp.asarray(clean) + sigma[:, None, None, None] * noise


@lru_cache(maxsize=32)
def _local(config: Config, label: int | None, size: int, sha256: str) -> LocalField:
    """The equivariant score of one side, which the best at each time shares: to draw its patches takes seconds."""
    known = _setting(config, label, sha256)
    few = known.train.images[: config.num_images]
    draw = min(config.num_patches, few.size)
    return LocalField(few, size, known.network.process, config.boundary, draw, key=jr.key(config.seed))


def unit(config: Config, model: str, label: int | None = None) -> Model | BestModel:
    """One model's task; needs the real data. Raises `ValueError` where no patch size is named."""
    require(bool(config.patch_sizes), "patch_sizes must name at least one size, got none.")
    known = setting(config, label)
    process, train = known.network.process, known.train.images
    few = train[: config.num_images]

    def local(size: int) -> LocalField:
        return _local(config, label, size, checksum(folder(config)))

    def covariance() -> CovarianceField:
        found = load_covariance(folder(config), process) if label is None else None
        fits = found is not None and found[0].vectors.shape[1:] == train.shape[1:]
        return found[0] if found and fits else CovarianceField.from_samples(train, process)

    if model == BEST:
        return BestModel(known.network, list(map(local, config.patch_sizes)), known.task)
    if model == NETWORK:
        field = known.network
    elif model.startswith(LOCAL):
        field = local(int(model.removeprefix(LOCAL)))
    elif model.startswith(FIXED):
        field = PositionedLocalField(few, process, int(model.removeprefix(FIXED)))
    elif model == PCA:
        field = PositionedLocalField(few, process, covariance(), config.principal_threshold)
    else:
        field = covariance() if model == WIENER else EmpiricalField(train, process)
    return Model(field, known.task)
