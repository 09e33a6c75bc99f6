"""Mode responses of a field along a trajectory, at the lowest cost."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require_shape, wider
from softjax._types import Array, Configuration, Float, Time
from softjax.dynamics import reverse_drift
from softjax.fields import AbstractEvidenceField, AbstractField
from softjax.jacobian._modes import ModeResponse, mode_response, respond
from softjax.spectral import FourierModes


class ModeProbe(eqx.Module):
    r"""`mode_response` of a field's reverse drift, as a function of time and state.

    Where the denoiser sees the state through linear, time-independent evidence (`AbstractEvidenceField`), the
    evidence of each fixed direction is computed once, here; a probe then costs one pointwise derivative per
    direction. Other fields share one linearisation. A pytree: pass it through `jit`, or use it in `observe`.
    """

    field: AbstractField
    modes: FourierModes
    direction_evidence: Any

    @public
    def __init__(self, field: AbstractField, modes: FourierModes):
        self.field = field
        self.modes = modes
        has_evidence = isinstance(field, AbstractEvidenceField)
        self.direction_evidence = _evidence_of(field, modes.directions) if has_evidence else None

    @public
    def __call__(self, t: Time, x: Configuration) -> ModeResponse:
        """Response at time `t` and state `x` (*lattice), per unit of t. Raises `ValueError` for a wrong shape."""
        require_shape("x", x.shape, self.modes.directions.shape[1:])
        probe, x = wider(self, x)
        return probe._respond(jnp.asarray(t, x.dtype), x)

    def _respond(self, t: Time, x: Configuration) -> ModeResponse:
        field, process = self.field, self.field.process
        if not isinstance(field, AbstractEvidenceField):
            return mode_response(lambda x: reverse_drift(field, t, x), x, self.modes)
        _, tangent_map = jax.linearize(lambda e: field.posterior_mean(t, e), field.evidence(x))
        d_mean = jax.vmap(tangent_map)(self.direction_evidence)
        weight = process.drift_weight(t) / process.sigma(t) ** 2
        identity = process.damping(t) - weight
        return respond(identity * self.modes.directions + weight * process.alpha(t) * d_mean, self.modes)


@eqx.filter_jit
def _evidence_of(field: AbstractEvidenceField, directions: Float[Array, "modes ..."]) -> Any:
    """Evidence of each direction; one program for all fields of a kind."""
    return jax.vmap(field.evidence)(directions)
