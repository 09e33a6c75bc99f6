"""What judges generated images: a classifier of softjax's, shown each image as it was trained to see them."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int
from softjax.convert import load_module
from softjax.networks import Classifier, DINOv2, preprocess_sample


class Scores(eqx.Module):
    """How well images show the classes that were asked for; one value for each image."""

    probability: Float[Array, " n"]
    logit: Float[Array, " n"]
    top1: Float[Array, " n"]
    """1 where that class is the most probable, else 0."""


class Judge(eqx.Module):
    """Class logits of one generated image (h, w, channels) on the scale of -1 to 1.

    Softjax's classifier sees the centre of a grey image, cut to the size that it knows; DINOv2 the whole colour image.
    """

    network: Any

    def __call__(self, image: Configuration) -> Float[Array, " classes"]:
        if isinstance(self.network, DINOv2):
            return self.network(preprocess_sample(image))
        side = self.network.config.side
        top, left = ((size - side) // 2 for size in image.shape[:2])
        grey = jnp.mean(image, axis=-1)[top : top + side, left : left + side]
        return self.network(jnp.clip(grey, -1, 1))

    def scores(self, images: Float[Array, "n h w c"], labels: Int[Array, " n"]) -> Scores:
        """How well each image shows its class."""
        logits = jax.vmap(self)(images)
        index = jnp.arange(labels.shape[0])
        hit = (jnp.argmax(logits, axis=1).astype(labels.dtype) == labels).astype(logits.dtype)
        return Scores(jax.nn.softmax(logits)[index, labels], logits[index, labels], hit)


def load_judge(folder: Path | str, image_shape: tuple[int, ...], num_classes: int) -> Judge:
    """The judge in `folder`; raises `ValueError` if it does not fit images of this shape and their classes."""
    network = load_module(folder)
    require(isinstance(network, Classifier | DINOv2), f"{folder} holds no classifier.")
    config = network.config
    require(
        config.num_classes == num_classes,
        f"{folder} tells {config.num_classes} classes apart, the network draws {num_classes}.",
    )
    if isinstance(network, Classifier):
        require(min(image_shape[:2]) >= config.side, f"{folder} judges images of side {config.side} and more.")
    return Judge(network)
