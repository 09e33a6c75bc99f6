"""The trainings on Fashion-MNIST: which data, network and objective belong together."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np
from flax import nnx

from softjax._version import __version__
from softjax.convert import save_network
from softjax.data import LabelledImages, binarized, grey, load_fashion_mnist
from softjax.networks import UNet, UNetConfig
from softjax.processes import VP
from softjax.training._objectives import NoisePrediction
from softjax.training._trainer import Report, train, validation_losses
from softjax.training.configs import FashionTraining

DECADES = (1e-3, 1e-2, 1e-1, 1.0, 6.0)
_NUM_VALIDATED = 1024
_SETTINGS = ("variant", "widths", "padding", "num_classes", "t_min", "t_max", "seed")


def train_fashion(
    config: FashionTraining | None = None,
    out: Path | str = "results/train-fashion",
    *,
    resume: bool = False,
    folder: Path | str | None = None,
    report: Callable[[Report], None] | None = None,
) -> Path:
    """Trains the U-Net of `config` and returns the folder, in `out`, that `load_network` reads.

    The data come from `load_fashion_mnist(folder=folder)`. `out` holds the checkpoint, the weights (half precision) and
    in `network.json` the history: loss of every 20th of an epoch, validation loss per decade of t for every epoch.
    """
    config, out = config or FashionTraining(), Path(out)
    data, test = (images_of(load_fashion_mnist(split, folder), config.variant) for split in ("train", "test"))
    key_network, key_training, key_validation = jr.split(jr.key(config.seed), 3)
    architecture = UNetConfig(widths=config.widths, padding=config.padding, num_classes=config.num_classes)
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
        UNet(architecture, rngs=nnx.Rngs(key_network)),
        data,
        config.optimisation,
        key=key_training,
        checkpoint=out / "checkpoint.safetensors",
        settings={name: _plain(getattr(config, name)) for name in _SETTINGS},
        resume=resume,
        validate=validate,
        report=report,
    )
    about = {
        "data": f"Fashion-MNIST, {config.variant}, {len(data.images)} training images (MIT licence)",
        "softjax_version": __version__,
        "config": asdict(config),
        "epochs": round(history["loss"].size * config.optimisation.batch_size / len(data.images), 2),
        "training_loss": _thinned(history.pop("loss")),
        "validation_loss": {name: np.round(values, 5).tolist() for name, values in history.items()},
    }
    save_network(out / "network", average, objective.process, "noise", about, dtype="float16")
    return out / "network"


def images_of(data: LabelledImages, variant: str) -> LabelledImages:
    """The variant's pixels as floats, labels as they are."""
    images = binarized(data.images) if variant == "binary" else grey(data.images)
    return LabelledImages(images, data.labels.astype(np.int32))


def _thinned(losses: np.ndarray, every: int = 10) -> list[float]:
    """Means over `every` steps."""
    whole = losses[: losses.size // every * every]
    return np.round(whole.reshape(-1, every).mean(1), 5).tolist()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
