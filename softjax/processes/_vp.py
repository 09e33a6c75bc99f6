r"""The variance-preserving process, $dx = -\tfrac12\beta x\,dt + \sqrt\beta\,dW$ (theory.md section 1; Eqs. 32-35)."""

from collections.abc import Callable

import jax.numpy as jnp

from softjax._checks import public
from softjax._repr import number, readable
from softjax._types import Array, ArrayLike, Time
from softjax.processes._base import AbstractProcess
from softjax.processes._schedules import (
    AbstractSchedule,
    CallableSchedule,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
)


class VP(AbstractProcess):
    r"""Variance-preserving diffusion: $\alpha = e^{-B/2}$, $\sigma^2 = 1 - e^{-B}$, $B(t) = \int_0^t\beta$.

    * `beta`: a constant rate, per unit of t; an `AbstractSchedule`; or a function of the time.

    `VP(beta=1.0)` is the constant rate of the paper; `VP.linear` and `VP.cosine` are the usual schedules, and
    any `AbstractSchedule` may be given as `beta`. A function of the time is taken for the rate of a
    `CallableSchedule` on 0 < t <= 20.

    >>> process = sj.VP()
    >>> print(f"{process.alpha(1.0):.3f} {process.sigma(1.0):.3f}")
    0.607 0.795
    >>> print(f"{sj.VP(lambda t: 2 * t).log_snr(1.0):.3f}")
    -0.541
    """

    schedule: AbstractSchedule

    @readable
    def __repr__(self) -> list[str]:
        if isinstance(self.schedule, ConstantSchedule):
            return [f"beta={number(self.schedule.value)}"]
        return [repr(self.schedule)]

    @public
    def __init__(self, beta: ArrayLike | AbstractSchedule | Callable = 1.0):
        if isinstance(beta, AbstractSchedule):
            self.schedule = beta
        else:
            self.schedule = CallableSchedule(beta) if callable(beta) else ConstantSchedule(beta)

    @classmethod
    @public
    def linear(cls, beta_min: ArrayLike = 0.1, beta_max: ArrayLike = 20.0, t_max: ArrayLike = 1.0) -> "VP":
        """A rate growing linearly from `beta_min` at t = 0 to `beta_max` at `t_max`.

        * `beta_min`, `beta_max`: rates at the two ends, per unit of t;
        * `t_max`: the last time.
        """
        return cls(LinearSchedule(beta_min, beta_max, t_max))

    @classmethod
    @public
    def cosine(cls, offset: float = 0.008) -> "VP":
        """The cosine schedule on 0 <= t < 1.

        * `offset`: without unit, as for `CosineSchedule`.
        """
        return cls(CosineSchedule(offset))

    def alpha(self, t: Time) -> Array:
        """Signal scale, dimensionless."""
        return jnp.exp(-0.5 * self.schedule.integral(t))

    def sigma(self, t: Time) -> Array:
        """Noise scale; keeps its relative precision as t goes to 0."""
        return jnp.sqrt(-jnp.expm1(-self.schedule.integral(t)))

    def beta(self, t: Time) -> Array:
        """Noise rate, per unit of t."""
        return self.schedule.rate(t)

    def damping(self, t: Time) -> Array:
        """Half the noise rate."""
        return 0.5 * self.schedule.rate(t)

    def drift_weight(self, t: Time) -> Array:
        """The noise rate: the probed drift is that of the reverse SDE, Eq. (2)."""
        return self.schedule.rate(t)

    def prior_scale(self, t: Time) -> Array:
        """Unit variance, the stationary state, at every t."""
        return jnp.ones_like(jnp.asarray(t))

    def from_noise_to_signal(self, ratio: Time) -> Array:
        """The time t at which sigma / alpha equals `ratio`."""
        return self.schedule.inverse(jnp.log1p(jnp.asarray(ratio) ** 2))

    def noise_to_signal(self, t: Time) -> Array:
        """The ratio sigma / alpha, precise at both ends."""
        return jnp.sqrt(jnp.expm1(self.schedule.integral(t)))
