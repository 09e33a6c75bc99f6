"""Labelled images in memory, and the variants of them that models are trained on."""

from typing import NamedTuple

import numpy as np

from softjax._checks import require
from softjax._repr import readable, sides, spread

SPIN_THRESHOLD = 32
"""Grey level (0 to 255) from which on a pixel is an up spin."""


class LabelledImages(NamedTuple):
    """Images and the class of each.

    * `images`: (N, height, width), bytes 0 to 255 as read, or floats from -1 to 1;
    * `labels`: (N,), integers, the class of each.

    >>> images = np.asarray([[[0, 100], [200, 255]]], np.uint8)
    >>> data = sj.data.LabelledImages(sj.data.grey(images), np.asarray([7]))
    >>> data.images.shape, data.labels.tolist()
    ((1, 2, 2), [7])
    """

    images: np.ndarray
    """(N, height, width): bytes 0 to 255 as read, or floats in [-1, 1]."""
    labels: np.ndarray
    """(N,), integers."""

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.images.shape
        return [f"{count} images of {sides(shape)}", str(self.images.dtype), f"labels {spread(self.labels)}"]


def grey(images: np.ndarray) -> np.ndarray:
    """Bytes as grey values from -1 to 1, shape kept, float32.

    * `images`: bytes 0 to 255, of any shape.

    >>> images = np.asarray([[[0, 100], [200, 255]]], np.uint8)
    >>> print(sj.data.grey(images).round(2)[0])
    [[-1.   -0.22]
     [ 0.57  1.  ]]
    """
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def binarized(images: np.ndarray, threshold: int = SPIN_THRESHOLD) -> np.ndarray:
    """Bytes as spins, shape kept, float32: +1 from the grey level `threshold` on, else -1 (App. D.1).

    * `images`: bytes 0 to 255, of any shape;
    * `threshold`: the grey level, 1 to 255, from which on a pixel is +1.

    The paper's text lost its threshold. An eighth of the grey scale separates cloth from background: clothes stay
    whole, and up and down are nearly balanced (mean spin -0.11), as the Ising symmetry of the theory wants. Half of
    the scale (128; mean spin -0.37) tears dark clothes. Raises `ValueError` for thresholds beyond 1 to 255.

    >>> images = np.asarray([[[0, 100], [200, 255]]], np.uint8)
    >>> sj.data.binarized(images).tolist()
    [[[-1.0, 1.0], [1.0, 1.0]]]
    >>> sj.data.binarized(images, threshold=128).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """
    require(1 <= threshold <= 255, f"threshold must be a grey level from 1 to 255, got {threshold}.")
    return np.where(images >= threshold, np.float32(1), np.float32(-1))


def padded(images: np.ndarray, side: int) -> np.ndarray:
    """Float images (N, height, width) centred on a square of `side`, the border filled with -1, the background.

    * `images`: (N, height, width), floats from -1 to 1;
    * `side`: of the square, in pixels.

    Raises `ValueError` for images that are larger.

    >>> print(sj.data.padded(np.ones((1, 2, 2)), 4)[0])
    [[-1. -1. -1. -1.]
     [-1.  1.  1. -1.]
     [-1.  1.  1. -1.]
     [-1. -1. -1. -1.]]
    """
    room = [side - size for size in images.shape[1:]]
    if min(room) < 0:
        raise ValueError(f"images of {images.shape[1:]} don't fit on a square of side {side}.")
    return np.pad(images, [(0, 0), *((r // 2, r - r // 2) for r in room)], constant_values=-1)
