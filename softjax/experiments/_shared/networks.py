"""The trained networks that experiments look at: their folders, and what their cards say."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from softjax._checks import require
from softjax.convert import load_network, read_description, shipped
from softjax.data import SPIN_THRESHOLD, LabelledImages, padded
from softjax.experiments._shared.config import TrainedNetwork
from softjax.fields import NetworkField

LOWEST_PEAK = 0.1
"""Peaks are looked for above this time or noise level: below, the images are finished, the responses their pixels'."""


def loaded(folder: Path) -> NetworkField:
    """The field of the network in a folder; the cells of a sweep share it, as long as its weights stay the same."""
    return _loaded(folder, checksum(folder))


@lru_cache(maxsize=4)
def _loaded(folder: Path, sha256: str) -> NetworkField:
    del sha256
    return load_network(folder)


def fashion_folder(config: TrainedNetwork) -> Path:
    """The folder of a user's network, or of the one that comes with softjax."""
    return Path(config.weights).expanduser() if config.weights else shipped(f"fashion-{variant_name(config.grey)}")


def fashion_weights(config: TrainedNetwork) -> dict[str, str]:
    """Checksum of the U-Net that results depend on."""
    return {"weights_sha256": checksum(fashion_folder(config))}


def edm_folder(weights: str | None) -> Path:
    """The folder of a user's EDM network, or of the small one that comes with softjax."""
    return Path(weights).expanduser() if weights else shipped("edm2-fashion")


def edm_network(weights: str | None) -> tuple[NetworkField, dict[str, Any]]:
    """The field of an EDM network, and the network's configuration; `ValueError` for another kind."""
    folder = edm_folder(weights)
    field = loaded(folder)
    require(field.process.has_edm_clock(), f"{folder} is no EDM network; softjax fashion takes the U-Net.")
    return field, read_description(folder)["config"]


def checksum(folder: Path | str) -> str:
    """That of a network's weights."""
    return read_description(folder)["sha256"]


def variant_name(grey: bool) -> str:
    """What the variants of the data are called."""
    return "grey" if grey else "binary"


def trained_threshold(folder: Path) -> int:
    """Grey level from which on the spins that a network was trained on are up, by its card."""
    return read_description(folder).get("about", {}).get("training", {}).get("threshold", SPIN_THRESHOLD)


def images_of_network(
    folder: Path, data: str | None = None, grey: bool = False
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of Fashion-MNIST as a network in a folder was trained on them.

    `data` is the folder of the four files; looked for, and downloaded, if not given. Grey images are those of EDM2
    networks, of a card that says so, and where `grey` is asked for; else they are spins.
    """
    description = read_description(folder)
    side, training = description["config"].get("img_resolution"), description.get("about", {}).get("training", {})
    grey = grey or side is not None or training.get("variant") == "grey"
    splits = _images(variant_name(grey), trained_threshold(folder), data)
    if side is None:
        return splits
    train, test = (LabelledImages(padded(split.images, side), split.labels) for split in splits)
    return train, test


@lru_cache(maxsize=2)
def _images(variant: str, threshold: int, data: str | None) -> tuple[LabelledImages, LabelledImages]:
    from softjax.training.fashion import both_splits

    return both_splits(variant, threshold, data)


def require_classes(name: str, classes: np.ndarray, num_classes: int) -> None:
    """Refuses classes that the network does not have."""
    require(
        bool(np.all((classes >= 0) & (classes < num_classes))),
        f"{name} must lie between 0 and {num_classes - 1}, got {tuple(classes.tolist())}.",
    )
