r"""Noise schedules of the VP process: a rate $\beta(t)$ with its integral $B(t) = \int_0^t \beta$ and inverse."""

import math
from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, require
from softjax._types import Array, ArrayLike, Time


class AbstractSchedule(eqx.Module):
    """A positive noise rate, integrable from t = 0."""

    @abstractmethod
    def rate(self, t: Time) -> Array:
        """Noise rate at t."""

    @abstractmethod
    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t; must keep its relative precision as t goes to 0."""

    @abstractmethod
    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value."""


class ConstantSchedule(AbstractSchedule):
    """The constant rate of the paper."""

    value: Array

    def __init__(self, value: ArrayLike):
        self.value = _positive("beta", value)

    def rate(self, t: Time) -> Array:
        """Noise rate at t."""
        return self.value * jnp.ones_like(t)

    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t."""
        return self.value * t

    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value."""
        return integral / self.value


class LinearSchedule(AbstractSchedule):
    """A rate that grows linearly from `beta_min` at t = 0 to `beta_max` at `t_max` (Ho et al. 2020)."""

    beta_min: Array
    beta_max: Array
    t_max: Array

    def __init__(self, beta_min: ArrayLike, beta_max: ArrayLike, t_max: ArrayLike = 1.0):
        self.beta_min = _positive("beta_min", beta_min)
        self.beta_max = _positive("beta_max", beta_max)
        self.t_max = _positive("t_max", t_max)

    def rate(self, t: Time) -> Array:
        """Noise rate at t."""
        return self.beta_min + self._slope * t

    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t."""
        return (self.beta_min + 0.5 * self._slope * t) * t

    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value."""
        root = jnp.sqrt(self.beta_min**2 + 2 * self._slope * integral)
        return 2 * integral / (self.beta_min + root)

    @property
    def _slope(self) -> Array:
        return (self.beta_max - self.beta_min) / self.t_max


class CosineSchedule(AbstractSchedule):
    r"""The cosine schedule (Nichol & Dhariwal 2021), alpha(t) = cos(theta_t) / cos(theta_0) for 0 <= t < 1.

    The angle is theta_t = (t + offset) / (1 + offset) * pi / 2; all signal is lost at t = 1.
    """

    offset: float = eqx.field(static=True)

    def __init__(self, offset: float = 0.008):
        require(0 < offset < 1, f"offset must lie between 0 and 1, got {offset}.")
        self.offset = float(offset)

    def rate(self, t: Time) -> Array:
        """Noise rate at t."""
        return 2 * self._speed * jnp.tan(self._angle(t))

    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t, written so that nothing cancels near t = 0."""
        start, end = self._angle(jnp.zeros_like(t)), self._angle(t)
        drop = 2 * jnp.sin(0.5 * (end + start)) * jnp.sin(0.5 * self._speed * t) / jnp.cos(start)
        return -2 * jnp.log1p(-drop)

    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value: the arccosine, polished by one Newton step."""
        start = self._angle(jnp.zeros_like(integral))
        t = (jnp.arccos(jnp.cos(start) * jnp.exp(-0.5 * jnp.asarray(integral))) - start) / self._speed
        return t - (self.integral(t) - integral) / self.rate(t)

    @property
    def _speed(self) -> float:
        return 0.5 * math.pi / (1 + self.offset)

    def _angle(self, t: Time) -> Array:
        return self._speed * (jnp.asarray(t) + self.offset)


def _positive(name: str, value: ArrayLike) -> Array:
    """The value as a float array; a Python number stays weakly typed, so that it adopts the state's precision."""
    array = concrete(value)
    if array is not None:
        require(
            bool(np.all(array > 0) and np.all(np.isfinite(array))), f"{name} must be positive and finite, got {value}."
        )
    return jnp.asarray(float(value) if isinstance(value, int) else value)
