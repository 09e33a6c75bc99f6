r"""The process of a model that was trained on a table of noise levels, as DDPM's are (Ho et al. 2020)."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, real, require
from softjax._repr import readable, times
from softjax._types import Array, ArrayLike, Float, Time
from softjax.processes._base import AbstractProcess
from softjax.processes._schedules import AbstractSchedule
from softjax.processes._vp import VP


class TableSchedule(AbstractSchedule):
    """A rate that is constant between given times: the integral is linear in between, and exact at the times.

    * `ts`: (n,), the times at which the integral is given, increasing;
    * `integrals`: (n,), the integral of the rate up to each of them, without unit, increasing.

    >>> schedule = sj.processes.TableSchedule([0.0, 1.0, 2.0], [0.0, 0.5, 2.0])
    >>> print(schedule.rate(1.5), schedule.integral(1.5), schedule.inverse(1.25))
    1.5 1.25 1.5
    """

    ts: Float[Array, " points"]
    integrals: Float[Array, " points"]

    def __init__(self, ts: ArrayLike, integrals: ArrayLike):
        self.ts, self.integrals = jnp.asarray(ts, float), jnp.asarray(integrals, float)

    def rate(self, t: Time) -> Array:
        """Noise rate of the interval that ends at t or contains it; NaN beyond the table."""
        t = jnp.asarray(t)
        index = jnp.clip(jnp.searchsorted(self.ts, t, side="left"), 1, self.ts.shape[0] - 1)
        rates = jnp.diff(self.integrals) / jnp.diff(self.ts)
        return jnp.where(t <= self.ts[-1], rates[index - 1], jnp.nan)

    def integral(self, t: Time) -> Array:
        """Integral of the rate from the clean image to t; NaN beyond the table."""
        t = jnp.asarray(t)
        return jnp.where(t <= self.ts[-1], jnp.interp(t, self.ts, self.integrals), jnp.nan)

    def inverse(self, integral: Time) -> Array:
        """The time at which the integral has this value; NaN beyond the table."""
        integral = jnp.asarray(integral)
        tolerance = 8 * jnp.finfo(integral.dtype).eps * self.integrals[-1]
        inside = (integral <= self.integrals[-1] + tolerance) & (integral >= self.integrals[0] - tolerance)
        return jnp.where(inside, jnp.interp(integral, self.integrals, self.ts), jnp.nan)


class DiscreteVP(AbstractProcess):
    r"""Variance-preserving diffusion on a table of N steps, $\bar\alpha_n = \alpha^2$ at step n: models of DDPM's kind.

    * `alphas_cumprod`: (N,), known outside `jit`, strictly decreasing between 1 and 0, as in the models' files;
    * `clock`: "index", the time is the step n from 0 to N - 1, which is what such networks are called with; "unit",
      step n is the time (n + 1) / N, and the data are at t = 0.

    In between $\log\bar\alpha$ is linear; at the table's points everything is exact. With the clock "index" the least
    noise is that of step 0, so that a grid may end at t = 0. Raises `ValueError` for other tables; a last entry of 0
    ("zero terminal SNR") is to be left out.

    >>> process = sj.DiscreteVP([0.99, 0.5, 0.01])
    >>> print(np.asarray(process.alpha([0, 1, 2])).round(3))
    [0.995 0.707 0.1  ]
    """

    vp: VP

    @readable
    def __repr__(self) -> list[str]:
        assert isinstance(self.vp.schedule, TableSchedule)
        return [f"table of {times(self.vp.schedule.ts)}"]

    @public
    def __init__(self, alphas_cumprod: np.ndarray | Sequence[float], clock: Literal["index", "unit"] = "index"):
        known = concrete(real("alphas_cumprod", alphas_cumprod)) is not None
        require(known, "alphas_cumprod must be known outside jit.")
        table = np.asarray(alphas_cumprod, float)  # differences from 1 need its full precision
        require(table.ndim == 1 and table.size >= 2, f"alphas_cumprod must have shape (N >= 2,), got {table.shape}.")
        falls = bool(np.all(np.diff(table) < 0) and table[-1] > 0 and table[0] < 1)
        require(falls, "alphas_cumprod must decrease strictly, between 1 and 0 (both left out).")
        integrals, ts = -np.log(table), np.arange(table.size, dtype=float)
        if clock == "unit":
            integrals, ts = np.append(0.0, integrals), np.arange(table.size + 1) / table.size
        self.vp = VP(TableSchedule(ts, integrals))

    def alpha(self, t: Time) -> Array:
        """Signal scale, dimensionless; the root of the table's entry at step t."""
        return self.vp.alpha(t)

    def sigma(self, t: Time) -> Array:
        """Noise scale, in units of the data."""
        return self.vp.sigma(t)

    def beta(self, t: Time) -> Array:
        """Noise rate, per unit of t, constant between two steps."""
        return self.vp.beta(t)

    def damping(self, t: Time) -> Array:
        """Half the noise rate."""
        return self.vp.damping(t)

    def drift_weight(self, t: Time) -> Array:
        """The noise rate: the probed drift is that of the reverse SDE."""
        return self.vp.drift_weight(t)

    def prior_scale(self, t: Time) -> Array:
        """Unit variance, the stationary state."""
        return self.vp.prior_scale(t)

    def from_noise_to_signal(self, ratio: Time) -> Array:
        """The time t at which sigma / alpha equals `ratio`; NaN beyond the table."""
        return self.vp.from_noise_to_signal(ratio)
