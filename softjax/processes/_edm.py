r"""The variance-exploding process of EDM, whose time is the noise level itself (theory.md section 1; App. E.1)."""

import equinox as eqx
import jax.numpy as jnp

from softjax._checks import public, require
from softjax._types import Array, Time
from softjax.processes._base import AbstractProcess


class EDM(AbstractProcess):
    r"""Variance-exploding diffusion in the EDM convention (Karras et al. 2022): $x_\sigma = x_0 + \sigma\varepsilon$.

    * `sigma_data`: standard deviation of the data, for the preconditioning of networks; the dynamics do not use it.

    The argument `t` of every method is the noise level sigma, in units of the data.

    >>> process = sj.EDM()
    >>> print(process.alpha(3.0), process.sigma(3.0), process.beta(3.0))
    1.0 3.0 6.0
    """

    sigma_data: float = eqx.field(static=True)

    @public
    def __init__(self, sigma_data: float = 0.5):
        require(sigma_data > 0, f"sigma_data must be positive, got {sigma_data}.")
        self.sigma_data = float(sigma_data)

    def alpha(self, t: Time) -> Array:
        """Signal scale: 1."""
        return jnp.ones_like(jnp.asarray(t))

    def sigma(self, t: Time) -> Array:
        """Noise scale: t itself."""
        return jnp.asarray(t)

    def beta(self, t: Time) -> Array:
        """Noise rate d(sigma^2)/d(sigma) = 2 sigma."""
        return 2 * jnp.asarray(t)

    def damping(self, t: Time) -> Array:
        """No damping: the variance explodes."""
        return jnp.zeros_like(jnp.asarray(t))

    def drift_weight(self, t: Time) -> Array:
        """Half the noise rate: the probed drift is (D - x) / sigma, that of the probability flow."""
        return jnp.asarray(t)

    def prior_scale(self, t: Time) -> Array:
        """The noise level: the data's own variance is neglected against it."""
        return jnp.asarray(t)

    def from_noise_to_signal(self, ratio: Time) -> Array:
        """The noise level itself."""
        return jnp.asarray(ratio)
