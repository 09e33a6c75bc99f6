"""Drifts in reverse time, that is, per unit decrease of t (theory.md section 1; Eq. 2)."""

from softjax._checks import public
from softjax._types import Array, Configuration, Time
from softjax.fields import AbstractField


@public
def reverse_drift(field: AbstractField, t: Time, x: Configuration) -> Configuration:
    """The drift whose Jacobian is probed: beta (x/2 + s) under VP, Eq. (2), and (D - x)/sigma under EDM, App. E.1.

    Under VP this is the drift of the reverse SDE. Shape of `x`, in units of the data per unit of t.
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

    Its instabilities are not those of the SDE drift: the patch model's uniform mode grows under it at every t.
    """
    process = field.process
    return process.damping(t) * x + 0.5 * process.beta(t) * field.score(t, x)


def stochastic_drift(field: AbstractField, t: Time, x: Configuration, stochasticity: Array) -> Configuration:
    """Drift a x + (1 + stochasticity) beta s / 2 of the reverse SDE whose noise rate is stochasticity times beta."""
    process = field.process
    weight = 0.5 * (1 + stochasticity.astype(x.dtype))
    return process.damping(t) * x + weight * process.beta(t) * field.score(t, x)
