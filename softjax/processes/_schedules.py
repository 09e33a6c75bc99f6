r"""Noise schedules of the VP process: a rate $\beta(t)$ with its integral $B(t) = \int_0^t \beta$ and inverse."""

import math
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, gate_methods, outputs, public, require, require_positive, time_method
from softjax._linalg import matmul
from softjax._repr import fields, readable
from softjax._types import Array, ArrayLike, Time


class AbstractSchedule(eqx.Module):
    """A positive noise rate, integrable from t = 0. Its methods take times as users have them, one or an array.

    >>> schedule = sj.processes.LinearSchedule(0.1, 20.0)
    >>> print(f"{sj.VP(schedule).beta(0.5):.2f}")
    10.05
    """

    @readable
    def __repr__(self) -> list[str]:
        return fields(self)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Puts the methods of a subclass behind their gate."""
        gate_methods(cls, ("rate", "integral", "inverse"), time_method)

    @abstractmethod
    def rate(self, t: Time) -> Array:
        """Noise rate at t.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t; must keep its relative precision as t goes to 0.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value.

        * `integral`: of the rate, without unit, not negative; one number or an array.
        """


class ConstantSchedule(AbstractSchedule):
    r"""The constant rate of the paper.

    * `value`: $\beta$, per unit of t, positive.

    >>> schedule = sj.processes.ConstantSchedule(2.0)
    >>> print(schedule.rate(1.0), schedule.integral(1.5), schedule.inverse(3.0))
    2.0 3.0 1.5
    """

    value: Array

    @public
    def __init__(self, value: ArrayLike):
        require_positive("beta", value)
        self.value = jnp.asarray(value)

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
    """A rate that grows linearly from `beta_min` at t = 0 to `beta_max` at `t_max` (Ho et al. 2020).

    * `beta_min`, `beta_max`: rates at the two ends, per unit of t;
    * `t_max`: the last time.

    >>> schedule = sj.processes.LinearSchedule(1.0, 3.0, t_max=2.0)
    >>> print(f"{schedule.rate(2.0):.3f} {schedule.integral(2.0):.3f}")
    3.000 4.000
    """

    beta_min: Array
    beta_max: Array
    t_max: Array

    @public
    def __init__(self, beta_min: ArrayLike, beta_max: ArrayLike, t_max: ArrayLike = 1.0):
        for name, value in (("beta_min", beta_min), ("beta_max", beta_max), ("t_max", t_max)):
            require_positive(name, value)
        self.beta_min, self.beta_max, self.t_max = (jnp.asarray(value) for value in (beta_min, beta_max, t_max))

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

    * `offset`: without unit, keeps the rate at t = 0 from vanishing.

    The angle is theta_t = (t + offset) / (1 + offset) * pi / 2; all signal is lost at t = 1.

    >>> process = sj.VP(sj.processes.CosineSchedule())
    >>> print(np.asarray(process.alpha([0.25, 0.5, 0.75])).round(3))
    [0.92  0.703 0.38 ]
    """

    offset: float = eqx.field(static=True)

    @public
    def __init__(self, offset: float = 0.008):
        require(0 < offset < 1, f"offset must lie between 0 and 1, got {offset}.")
        self.offset = float(offset)

    def rate(self, t: Time) -> Array:
        """Noise rate at t."""
        inside = jnp.asarray(t) <= 1
        return jnp.where(inside, 2 * self._speed * jnp.tan(self._angle(jnp.where(inside, t, 0))), jnp.nan)

    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t, written so that nothing cancels near t = 0."""
        start, end = self._angle(jnp.zeros_like(t)), self._angle(t)
        drop = 2 * jnp.sin(0.5 * (end + start)) * jnp.sin(0.5 * self._speed * t) / jnp.cos(start)
        before_end = jnp.where(t < 1, -2 * jnp.log1p(-jnp.where(t < 1, drop, 0)), jnp.inf)
        return jnp.where(t <= 1, before_end, jnp.nan)

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


class CallableSchedule(AbstractSchedule):
    r"""Any rate: a positive function of one time, smooth or smooth in pieces, on 0 < t <= `t_max`.

    * `rate`: a function of one time, per unit of t;
    * `t_max`: the last time.

    The integral is $t\int_0^1\beta(tu)\,du$ by Gauss-Legendre quadrature on 16 panels of 16 nodes, which keeps its
    relative precision as t goes to 0: to rounding for a rate that is smooth on the scale t/16, to 3e-3 t of its height
    for a jump. The inverse is bracketed in (0, `t_max`], bisected, and polished by a Newton step; NaN for an integral
    that is not reached by `t_max`. A rate may be an `equinox.Module`: gradients with respect to its arrays flow.

    Raises `ValueError` for a rate that is not positive and finite on (0, `t_max`], or not one number per time.

    >>> schedule = sj.processes.CallableSchedule(lambda t: 1 + t, 2.0)
    >>> print(f"{schedule.integral(2.0):.3f} {schedule.inverse(1.5):.3f}")
    4.000 1.000
    """

    function: Callable
    t_max: Array

    @public
    def __init__(self, rate: Callable, t_max: ArrayLike = 20.0):
        require(callable(rate), f"rate must be a function of the time, got {rate!r}.")
        require_positive("t_max", t_max)
        self.function = rate
        self.t_max = jnp.asarray(t_max)
        shape = jax.eval_shape(lambda t: outputs("rate", rate(t)), jnp.asarray(1.0))
        one = isinstance(shape, jax.ShapeDtypeStruct) and shape.shape == ()
        require(one, f"rate must return one number for one time, got {getattr(shape, 'shape', shape)}.")
        values = concrete(jax.vmap(rate)(self.t_max * jnp.asarray(_NODES, float)))
        if values is not None:
            good = np.isfinite(values) & (values > 0)
            require(
                bool(np.all(good)),
                f"rate must be positive and finite on (0, t_max], got {values[np.argmin(good)]:g} near "
                f"t = {np.asarray(self.t_max) * _NODES[np.argmin(good)]:.3g}; "
                "CallableSchedule(rate, t_max) sets the end of its range.",
            )

    def rate(self, t: Time) -> Array:
        """Noise rate at t."""
        return self._rates(jnp.asarray(t))

    def integral(self, t: Time) -> Array:
        """Integral of the rate from 0 to t."""
        t = jnp.asarray(t)
        return t * matmul(self._rates(t[..., None] * jnp.asarray(_NODES, t.dtype)), jnp.asarray(_WEIGHTS, t.dtype))

    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value; NaN beyond the integral up to `t_max`."""
        integral = jnp.asarray(integral)

        def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            below = self.integral(middle) < integral
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        end = jnp.broadcast_to(self.t_max, integral.shape).astype(integral.dtype)
        start = jax.lax.fori_loop(0, 64, halve, (jnp.zeros_like(end), end))[1]
        t = jax.lax.stop_gradient(start)
        polished = t - (self.integral(t) - integral) / self._rates(t)
        reached = integral <= self.integral(end) * (1 + 8 * jnp.finfo(end.dtype).eps)
        return jnp.where(reached, polished, jnp.nan)

    def _rates(self, ts: Array) -> Array:
        rates = jax.vmap(self.function)(ts.ravel()).reshape(ts.shape)
        return rates if jnp.issubdtype(rates.dtype, np.floating) else rates.astype(ts.dtype)


def _panels(count: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on equal panels of (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    left = np.arange(count)[:, None]
    return ((left + 0.5 * (nodes + 1)) / count).ravel(), np.tile(0.5 * weights / count, count)


_NODES, _WEIGHTS = _panels(16, 16)
