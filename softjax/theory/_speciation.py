r"""Speciation: when classes separate (Biroli et al. 2024; section 8 of docs/theory.md)."""

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require
from softjax._types import Array, Float, Time
from softjax.processes import AbstractProcess


@public
def speciation_time(process: AbstractProcess, variance: Time) -> Float[Array, ""]:
    r"""Time at which $\alpha^2\Lambda = 1$ under VP, for the largest eigenvalue $\Lambda$ of the data covariance.

    * `process`: of the noise;
    * `variance`: $\Lambda$, in units of the data squared.

    On the clock $dx = -x\,dt + \sqrt2\,dW$, `VP(beta=2)`, it is $\tfrac12\log\Lambda$. Written as $\sigma/\alpha =
    \sqrt{\Lambda - 1}$ it serves every process. Raises `ValueError` unless it exceeds 1.

    >>> print(f"{sj.theory.speciation_time(sj.VP(), 16.0):.3f} {np.log(16):.3f}")
    2.773 2.773
    """
    known = concrete(variance)
    if known is not None:
        require(bool(np.all(known > 1)), f"the variance must exceed 1, that of the noise; got {variance}.")
    return process.from_noise_to_signal(jnp.sqrt(jnp.asarray(variance, float) - 1))


@public
def two_cloud_agreement(process: AbstractProcess, t: Time, squared_norm: Time, width: Time = 1.0) -> Float[Array, ""]:
    r"""Exact cloning agreement of two Gaussian clouds at $\pm\mu$ with standard deviation `width`.

    * `process`: of the noise;
    * `t`: the time of cloning;
    * `squared_norm`: $\|\mu\|^2$, in units of the data squared;
    * `width`: c, the standard deviation, in units of the data.

    At time t the state's projection q on $\mu$ is Gaussian about $\pm\alpha\|\mu\|$ with variance $v = \alpha^2c^2 +
    \sigma^2$, and ends in the upper cloud with probability $p = 1/(1 + e^{-2\alpha\|\mu\|q/v})$; clones agree with
    probability $\phi = E[p^2 + (1 - p)^2]$. The integral is a trapezoidal rule on a smooth integrand that decays like
    a Gaussian, exact to rounding.

    >>> print([f"{sj.theory.two_cloud_agreement(sj.VP(), t, 16.0):.3f}" for t in (8.0, 3.0, 0.5)])
    ['0.503', '0.740', '0.999']
    """
    v = process.alpha(t) ** 2 * jnp.asarray(width) ** 2 + process.sigma(t) ** 2
    shift = process.alpha(t) * jnp.sqrt(squared_norm) / jnp.sqrt(v)
    z = jnp.linspace(-9.0, 9.0, 1801, dtype=shift.dtype)
    density = jnp.exp(-0.5 * z**2)
    p = jax.nn.sigmoid(2 * shift * (z + shift))
    return jnp.sum(density * (p**2 + (1 - p) ** 2)) / jnp.sum(density)
