r"""Score of an isotropic Gaussian mixture: classes with a width, exactly solvable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import lattice_of, public, require, require_lattice, require_not_negative, require_shape
from softjax._linalg import matmul, tensordot
from softjax._repr import channels, number, readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Time
from softjax.fields._base import AbstractField
from softjax.fields._dictionary import require_log_prior
from softjax.processes import AbstractProcess


class MixtureField(AbstractField):
    r"""Data in K Gaussian clouds of means $\mu_i$ and common standard deviation c.

    * `means`: (K, *shape), in units of the data;
    * `process`: of the noise;
    * `width`: c, in units of the data;
    * `log_prior`: (K,), logarithms of priors that add up to 1, equal by default;
    * `channels`: how many channels the last axis holds, 0 for none, which probes ask for.

    With $v = \alpha^2c^2 + \sigma^2$, the posterior over clouds is $p_i \propto \pi_i\exp(-\|x - \alpha\mu_i\|^2/2v)$
    and the denoiser is $D = (\alpha c^2 x + \sigma^2\sum_i p_i\mu_i)/v$. For c = 0 it is `EmpiricalField`.

    Raises `ValueError` for shapes that do not fit, a negative width, priors that do not sum to one.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> field = sj.MixtureField(images, sj.VP(), width=0.5)
    >>> print(np.asarray(field.posterior(1.0, jnp.full((4, 4), 0.05))).round(3))
    [0.793 0.207]
    """

    means: Float[Array, "K ..."]
    log_prior: Float[Array, " K"]
    width: Array
    process: AbstractProcess
    channels: int | None = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.means.shape
        clouds = f"{count} clouds of {sides(shape)} and width {number(self.width)}"
        return [clouds, *channels(self.channels), repr(self.process)]

    @public(mixed=True, infinite=("log_prior",))  # the prior takes the precision of the means
    def __init__(
        self,
        means: ArrayLike,
        process: AbstractProcess,
        width: ArrayLike = 1.0,
        log_prior: ArrayLike | None = None,
        channels: int | None = None,
    ):
        require(np.ndim(means) >= 2, f"means must have shape (K, *shape), got {np.shape(means)}.")
        count = np.shape(means)[0]
        require_lattice("each mean", np.shape(means)[1:])
        if channels is not None:
            lattice_of("each mean", np.shape(means)[1:], channels)
        require(np.ndim(width) == 0, f"width must be one number, got shape {np.shape(width)}.")
        require_not_negative("width", width)
        log_prior = np.full(count, -np.log(count)) if log_prior is None else log_prior
        require_log_prior(log_prior, count)
        self.means = jnp.asarray(means)
        self.log_prior = jnp.asarray(log_prior, self.means.dtype)
        self.width = jnp.asarray(width)
        self.process = process
        self.channels = channels

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given `x` (*shape) at time `t`."""
        alpha, noise = self.process.alpha(t), self.process.sigma(t) ** 2
        variance = alpha**2 * self.width**2 + noise
        centre = tensordot(self.posterior(t, x), self.means, 1)
        return (alpha * self.width**2 * x + noise * centre) / variance

    @public
    def posterior(self, t: Time, x: Configuration) -> Float[Array, " K"]:
        """Probability of each cloud given `x` (*shape) at time `t`, (K,).

        * `t`: the time, in units of the process's time;
        * `x`: (*shape), the noisy configuration, in units of the data.
        """
        require_shape("x", x.shape, self.means.shape[1:])
        alpha = self.process.alpha(t)
        variance = alpha**2 * self.width**2 + self.process.sigma(t) ** 2
        flat = self.means.reshape(self.means.shape[0], -1)
        overlap = matmul(flat, x.ravel()) - 0.5 * alpha * jnp.sum(flat**2, axis=1)
        return jax.nn.softmax(alpha / variance * overlap + self.log_prior)
