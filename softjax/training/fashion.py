"""The trainings on Fashion-MNIST: which data, network and objective belong together."""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx

from softjax._checks import require, whole
from softjax._types import Array, PRNGKeyArray
from softjax._version import __version__
from softjax.convert import CheckpointError, load_module, read_description, save_covariance, save_network
from softjax.data import SPIN_THRESHOLD, LabelledImages, binarized, grey, load_fashion_mnist, padded
from softjax.fields import CovarianceField, EmpiricalField
from softjax.networks import EDM2, Classifier, EDM2Config, UNet, UNetConfig, normalized_weights
from softjax.processes import EDM, VP, AbstractProcess
from softjax.training._objectives import AbstractObjective, Classification, Denoising, NoisePrediction
from softjax.training._trainer import Report, train, validation_losses
from softjax.training.configs import ClassifierTraining, EDM2Training, FashionTraining

_DECADES = (1e-3, 1e-2, 1e-1, 1.0)
_SIGMAS = (0.01, 0.1, 1.0, 10.0, 80.0)
_NUM_VALIDATED = 1024
_VALIDATION_SEED = 0
_EDM2_SIDE = 32

Config = FashionTraining | EDM2Training | ClassifierTraining


def train_fashion(
    config: FashionTraining | None = None,
    out: Path | str = "results/train-fashion",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains the U-Net of `config` and returns the folder, in `out`, that `load_network` reads.

    * `config`: the parameters, by default `FashionTraining()`;
    * `out`: the folder of the results;
    * `resume`: whether to go on with a training that was interrupted;
    * `folder`: of the data, as for `load_fashion_mnist`;
    * `report`: called with a `Report` now and then.

    The data come from `load_fashion_mnist(folder=folder)`. `out` holds the checkpoint, the averaged weights in half
    precision and, in `network.json`, the losses: of the training; on the test split for every epoch and decade of t.

    >>> config = sj.training.FashionTraining(variant="grey")  # doctest: +SKIP
    >>> sj.convert.load_network(sj.training.train_fashion(config, "results/grey"))  # doctest: +SKIP
    """
    config = config or FashionTraining()
    data, test = both_splits(config.variant, config.threshold, folder)
    key_network, key_training = _keys(config.seed)
    architecture = UNetConfig(
        widths=config.widths,
        num_blocks=config.num_blocks,
        num_middle_blocks=config.num_middle_blocks,
        padding=config.padding,
        num_classes=config.num_classes,
    )
    process = VP(1.0)
    dropout = 0.1 if config.num_classes else 0.0
    judged = NoisePrediction(process, config.t_min, config.t_max, config.num_classes, dropout)
    objective = replace(
        judged,
        weight_limit=config.weight_limit,
        log_t_mean=config.log_t_mean,
        log_t_std=config.log_t_std,
        posterior=EmpiricalField(data.images, process) if config.posterior_targets else None,
    )
    edges = (config.t_min, *(t for t in _DECADES if config.t_min < t < config.t_max), config.t_max)
    return _train(
        config,
        Path(out),
        objective,
        _first_network(UNet, architecture, config.start, key_network),
        data,
        lambda network: _losses(judged, network, test, edges, "t"),
        key=key_training,
        resume=resume,
        report=report,
        stored_as=(process, "noise"),
    )


def train_edm2(
    config: EDM2Training | None = None,
    out: Path | str = "results/train-edm2",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains a small class-conditional EDM2.

    * `config`: the parameters, by default `EDM2Training()`;
    * `out`: the folder of the results;
    * `resume`: whether to go on with a training that was interrupted;
    * `folder`: of the data, as for `load_fashion_mnist`;
    * `report`: called with a `Report` now and then.

    Files and result are as of `train_fashion`.

    >>> config = sj.training.EDM2Training(optimisation=sj.training.Optimisation(epochs=1))  # doctest: +SKIP
    >>> sj.convert.load_network(sj.training.train_edm2(config, "results/edm2"))  # doctest: +SKIP
    """
    config = config or EDM2Training()
    data, test = (_on_square(load_fashion_mnist(split, folder)) for split in ("train", "test"))
    key_network, key_training = _keys(config.seed)
    architecture = EDM2Config(
        img_resolution=_EDM2_SIDE,
        img_channels=1,
        label_dim=10,
        model_channels=config.model_channels,
        channel_mult=config.channel_mult,
        num_blocks=config.num_blocks,
        attn_resolutions=(8,),
        sigma_data=config.sigma_data,
        logvar_channels=32,
    )
    objective = Denoising(config.sigma_data, config.log_sigma_mean, config.log_sigma_std, 10, config.label_dropout)
    judged = replace(objective, label_dropout=0.0, uncertainty=False)
    return _train(
        config,
        Path(out),
        objective,
        _first_network(EDM2, architecture, config.start, key_network),
        data,
        lambda network: _losses(judged, network, test, _SIGMAS, "sigma"),
        key=key_training,
        resume=resume,
        report=report,
        constrain=normalized_weights,
        stored_as=(EDM(config.sigma_data), "denoiser"),
    )


def train_classifier(
    config: ClassifierTraining | None = None,
    out: Path | str = "results/train-classifier",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains the classifier that judges samples.

    * `config`: the parameters, by default `ClassifierTraining()`;
    * `out`: the folder of the results;
    * `resume`: whether to go on with a training that was interrupted;
    * `folder`: of the data, as for `load_fashion_mnist`;
    * `report`: called with a `Report` now and then.

    Files and result are as of `train_fashion`.

    >>> sj.training.train_classifier(out="results/judge")  # doctest: +SKIP
    """
    config = config or ClassifierTraining()
    data, test = both_splits(config.variant, config.threshold, folder)
    key_network, key_training = _keys(config.seed)
    return _train(
        config,
        Path(out),
        Classification(config.shift, config.mirror, config.erase),
        Classifier(rngs=nnx.Rngs(key_network)),
        data,
        lambda network: {"accuracy": accuracy(network, test)},
        key=key_training,
        resume=resume,
        report=report,
        stored_as=(None, "logits"),
    )


def _train(
    config: Config,
    out: Path,
    objective: AbstractObjective,
    network: Any,
    data: LabelledImages,
    validate: Callable[[Any], dict[str, float]],
    *,
    stored_as: tuple[AbstractProcess | None, str],
    **options: Any,
) -> Path:
    """Trains and writes the network with its card."""
    average, history = train(
        objective,
        network,
        data,
        config.optimisation,
        checkpoint=out / "checkpoint.safetensors",
        settings=_settings(config),
        validate=validate,
        **options,
    )
    process, prediction = stored_as
    about = _card(config, len(data.images), history)
    save_network(out / "network", average, process, prediction, about, dtype="float16")
    if process is not None:
        _save_null(out / "network", data, process, channels=int(isinstance(average, EDM2)))
    return out / "network"


def _save_null(folder: Path, data: LabelledImages, process: AbstractProcess, channels: int) -> None:
    """The covariance of the images, against which the network's responses are held."""
    images = data.images[..., None] if channels else data.images
    field = CovarianceField.from_samples(images, process, shrinkage=0.0, channels=channels)
    save_covariance(folder, field, len(images), read_description(folder)["about"]["data"])


def _first_network(cls: type, architecture: Any, start: str | None, key: PRNGKeyArray) -> Any:
    """A random network, or the one in the folder `start`."""
    if start is None:
        return jax.jit(lambda: cls(architecture, rngs=nnx.Rngs(key)))()
    network = load_module(start)
    if getattr(network, "config", None) != architecture:
        raise CheckpointError(f"{start} holds another architecture, {network.config}; wanted {architecture}.")
    return network


def _losses(
    objective: AbstractObjective,
    network: Any,
    test: LabelledImages,
    edges: tuple[float, ...],
    name: str,
) -> dict[str, float]:
    """Losses of test images by interval of times, and their mean over log t; the noise is that of all trainings."""
    some = LabelledImages(test.images[:_NUM_VALIDATED], test.labels[:_NUM_VALIDATED])
    losses = validation_losses(objective, network, some, edges, key=jr.key(_VALIDATION_SEED))
    names = [f"{a:g} to {b:g}" for a, b in pairwise(edges)]
    mean = np.average(losses, weights=np.diff(np.log(edges)))
    return dict(zip(names, losses.tolist(), strict=True)) | {f"all {name}": float(mean)}


def accuracy(network: Callable[..., Any], data: LabelledImages) -> float:
    """Fraction of the images whose class a classifier finds."""
    logits = class_logits(network, jnp.asarray(data.images))
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) == data.labels))


@jax.jit
def class_logits(network: Any, images: Array) -> Array:
    """Logits (N, classes) of images (N, h, w)."""
    return jax.lax.map(network, images, batch_size=100)


def images_of(data: LabelledImages, variant: str, threshold: int = SPIN_THRESHOLD) -> LabelledImages:
    """The variant's pixels as floats of the default type, which the network's parameters have; labels as they are.

    The variants are "binary", with spins that are up from the grey level `threshold` on, and "grey".
    """
    images = binarized(data.images, threshold) if variant == "binary" else grey(data.images)
    return LabelledImages(images.astype(jnp.result_type(float), copy=False), data.labels.astype(np.int32))


def both_splits(
    variant: str, threshold: int, folder: Path | str | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a variant, from where `load_fashion_mnist` looks."""
    data, test = (images_of(load_fashion_mnist(split, folder), variant, threshold) for split in ("train", "test"))
    return data, test


def _on_square(data: LabelledImages) -> LabelledImages:
    """Grey images with the border that brings them to the side of the EDM2."""
    images, labels = images_of(data, "grey")
    return LabelledImages(padded(images, _EDM2_SIDE), labels)


def _settings(config: Config) -> dict[str, Any]:
    """What a resumed training must repeat, besides the optimiser's settings, as JSON has it."""
    values = {name: value for name, value in asdict(config).items() if name != "optimisation"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _card(config: Config, num_images: int, history: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the model card says; the epochs of the network that was started from count."""
    losses = history["loss"]
    every = max(losses.size // 100, 1)
    whole = losses[: losses.size // every * every].reshape(-1, every)
    start = getattr(config, "start", None)
    before = read_description(start)["about"].get("epochs", 0.0) if start else 0.0
    return {
        "data": f"Fashion-MNIST, {getattr(config, 'variant', 'grey')}, {num_images} training images (MIT licence)",
        "softjax_version": __version__,
        "training": asdict(config),
        "epochs": round(before + losses.size * config.optimisation.batch_size / num_images, 2),
        "training_loss": {"steps_per_point": every, "mean": np.round(whole.mean(1), 5).tolist()},
        "validation": {name: np.round(v, 5).tolist() for name, v in history.items() if name != "loss"},
    }


def _keys(seed: int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Keys of the network's start and of the training; `ValueError` for seeds that would repeat those of others."""
    seed = whole("seed", seed)
    require(0 <= seed < 2**32, f"seed must lie between 0 and 2^32 - 1, got {seed}.")
    key_network, key_training = jr.split(jr.key(seed))
    return key_network, key_training
