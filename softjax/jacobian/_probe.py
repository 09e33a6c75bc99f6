"""Mode responses of a field along a trajectory, at the lowest cost."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require_channel, wider
from softjax._repr import readable
from softjax._types import Array, Channel, Configuration, Float, Time
from softjax.dynamics import reverse_drift
from softjax.fields import AbstractEvidenceField, AbstractField, AbstractPatternField, channels_of
from softjax.jacobian._modes import ModeResponse, averaged, mode_response, respond
from softjax.jacobian._waves import AxisWaves, Linear, axis_waves, respond_to_axis_waves
from softjax.spectral import FourierModes, in_channels


class ModeProbe(eqx.Module):
    r"""`mode_response` of a field's reverse drift, as a function of time and state.

    Where the denoiser sees the state through linear, time-independent evidence (`AbstractEvidenceField`), the
    evidence of each fixed direction is computed once, here; a probe then costs one pointwise derivative per
    direction. Of a patch field, directions along the axes cost a few averages over the sites, whatever their number.
    Other fields share one linearisation. A pytree: pass it through `jit`, or use it in `observe`.

    * `field`: a field of configurations (*lattice), or (*lattice, channels);
    * `modes`: directions of the lattice;
    * `channels`: how many channels configurations have, by default what the field says;
    * `channel`: "equal", directions that are equal in all channels; a number, in one channel; "block", in each: as for
      `mode_response`.

    Raises `ValueError` for another number of channels than the field's.

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> probe = sj.ModeProbe(field, sj.fourier_modes((8, 8), 2))
    >>> print(np.asarray(probe(4.0, jnp.zeros((8, 8))).rayleigh).round(3))
    [-0.348 -0.381 -0.462]
    """

    field: AbstractField
    modes: FourierModes
    direction_evidence: Any
    waves: AxisWaves | None
    channels: int | None = eqx.field(static=True)
    channel: Channel = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        channel = [f"channel={self.channel!r}"] if self.channels else []
        return [repr(self.field), repr(self.modes), *channel]

    @public
    def __init__(
        self, field: AbstractField, modes: FourierModes, channels: int | None = None, channel: Channel = "equal"
    ):
        self.field = field
        self.modes = modes
        self.channels = channels_of(field, channels)
        self.channel = channel
        require_channel(channel, self.channels)
        self.waves = None if self.channels else axis_waves(field, modes)
        shape = (*modes.directions.shape[1:], *((self.channels,) if self.channels else ()))
        spread = in_channels(modes, shape, self.channels, channel)
        self.direction_evidence = None
        if isinstance(field, AbstractEvidenceField) and self.waves is None:
            self.direction_evidence = _evidence_of(field, spread.directions)

    @public
    def __call__(self, t: Time, x: Configuration) -> ModeResponse:
        """Response at time `t` and state `x`, (*lattice) or (*lattice, channels), per unit of t.

        * `t`: the time, in units of the process's time;
        * `x`: (*lattice), or (*lattice, channels), the state, in units of the data.

        Raises `ValueError` for a wrong shape.
        """
        in_channels(self.modes, x.shape, self.channels, self.channel)  # for its refusals
        probe, x = wider(self, x)
        return probe._respond(jnp.asarray(t, x.dtype), x)

    def _respond(self, t: Time, x: Configuration) -> ModeResponse:
        field = self.field
        if not isinstance(field, AbstractEvidenceField):
            among = {"channels": self.channels, "channel": self.channel}
            return mode_response(lambda x: reverse_drift(field, t, x), x, self.modes, **among)
        drift = Linear.of(field.process, t)
        if self.waves is not None and isinstance(field, AbstractPatternField):
            return averaged(self.modes, *respond_to_axis_waves(field, self.waves, drift, t, x))
        spread = in_channels(self.modes, x.shape, self.channels, self.channel)
        _, tangent_map = jax.linearize(lambda e: field.posterior_mean(t, e), field.evidence(x))
        d_mean = jax.vmap(tangent_map)(self.direction_evidence)
        block = self.channels if self.channels and self.channel == "block" else 0
        return respond(drift.identity * spread.directions + drift.gain * d_mean, spread, block)


@eqx.filter_jit
def _evidence_of(field: AbstractEvidenceField, directions: Float[Array, "modes ..."]) -> Any:
    """Evidence of each direction; one program for all fields of a kind."""
    return jax.vmap(field.evidence)(directions)
