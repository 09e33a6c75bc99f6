r"""What a diffusion process is: $x_t = \alpha(t)\,x_0 + \sigma(t)\,\varepsilon$.

Every process here solves the linear forward SDE $dx = -a(t)\,x\,dt + \sqrt{\beta(t)}\,dW$ with `damping` $a$
and noise rate `beta` $\beta$. Drifts in reverse time follow from these two functions and the score $s$:

* the reverse SDE $a x + \beta s$, with noise $\sqrt\beta$;
* the probability flow $a x + \tfrac12\beta s$, without noise;
* the drift that is probed, $a x + w s$ with `drift_weight` $w$: $w = \beta$ for VP (the paper's Eq. 2) and
  $w = \tfrac12\beta$ for EDM (App. E.1).
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, gate_methods, hashed, time_method
from softjax._repr import fields, readable
from softjax._types import Array, Time

METHODS = (
    *("alpha", "sigma", "beta", "damping", "drift_weight", "prior_scale"),
    *("from_noise_to_signal", "noise_to_signal", "log_snr", "from_log_snr"),
)


class AbstractProcess(eqx.Module):
    """A Gaussian diffusion process with data at t = 0 and noise at large t.

    A subclass fills in the abstract methods and gets every formula of the package. Its methods take one time or an
    array of times, as users have them: they arrive as floating arrays, in the precision of the process if that is
    wider. Times outside the process's range give NaN, which is refused where the time is known.

    >>> process = sj.EDM()
    >>> print(f"{process.log_snr(2.0):.3f}", process.from_log_snr(0.0))
    -1.386 1.0
    """

    @readable
    def __repr__(self) -> list[str]:
        return fields(self)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Puts the methods of a subclass behind their gate."""
        gate_methods(cls, METHODS, time_method)

    def __hash__(self) -> int:
        """Refuses, and says which jit to use, as a process holds arrays."""
        return hashed(self)

    @abstractmethod
    def alpha(self, t: Time) -> Array:
        """Signal scale, dimensionless.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def sigma(self, t: Time) -> Array:
        """Noise scale, in units of the data.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def beta(self, t: Time) -> Array:
        """Rate at which the forward process adds noise variance, per unit of t.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def damping(self, t: Time) -> Array:
        """Rate at which the forward process shrinks the state, per unit of t.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def drift_weight(self, t: Time) -> Array:
        """Factor of the score in the reverse drift whose modes are probed.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def prior_scale(self, t: Time) -> Array:
        """Standard deviation from which reverse trajectories start at t.

        * `t`: one time or an array of times, in units of the process's time.
        """

    @abstractmethod
    def from_noise_to_signal(self, ratio: Time) -> Array:
        """The time t at which sigma / alpha equals `ratio`.

        * `ratio`: sigma / alpha, positive, in units of the data; one number or an array.
        """

    @time_method
    def noise_to_signal(self, t: Time) -> Array:
        """The ratio sigma / alpha: the noise level of the same state in EDM's units.

        * `t`: one time or an array of times, in units of the process's time.
        """
        return self.sigma(t) / self.alpha(t)

    @time_method
    def log_snr(self, t: Time) -> Array:
        """Logarithm of the signal-to-noise ratio alpha^2 / sigma^2.

        * `t`: one time or an array of times, in units of the process's time.
        """
        return -2 * jnp.log(self.noise_to_signal(t))

    @time_method
    def from_log_snr(self, log_snr: Time) -> Array:
        """The time t at which alpha^2 / sigma^2 has this logarithm.

        * `log_snr`: ln(alpha^2 / sigma^2), without unit; one number or an array.
        """
        return self.from_noise_to_signal(jnp.exp(-0.5 * jnp.asarray(log_snr)))

    def has_edm_clock(self) -> bool:
        """Whether x_t = x_0 + t epsilon, EDM's convention; seen at some times."""

        def agrees(t: float) -> bool:
            scales = concrete(self.alpha(t)), concrete(self.sigma(t))
            return all(s is None or np.isclose(s, wanted) for s, wanted in zip(scales, (1.0, t), strict=True))

        try:
            return all(agrees(t) for t in (0.25, 1.0, 4.0))
        except ValueError:  # not defined at some of them
            return False
