r"""The two interfaces of a field. Every field acts on one configuration; batches are `jax.vmap`.

A field has a `process` and a denoiser $D(x, t) = E[x_0 \mid x_t = x]$. Its score follows,
$s = (\alpha D - x)/\sigma^2$.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import evidence_mean_method, evidence_method, gate_methods, hashed, require, state_method
from softjax._repr import channels, parameters, readable
from softjax._types import Array, Configuration, Float, Time
from softjax.processes import AbstractProcess


class AbstractField(eqx.Module):
    """A score field whose primitive is its denoiser.

    Methods take values as users have them. A state of another precision than the field's is computed in the wider of
    the two; the time follows. The methods of a subclass are behind the same gate.

    A field may have an attribute `channels`, the number of channels on the last axis of its configurations, or 0 where
    they have none: probes then need not be told (`channels_of`).

    >>> class White(sj.AbstractField):
    ...     process: sj.AbstractProcess
    ...     def denoise(self, t, x):
    ...         return x * self.process.alpha(t)  # white data of unit variance
    >>> print(f"{White(sj.VP()).score(1.0, jnp.ones((2, 2)))[0, 0]:.3f}")
    -1.000
    """

    process: eqx.AbstractVar[AbstractProcess]

    @readable
    def __repr__(self) -> list[str]:
        return [parameters(self), *channels(channels_of(self)), repr(self.process)]

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Puts the methods of a subclass behind their gate."""
        gate_methods(cls, ("denoise", "score"), state_method)
        gate_methods(cls, ("posterior_mean", "slopes"), evidence_mean_method)
        gate_methods(cls, ("evidence",), evidence_method)

    def __hash__(self) -> int:
        """Refuses, and says which jit to use, as a field holds arrays."""
        return hashed(self)

    @abstractmethod
    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given the noisy configuration `x` at time `t`, shape of `x`.

        * `t`: the time, in units of the process's time;
        * `x`: (*lattice), or (*lattice, channels), the noisy configuration, in units of the data.
        """

    @state_method
    def score(self, t: Time, x: Configuration) -> Configuration:
        """Gradient of the log density at time `t`, (alpha D - x) / sigma^2, shape of `x`.

        * `t`: the time, in units of the process's time;
        * `x`: (*lattice), or (*lattice, channels), the noisy configuration, in units of the data.
        """
        return (self.process.alpha(t) * self.denoise(t, x) - x) / self.process.sigma(t) ** 2


def channels_of(field: AbstractField, channels: int | None = None) -> int | None:
    """How many channels a field's configurations have, 0 for none: as it says, or as is said; None if neither does.

    * `field`: any field;
    * `channels`: how many channels the caller says there are, 0 for none; None leaves it to the field.

    Raises `ValueError` where the two differ.

    >>> field = sj.EmpiricalField(jnp.ones((2, 4, 4, 3)), sj.VP(), channels=3)
    >>> sj.fields.channels_of(field)
    3
    """
    own = getattr(field, "channels", None)
    if own is None or channels is None:
        return channels if own is None else own
    require(own == channels, f"channels={channels} does not fit {type(field).__name__}, which has channels={own}.")
    return own


class AbstractEvidenceField(AbstractField):
    """A field whose denoiser sees `x` only through linear, time-independent features: its evidence.

    The split is what makes mode probes cheap: the evidence of a fixed direction is computed once for all times
    and states (`ModeProbe`).

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> x = jnp.ones((4, 4))
    >>> bool(jnp.allclose(field.denoise(1.0, x), field.posterior_mean(1.0, field.evidence(x))))
    True
    """

    @abstractmethod
    def evidence(self, x: Configuration) -> Any:
        """Linear features of `x`, a pytree of arrays.

        * `x`: a configuration, in units of the data.
        """

    @abstractmethod
    def posterior_mean(self, t: Time, evidence: Any) -> Configuration:
        """Denoiser as a function of the evidence: `denoise(t, x) == posterior_mean(t, evidence(x))`.

        * `t`: the time, in units of the process's time;
        * `evidence`: what `evidence` returns for a configuration.
        """


class AbstractPatternField(AbstractEvidenceField):
    """A field of a periodic lattice whose denoiser at a site is a function of the evidence of that site.

    The evidence is (B, *lattice), of each site the overlaps of the patch around it with B patterns.

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> evidence = field.evidence(jnp.zeros((4, 4)))
    >>> print(evidence.shape, f"{field.slopes(1.0, evidence)[0, 0, 0]:.3f}")
    (1, 4, 4) 0.960
    """

    @property
    @abstractmethod
    def evidence_patterns(self) -> Float[Array, "B ..."]:
        """The patterns, (B, *patch), of odd sides and the site at their centre; `ValueError` where there are none."""

    @abstractmethod
    def slopes(self, t: Time, evidence: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        """Derivatives of each site's posterior mean in the evidence (B, *lattice) of that site, (B, *lattice).

        * `t`: the time, in units of the process's time;
        * `evidence`: (B, *lattice), what `evidence` returns for a configuration.
        """


def slopes_of(mean: Callable[[Array], Array], evidence: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """`slopes` of any posterior mean, by one derivative in reverse mode."""
    value, pull_back = jax.vjp(mean, evidence)
    return pull_back(jnp.ones_like(value))[0]
