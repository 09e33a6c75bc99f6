"""The trainings on Fashion-MNIST: which data, network and objective belong together."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx

from softjax._types import Array, PRNGKeyArray
from softjax._version import __version__
from softjax.convert import CheckpointError, load_module, read_description, save_network
from softjax.data import LabelledImages, binarized, grey, load_fashion_mnist
from softjax.networks import Classifier, UNet, UNetConfig
from softjax.processes import VP
from softjax.training._objectives import Classification, NoisePrediction
from softjax.training._trainer import Report, train, validation_losses
from softjax.training.configs import ClassifierTraining, FashionTraining

DECADES = (1e-3, 1e-2, 1e-1, 1.0, 6.0)
_NUM_VALIDATED = 1024


def train_fashion(
    config: FashionTraining | None = None,
    out: Path | str = "results/train-fashion",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains the U-Net of `config` and returns the folder, in `out`, that `load_network` reads.

    The data come from `load_fashion_mnist(folder=folder)`. `out` holds the checkpoint, the averaged weights in half
    precision and, in `network.json`, the losses: of the training; on the test split for every epoch and decade of t.
    """
    config, out = config or FashionTraining(), Path(out)
    data, test = (images_of(load_fashion_mnist(split, folder), config.variant) for split in ("train", "test"))
    key_network, key_training, key_validation = jr.split(jr.key(config.seed), 3)
    network, epochs_before = _first_network(config, key_network)
    objective = NoisePrediction(
        VP(1.0), config.t_min, config.t_max, config.num_classes, 0.1 if config.num_classes else 0.0
    )
    some = LabelledImages(test.images[:_NUM_VALIDATED], test.labels[:_NUM_VALIDATED])

    def validate(network: Any) -> dict[str, float]:
        losses = validation_losses(objective, network, some, DECADES, key=key_validation)
        names = [f"{a:g} to {b:g}" for a, b in zip(DECADES[:-1], DECADES[1:], strict=True)]
        weights = np.diff(np.log(DECADES))
        return dict(zip(names, losses.tolist(), strict=True)) | {"all t": float(np.average(losses, weights=weights))}

    average, history = train(
        objective,
        network,
        data,
        config.optimisation,
        key=key_training,
        checkpoint=out / "checkpoint.safetensors",
        settings=_settings(config),
        resume=resume,
        validate=validate,
        report=report,
    )
    about = _card(config, len(data.images), history)
    about["epochs"] = round(about["epochs"] + epochs_before, 2)
    save_network(out / "network", average, objective.process, "noise", about, dtype="float16")
    return out / "network"


def _first_network(config: FashionTraining, key: PRNGKeyArray) -> tuple[UNet, float]:
    """The network that the training starts from, and how many epochs it has seen."""
    architecture = UNetConfig(widths=config.widths, padding=config.padding, num_classes=config.num_classes)
    if config.start is None:
        return UNet(architecture, rngs=nnx.Rngs(key)), 0.0
    network = load_module(config.start)
    if getattr(network, "config", None) != architecture:
        raise CheckpointError(f"{config.start} holds another architecture, {network.config}; wanted {architecture}.")
    return network, float(read_description(config.start)["about"].get("epochs", 0.0))


def train_classifier(
    config: ClassifierTraining | None = None,
    out: Path | str = "results/train-classifier",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains the classifier that judges samples; arguments, files and result as of `train_fashion`."""
    config, out = config or ClassifierTraining(), Path(out)
    data, test = (images_of(load_fashion_mnist(split, folder), config.variant) for split in ("train", "test"))
    key_network, key_training = jr.split(jr.key(config.seed))
    average, history = train(
        Classification(),
        Classifier(rngs=nnx.Rngs(key_network)),
        data,
        config.optimisation,
        key=key_training,
        checkpoint=out / "checkpoint.safetensors",
        settings=_settings(config),
        resume=resume,
        validate=lambda network: {"accuracy": accuracy(network, test)},
        report=report,
    )
    about = _card(config, len(data.images), history)
    save_network(out / "network", average, None, "logits", about, dtype="float16")
    return out / "network"


def accuracy(network: Callable[..., Any], data: LabelledImages) -> float:
    """Fraction of the images whose class a classifier finds."""
    logits = class_logits(network, jnp.asarray(data.images))
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) == data.labels))


@jax.jit
def class_logits(network: Any, images: Array) -> Array:
    """Logits (N, classes) of images (N, h, w)."""
    return jax.lax.map(network, images, batch_size=100)


def images_of(data: LabelledImages, variant: str) -> LabelledImages:
    """The variant's pixels as floats of the default type, which the network's parameters have; labels as they are."""
    images = binarized(data.images) if variant == "binary" else grey(data.images)
    return LabelledImages(images.astype(jnp.result_type(float), copy=False), data.labels.astype(np.int32))


def _settings(config: FashionTraining | ClassifierTraining) -> dict[str, Any]:
    """What a resumed training must repeat, besides the optimiser's settings, as JSON has it."""
    values = {name: value for name, value in asdict(config).items() if name != "optimisation"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _card(
    config: FashionTraining | ClassifierTraining, num_images: int, history: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What the model card says."""
    losses = history["loss"]
    every = max(losses.size // 100, 1)
    whole = losses[: losses.size // every * every].reshape(-1, every)
    return {
        "data": f"Fashion-MNIST, {config.variant}, {num_images} training images (MIT licence)",
        "softjax_version": __version__,
        "training": asdict(config),
        "epochs": round(losses.size * config.optimisation.batch_size / num_images, 2),
        "training_loss": {"steps_per_point": every, "mean": np.round(whole.mean(1), 5).tolist()},
        "validation": {name: np.round(v, 5).tolist() for name, v in history.items() if name != "loss"},
    }
