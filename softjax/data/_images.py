"""Labelled images in memory, and the variants of them that models are trained on."""

from typing import NamedTuple

import numpy as np


class LabelledImages(NamedTuple):
    """Images and the class of each."""

    images: np.ndarray
    """(N, height, width): bytes 0 to 255 as read, or floats in [-1, 1]."""
    labels: np.ndarray
    """(N,), integers."""


def grey(images: np.ndarray) -> np.ndarray:
    """Bytes as grey values from -1 to 1, shape kept, float32."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def binarized(images: np.ndarray) -> np.ndarray:
    """Bytes as spins, shape kept, float32: +1 from half the grey scale (128) on, else -1 (App. D.1)."""
    return np.where(images >= 128, np.float32(1), np.float32(-1))


def padded(images: np.ndarray, side: int) -> np.ndarray:
    """Float images (N, height, width) centred on a square of `side`, the border filled with -1, the background."""
    room = [side - size for size in images.shape[1:]]
    if min(room) < 0:
        raise ValueError(f"images of {images.shape[1:]} don't fit on a square of side {side}.")
    return np.pad(images, [(0, 0), *((r // 2, r - r // 2) for r in room)], constant_values=-1)
