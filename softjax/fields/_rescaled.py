r"""A field in the variables of another process: the same data, another clock and scale (theory.md section 1)."""

import jax.numpy as jnp

from softjax._checks import public
from softjax._repr import readable
from softjax._types import Configuration, Time
from softjax.fields._base import AbstractField, channels_of
from softjax.processes import AbstractProcess


class RescaledField(AbstractField):
    r"""`field` as a field of `process`: $D'(x', t') = D(x, t)$.

    * `field`: a field of any process;
    * `process`: the one that is wanted.

    Both see the same image in the same relative noise: t has the noise-to-signal ratio of t',
    $\sigma(t)/\alpha(t) = \sigma'(t')/\alpha'(t')$, and $x = x'\alpha(t)/\alpha'(t')$. Under `EDM`, for instance, a
    network that was trained under `VP` can be sampled with `heun` and `Churn`.

    >>> white = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> field = sj.RescaledField(white, sj.EDM())
    >>> print(f"{field.denoise(1.0, jnp.ones((4, 4)))[0, 0]:.3f}")
    0.500
    """

    field: AbstractField
    process: AbstractProcess

    @readable
    def __repr__(self) -> list[str]:
        return [repr(self.field), repr(self.process)]

    @public
    def __init__(self, field: AbstractField, process: AbstractProcess):
        self.field = field
        self.process = process

    @property
    def channels(self) -> int | None:
        """The number of channels of the field."""
        return channels_of(self.field)

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean given `x` at the time `t` of `process`, shape of `x`."""
        ours, theirs = self.process, self.field.process
        time = theirs.from_noise_to_signal(jnp.asarray(ours.noise_to_signal(t), x.dtype))
        return self.field.denoise(time, theirs.alpha(time) / ours.alpha(t) * x)
