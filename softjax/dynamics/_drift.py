"""Drifts in reverse time, that is, per unit decrease of t (theory.md section 1; Eq. 2)."""

import jax.numpy as jnp

from softjax._checks import public, require_not_negative
from softjax._types import ArrayLike, Configuration, Time
from softjax.fields import AbstractField


@public
def reverse_drift(field: AbstractField, t: Time, x: Configuration) -> Configuration:
    """The drift whose Jacobian is probed: beta (x/2 + s) under VP, Eq. (2), and (D - x)/sigma under EDM, App. E.1.

    * `field`: the score, with its process;
    * `t`: the time, in units of the process's time;
    * `x`: (*lattice), or (*lattice, channels), the state, in units of the data.

    Under VP this is the drift of the reverse SDE. Shape of `x`, in units of the data per unit of t.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> print(f"{sj.reverse_drift(field, 1.0, jnp.ones((4, 4)))[0, 0]:.3f}")
    -0.500
    """
    process = field.process
    return process.damping(t) * x + process.drift_weight(t) * field.score(t, x)


def sde_drift(field: AbstractField, t: Time, x: Configuration) -> Configuration:
    """Drift of the reverse SDE with noise rate beta: `reverse_drift` under VP, 2 (D - x)/sigma under EDM."""
    process = field.process
    return process.damping(t) * x + process.beta(t) * field.score(t, x)


@public
def flow_drift(field: AbstractField, t: Time, x: Configuration) -> Configuration:
    """Drift of the probability flow: beta (x + s)/2 under VP, (D - x)/sigma under EDM. Shape of `x`.

    * `field`: the score, with its process;
    * `t`: the time, in units of the process's time;
    * `x`: (*lattice), or (*lattice, channels), the state, in units of the data.

    Its instabilities are not those of the SDE drift: the patch model's uniform mode grows under it at every t.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> x = jnp.ones((4, 4))
    >>> print(f"{sj.flow_drift(field, 1.0, x)[0, 0]:.3f} {sj.reverse_drift(field, 1.0, x)[0, 0]:.3f}")
    0.000 -0.500
    """
    process = field.process
    return process.damping(t) * x + 0.5 * process.beta(t) * field.score(t, x)


@public
def stochastic_drift(field: AbstractField, t: Time, x: Configuration, stochasticity: ArrayLike) -> Configuration:
    r"""The drift that `simulate(stochasticity=...)` follows: $ax + (1 + \Lambda)\beta s/2$, theory.md section 9.

    * `field`: the score, with its process;
    * `t`: the time, in units of the process's time;
    * `x`: (*lattice), or (*lattice, channels), the state, in units of the data;
    * `stochasticity`: $\Lambda \ge 0$, a number without unit: 0 is `flow_drift`, 1 the reverse SDE.

    Its Jacobian is what `mode_response` probes at another $\Lambda$ than 1. Shape of `x`, per unit of t. Raises
    `ValueError` for a negative stochasticity.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> x = jnp.ones((4, 4))
    >>> print([f"{sj.stochastic_drift(field, 1.0, x, strength)[0, 0]:.2f}" for strength in (0.0, 1.0, 4.0)])
    ['0.00', '-0.50', '-2.00']
    """
    process = field.process
    require_not_negative("stochasticity", stochasticity)
    weight = 0.5 * (1 + jnp.asarray(stochasticity).astype(x.dtype))
    return process.damping(t) * x + weight * process.beta(t) * field.score(t, x)
