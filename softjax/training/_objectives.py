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
    """What one image costs, at the times that are trained on.

    >>> objective = sj.training.NoisePrediction(sj.VP(), 0.1, 10.0)
    >>> print(np.asarray(objective.times(jnp.asarray([0.0, 0.5, 1.0]))).round(3))
    [ 0.1  1.  10. ]
    """

    @abstractmethod
    def times(self, quantiles: Float[Array, " n"]) -> Float[Array, " n"]:
        """The training times at these quantiles, in (0, 1), of their distribution.

        * `quantiles`: (n,), between 0 and 1.
        """

    @abstractmethod
    def loss(
        self,
        network: Callable[..., Any],
        t: Array,
        image: Configuration,
        label: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Loss of one image, with the noise drawn from `key`; networks without labels are not shown the label.

        * `network`: called with (t, x), or (t, x, label);
        * `t`: the time, in units of the process's time;
        * `image`: without noise, in units of the data;
        * `label`: its class;
        * `key`: fixes noise and dropped label.
        """


class NoisePrediction(AbstractObjective):
    r"""Mean square error of the predicted noise per pixel, t log-uniform (App. D.4) or, with `log_t_std`, log-normal.

    * `process`: that the images are noised by;
    * `t_min`, `t_max`: first and last training time, in units of the process's time;
    * `num_classes`: labels of the network, 0 for one without;
    * `label_dropout`: probability of showing no label;
    * `weight_limit`: w, below, at least 1;
    * `log_t_mean`, `log_t_std`: of ln t; None for the second draws ln t uniformly;
    * `posterior`: the exact field of the training images, or None, below.

    The network sees $\alpha x_0 + \sigma\varepsilon$ and is to return $\varepsilon$. One without knowledge has the loss
    1. Networks with labels see, with probability `label_dropout`, the label `num_classes`, which stands for none.
    Times weigh as $\min(1/\alpha^2, w)$ with w the `weight_limit`: all alike at 1; above, errors of the velocity
    $\dot x$ (Salimans and Ho 2022, arXiv 2202.00512) weigh alike until $1/\alpha^2 = w$, where images take shape.

    With `posterior`, the exact field of the training images (theory.md section 2), the network is to return the mean
    noise given x, $-\sigma s(x, t)$, in place of the one drawn: on average over noise and images the gradient is the
    same, but at large times, where many images could be behind one x, nearly free of noise (the stable target field of
    Xu et al. 2023, arXiv 2302.00670, with all images for the reference batch). It knows nothing of labels.

    >>> objective = sj.training.NoisePrediction(sj.VP(), 0.1, 4.0)
    >>> loss = objective.loss(lambda t, x: 0 * x, jnp.asarray(1.0), jnp.ones((32, 32)), jnp.asarray(0), jr.key(0))
    >>> bool(abs(loss - 1) < 0.2)
    True
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

    * `sigma_data`: $\sigma_d$, standard deviation of the data, in their units;
    * `log_sigma_mean`, `log_sigma_std`: of $\ln\sigma$;
    * `num_classes`: labels of the network, 0 for one without;
    * `label_dropout`: probability of showing no label;
    * `uncertainty`: whether the network's log variance is learned too.

    With $\ln\sigma$ normal, $\lambda = (\sigma^2 + \sigma_d^2)/(\sigma\sigma_d)^2$ and u the network's log variance,
    the loss is $\lambda\langle(D - y)^2\rangle e^{-u} + u$ (Karras et al. 2024, arXiv 2312.02696, section 2.2); without
    `uncertainty` it is $\lambda\langle(D - y)^2\rangle$. Networks see no label with probability `label_dropout`.

    >>> objective = sj.training.Denoising(1.0, -1.0, 1.0, num_classes=0, uncertainty=False)
    >>> print(np.asarray(objective.times(jnp.asarray([0.5]))).round(3), f"{np.exp(-1):.3f}")
    [0.368] 0.368
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

    * `shift`: the largest shift, in pixels;
    * `mirror`: whether half of the images have left and right exchanged;
    * `erase`: probability that a rectangle is painted over.

    Where an image is moved the background, -1, moves in. The rectangle is a tenth to half as wide and as high as the
    image, and black or white, -1 or +1 (random erasing, Zhong et al. 2017, arXiv 1708.04896).

    >>> objective = sj.training.Classification(shift=1, erase=0.0)
    >>> print(f"{objective.loss(lambda x: jnp.zeros(4), 0.0, jnp.ones((8, 8)), 1, jr.key(0)):.3f} {np.log(4):.3f}")
    1.386 1.386
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
        """The image as it is shown to the network, with the shape of `image`.

        * `image`: (side, side), from -1 to 1;
        * `key`: fixes the change.
        """
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
