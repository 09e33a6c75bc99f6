"""Labelled images in memory, and the variants of them that models are trained on."""

from typing import NamedTuple

import numpy as np

from softjax._checks import require
from softjax._repr import readable, sides, spread

SPIN_THRESHOLD = 32
"""Grey level (0 to 255) from which on a pixel is an up spin."""


class LabelledImages(NamedTuple):
    """Images and the class of each."""

    images: np.ndarray
    """(N, height, width): bytes 0 to 255 as read, or floats in [-1, 1]."""
    labels: np.ndarray
    """(N,), integers."""

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.images.shape
        return [f"{count} images of {sides(shape)}", str(self.images.dtype), f"labels {spread(self.labels)}"]


def grey(images: np.ndarray) -> np.ndarray:
    """Bytes as grey values from -1 to 1, shape kept, float32."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def binarized(images: np.ndarray, threshold: int = SPIN_THRESHOLD) -> np.ndarray:
    """Bytes as spins, shape kept, float32: +1 from the grey level `threshold` on, else -1 (App. D.1).

    The paper's text lost its threshold. An eighth of the grey scale separates cloth from background: clothes stay
    whole, and up and down are nearly balanced (mean spin -0.11), as the Ising symmetry of the theory wants. Half of
    the scale (128; mean spin -0.37) tears dark clothes. Raises `ValueError` for thresholds beyond 1 to 255.
    """
    require(1 <= threshold <= 255, f"threshold must be a grey level from 1 to 255, got {threshold}.")
    return np.where(images >= threshold, np.float32(1), np.float32(-1))


def padded(images: np.ndarray, side: int) -> np.ndarray:
    """Float images (N, height, width) centred on a square of `side`, the border filled with -1, the background."""
    room = [side - size for size in images.shape[1:]]
    if min(room) < 0:
        raise ValueError(f"images of {images.shape[1:]} don't fit on a square of side {side}.")
    return np.pad(images, [(0, 0), *((r // 2, r - r // 2) for r in room)], constant_values=-1)
