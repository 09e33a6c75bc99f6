r"""What a network is trained to do with one image, at one time if it is to denoise (App. D.4)."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray
from softjax.processes import AbstractProcess


class AbstractObjective(eqx.Module):
    """What one image costs, at the times that are trained on."""

    @abstractmethod
    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """The training times at these quantiles, in (0, 1), of their distribution."""

    @abstractmethod
    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Loss of one image, with the noise drawn from `key`; networks without labels are not shown the label."""


class NoisePrediction(AbstractObjective):
    r"""Mean square error of the predicted noise per pixel, t log-uniform (App. D.4).

    The network sees $\alpha x_0 + \sigma\varepsilon$ and is to return $\varepsilon$. One without knowledge has the loss
    1. Networks with labels see, with probability `label_dropout`, the label that stands for none, `num_classes`.
    """

    process: AbstractProcess
    t_min: float = eqx.field(static=True)
    t_max: float = eqx.field(static=True)
    num_classes: int = eqx.field(static=True, default=0)
    label_dropout: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        """Refuses an empty range of times."""
        require(0 < self.t_min < self.t_max, f"need 0 < t_min < t_max, got {self.t_min} and {self.t_max}.")

    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """Log-uniform times from t_min to t_max."""
        return self.t_min * jnp.exp(quantiles * jnp.log(self.t_max / self.t_min))

    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Mean square error of the predicted noise."""
        key_noise, key_label = jr.split(key)
        noise = jr.normal(key_noise, image.shape, image.dtype)
        x = self.process.alpha(t) * image + self.process.sigma(t) * noise
        if self.num_classes:
            dropped = jr.bernoulli(key_label, self.label_dropout)
            prediction = network(t, x, jnp.where(dropped, self.num_classes, label))
        else:
            prediction = network(t, x)
        return jnp.mean((prediction - noise) ** 2)


class Classification(AbstractObjective):
    """Cross entropy of the class, of images moved by up to `shift` pixels at random; time plays no part."""

    shift: int = eqx.field(static=True, default=2)

    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """Zeros."""
        return jnp.zeros_like(quantiles)

    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Cross entropy of one image; the background, -1, moves in from the border."""
        padded = jnp.pad(image, self.shift, constant_values=-1)
        start = jr.randint(key, (image.ndim,), 0, 2 * self.shift + 1)
        moved = jax.lax.dynamic_slice(padded, start, image.shape)
        return -jax.nn.log_softmax(network(moved))[label]
