r"""The straight-line process of rectified flow: $x_t = (1 - t)\,x_0 + t\,\varepsilon$ (Liu et al. 2022)."""

import jax.numpy as jnp

from softjax._types import Array, Time
from softjax.processes._base import AbstractProcess


class RectifiedFlow(AbstractProcess):
    r"""Straight lines from data to noise: $\alpha = 1 - t$, $\sigma = t$ on 0 < t < 1.

    Its linear SDE has the damping $1/(1 - t)$ and the noise rate $2t/(1 - t)$, which diverge at t = 1: trajectories
    start strictly below. The probed drift is that of the reverse SDE, as for `VP`.

    >>> process = sj.RectifiedFlow()
    >>> print(process.alpha(0.25), process.sigma(0.25), process.from_noise_to_signal(1.0))
    0.75 0.25 0.5
    """

    def alpha(self, t: Time) -> Array:
        """Signal scale 1 - t, dimensionless."""
        return 1 - _within(t)

    def sigma(self, t: Time) -> Array:
        """Noise scale t, in units of the data."""
        return _within(t)

    def beta(self, t: Time) -> Array:
        """Noise rate 2 t / (1 - t), per unit of t."""
        return 2 * _within(t) / (1 - t)

    def damping(self, t: Time) -> Array:
        """Damping 1 / (1 - t), per unit of t."""
        return 1 / (1 - _within(t))

    def drift_weight(self, t: Time) -> Array:
        """The noise rate: the probed drift is that of the reverse SDE."""
        return self.beta(t)

    def prior_scale(self, t: Time) -> Array:
        r"""Standard deviation $\sqrt{(1 - t)^2 + t^2}$ of data of unit variance at t."""
        return jnp.hypot(1 - _within(t), t)

    def from_noise_to_signal(self, ratio: Time) -> Array:
        """The time ratio / (1 + ratio); 1 for an infinite ratio."""
        ratio = jnp.asarray(ratio)
        return jnp.where(jnp.isinf(ratio), 1, ratio / (1 + jnp.where(jnp.isinf(ratio), 1, ratio)))


def _within(t: Time) -> Array:
    """The time, and NaN beyond 1."""
    t = jnp.asarray(t)
    return jnp.where(t <= 1, t, jnp.nan)
