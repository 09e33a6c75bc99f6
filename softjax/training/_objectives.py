r"""What a network is trained to do with one image, at one time if it is to denoise (App. D.4)."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import require
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray
from softjax.fields import AbstractField
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
    r"""Mean square error of the predicted noise per pixel, t log-uniform (App. D.4) or, with `log_t_std`, log-normal.

    The network sees $\alpha x_0 + \sigma\varepsilon$ and is to return $\varepsilon$. One without knowledge has the loss
    1. Networks with labels see, with probability `label_dropout`, the label that stands for none, `num_classes`.
    Times weigh as $\min(1/\alpha^2, w)$ with w the `weight_limit`: all alike at 1; above, errors of the velocity
    $\dot x$ (Salimans and Ho 2022, arXiv 2202.00512) weigh alike until $1/\alpha^2 = w$, where images take shape.

    With `posterior`, the exact field of the training images (theory.md section 2), the network is to return the mean
    noise given x, $-\sigma s(x, t)$, in place of the one drawn: on average over noise and images the gradient is the
    same, but at large times, where many images could be behind one x, nearly free of noise (the stable target field of
    Xu et al. 2023, arXiv 2302.00670, with all images for the reference batch). It knows nothing of labels.
    """

    process: AbstractProcess
    t_min: float = eqx.field(static=True)
    t_max: float = eqx.field(static=True)
    num_classes: int = eqx.field(static=True, default=0)
    label_dropout: float = eqx.field(static=True, default=0.0)
    weight_limit: float = eqx.field(static=True, default=1.0)
    log_t_mean: float = eqx.field(static=True, default=0.0)
    log_t_std: float | None = eqx.field(static=True, default=None)
    posterior: AbstractField | None = None

    def __check_init__(self) -> None:
        """Refuses an empty range of times, weights below 1, times that are all the same, a mean of uniform ones.

        Also a posterior, which is that of all classes, for a network with labels.
        """
        require(0 < self.t_min < self.t_max, f"need 0 < t_min < t_max, got {self.t_min} and {self.t_max}.")
        require(self.weight_limit >= 1, f"weight_limit must be at least 1, got {self.weight_limit}.")
        require(self.log_t_std is None or self.log_t_std > 0, f"log_t_std must be positive, got {self.log_t_std}.")
        require(
            self.log_t_std is not None or self.log_t_mean == 0,
            f"log_t_mean is that of log-normal times: got {self.log_t_mean} without a log_t_std.",
        )
        require(
            self.posterior is None or not self.num_classes,
            f"the posterior mean is that of all classes: train without labels, got num_classes {self.num_classes}.",
        )

    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """Times from t_min to t_max, ln t uniform, or normal with mean `log_t_mean` and deviation `log_t_std`."""
        mean, std = self.log_t_mean, self.log_t_std
        if std is None:
            return self.t_min * jnp.exp(quantiles * jnp.log(self.t_max / self.t_min))
        first, last = (jax.scipy.special.ndtr((math.log(t) - mean) / std) for t in (self.t_min, self.t_max))
        return jnp.exp(mean + std * jax.scipy.special.ndtri(first + quantiles * (last - first)))

    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Weighted mean square error of the predicted noise."""
        key_noise, key_label = jr.split(key)
        noise = jr.normal(key_noise, image.shape, image.dtype)
        x = self.process.alpha(t) * image + self.process.sigma(t) * noise
        if self.num_classes:
            dropped = jr.bernoulli(key_label, self.label_dropout)
            prediction = network(t, x, jnp.where(dropped, self.num_classes, label))
        else:
            prediction = network(t, x)
        target = noise if self.posterior is None else -self.process.sigma(t) * self.posterior.score(t, x)
        weight = jnp.minimum(self.process.alpha(t) ** -2, self.weight_limit)
        return weight * jnp.mean((prediction - target) ** 2)


class Denoising(AbstractObjective):
    r"""EDM2's loss: the weighted square error of the denoised image, and the uncertainty that is learned beside it.

    With $\ln\sigma$ normal, $\lambda = (\sigma^2 + \sigma_d^2)/(\sigma\sigma_d)^2$ and u the network's log variance,
    the loss is $\lambda\langle(D - y)^2\rangle e^{-u} + u$ (Karras et al. 2024, arXiv 2312.02696, section 2.2); without
    `uncertainty` it is $\lambda\langle(D - y)^2\rangle$. Networks see no label with probability `label_dropout`.
    """

    sigma_data: float = eqx.field(static=True)
    log_sigma_mean: float = eqx.field(static=True)
    log_sigma_std: float = eqx.field(static=True)
    num_classes: int = eqx.field(static=True)
    label_dropout: float = eqx.field(static=True, default=0.0)
    uncertainty: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        """Refuses noise levels that are all the same."""
        require(
            self.sigma_data > 0 and self.log_sigma_std > 0,
            f"sigma_data and log_sigma_std must be positive, got {self.sigma_data} and {self.log_sigma_std}.",
        )

    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """Log-normal noise levels."""
        return jnp.exp(self.log_sigma_mean + self.log_sigma_std * jax.scipy.special.ndtri(quantiles))

    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Loss of one image."""
        key_noise, key_label, key_dropout = jr.split(key, 3)
        x = image + t * jr.normal(key_noise, image.shape, image.dtype)
        shown = 1 - jr.bernoulli(key_label, self.label_dropout).astype(image.dtype)
        weights = shown * jax.nn.one_hot(label, self.num_classes, dtype=image.dtype)
        denoised = network(t, x, weights, key=key_dropout) if self.uncertainty else network(t, x, weights)
        weight = (t**2 + self.sigma_data**2) / (t * self.sigma_data) ** 2
        loss = weight * jnp.mean((denoised - image) ** 2)
        if not self.uncertainty:
            return loss
        u = network.log_variance(t)  # pyright: ignore[reportFunctionMemberAccess]
        return loss * jnp.exp(-u) + u


class Classification(AbstractObjective):
    """Cross entropy of the class, of images that are changed at random so that no two are alike; time plays no part.

    Each is moved by up to `shift` pixels, the background, -1, moving in; with `mirror`, half of them have left and
    right exchanged; with probability `erase` a rectangle, a tenth to half as wide and as high as the image, is painted
    in black or white, -1 or +1 (random erasing, Zhong et al. 2017, arXiv 1708.04896).
    """

    shift: int = eqx.field(static=True, default=0)
    mirror: bool = eqx.field(static=True, default=True)
    erase: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        """Refuses negative shifts and what is no probability."""
        require(self.shift >= 0, f"shift must not be negative, got {self.shift}.")
        require(0 <= self.erase <= 1, f"erase must be a probability, got {self.erase}.")

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
        """Cross entropy of one image."""
        return -jax.nn.log_softmax(network(self.shown(image, key)))[label]

    def shown(self, image: Configuration, key: PRNGKeyArray) -> Configuration:
        """The image as it is shown to the network, with the shape of `image`."""
        key_shift, key_mirror, key_erase = jr.split(key, 3)
        padded = jnp.pad(image, self.shift, constant_values=-1)
        start = jr.randint(key_shift, (image.ndim,), 0, 2 * self.shift + 1)
        moved = jax.lax.dynamic_slice(padded, start, image.shape)
        mirrored = jnp.where(jr.bernoulli(key_mirror, 0.5 * self.mirror), moved[:, ::-1], moved)
        return _erased(mirrored, self.erase, key_erase)


def _erased(image: Configuration, probability: float, key: PRNGKeyArray) -> Configuration:
    """The image with a rectangle painted in one colour, with this probability."""
    key_chosen, key_sizes, key_places, key_colour = jr.split(key, 4)
    sides = jnp.asarray(image.shape)
    sizes = jr.randint(key_sizes, (image.ndim,), jnp.maximum(sides // 10, 1), sides // 2 + 1)
    first = jr.randint(key_places, (image.ndim,), 0, sides - sizes + 1)
    rows, columns = map(jnp.arange, image.shape)
    in_rows, in_columns = ((first[i] <= n) & (n < first[i] + sizes[i]) for i, n in enumerate((rows, columns)))
    painted = in_rows[:, None] & in_columns & jr.bernoulli(key_chosen, probability)
    return jnp.where(painted, jr.rademacher(key_colour, dtype=image.dtype), image)
