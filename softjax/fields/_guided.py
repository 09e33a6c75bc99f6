r"""Guidance of one field by another, at all noise levels or in a pulse (theory.md section 7; App. F)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from softjax._checks import concrete, output_like, public, require, require_positive
from softjax._repr import fields, number, readable
from softjax._types import Array, ArrayLike, Configuration, Float, Time, Times
from softjax.fields._base import AbstractField, channels_of
from softjax.processes import AbstractProcess

Edges = Literal["sharp", "smooth"]


class Pulse(eqx.Module):
    r"""Guidance weight of `pulse`: 1 everywhere but near `center`, where it is `strength`.

    * `center`: a noise level, in units of the data;
    * `width`: of the window, in units of $\ln\sigma$;
    * `strength`: the weight in the window, without unit;
    * `edges`: "sharp", or "smooth".

    Its dose is the integral of $w - 1$ over $\ln\sigma$, (strength - 1) width for both kinds of edges. Raises
    `ValueError` for a center or width that is not positive.

    >>> weight = sj.Pulse(center=1.0, width=2.0, strength=3.0)
    >>> print(weight([0.1, 1.0, 10.0]))
    [1. 3. 1.]
    """

    center: Array
    """Noise level in the middle, units of the data."""
    width: Array
    """Extent in ln sigma: all of it with sharp edges, at half of the height with smooth ones."""
    strength: Array
    """Largest weight."""
    edges: Edges = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        return fields(self)

    @public(infinite=("width",))
    def __init__(self, center: ArrayLike, width: ArrayLike, strength: ArrayLike, edges: Edges = "sharp"):
        require_positive("center", center)
        require_positive("width", width)
        self.center, self.width, self.strength = (jnp.asarray(value) for value in (center, width, strength))
        self.edges = edges

    @public
    def __call__(self, sigma: Float[Array, "*levels"]) -> Float[Array, "*levels"]:
        """The weight at these noise levels.

        * `sigma`: one noise level or an array of them, in units of the data.
        """
        return 1 + (self.strength.astype(sigma.dtype) - 1) * self.shape(sigma)

    @public
    def shape(self, sigma: Float[Array, "*levels"]) -> Float[Array, "*levels"]:
        """The pulse with height 1 above 0.

        * `sigma`: one noise level or an array of them, in units of the data.
        """
        center, width = self.center.astype(sigma.dtype), self.width.astype(sigma.dtype)
        distance = jnp.abs(jnp.log(sigma / center)) / width
        if self.edges == "sharp":
            return (distance <= 0.5).astype(sigma.dtype)
        return jnp.where(distance < 1, 0.5 + 0.5 * jnp.cos(math.pi * jnp.minimum(distance, 1)), 0)

    @public
    def with_dose(self, dose: ArrayLike, ts: Times) -> "Pulse":
        r"""The pulse with the strength that gives it `dose` on the levels `ts` of a sampler.

        * `dose`: $\int(w - 1)\,d\ln\sigma$, without unit;
        * `ts`: (levels,), decreasing.

        Every positive level stands for half of the intervals of $\ln\sigma$ beside it. So pulses that the grid samples
        coarsely, or that reach beyond its ends, act as much as others. Raises `ValueError` for a pulse that contains
        no level.
        """
        area = jnp.sum(self.shape(ts) * log_intervals(ts), where=ts > 0)
        known = concrete(area)
        require(known is None or bool(known > 0), "this pulse contains no noise level of ts: widen it.")
        return eqx.tree_at(lambda p: p.strength, self, 1 + jnp.asarray(dose, area.dtype) / area)


@public(infinite=("width",))
def pulse(center: ArrayLike, width: ArrayLike, strength: ArrayLike, edges: Edges = "sharp") -> Pulse:
    r"""A guidance weight that acts in a window of $\ln\sigma$ only (theory.md section 7; App. F.4).

    * `center`: a noise level, in units of the data;
    * `width`: of the window, in units of $\ln\sigma$; infinite is constant guidance;
    * `strength`: the weight in the window, without unit; 1 is no guidance;
    * `edges`: "sharp", or "smooth".

    With "sharp" edges it is `strength` where $|\ln\sigma - \ln\mathrm{center}| \le \mathrm{width}/2$ and 1 elsewhere;
    with "smooth" ones a raised cosine of the same dose, twice as wide at its foot. Raises `ValueError` for a center or
    width that is not positive.

    >>> weight = sj.pulse(center=1.0, width=2.0, strength=3.0, edges="smooth")
    >>> print(np.asarray(weight([0.1, 1.0, 2.0])).round(3))
    [1.    3.    2.464]
    """
    return Pulse(center, width, strength, edges)


@public
def log_intervals(ts: Times) -> Float[Array, " times"]:
    """Share of ln sigma that every level of a decreasing grid stands for, 0 where a level is 0.

    * `ts`: (levels,), decreasing, in units of the data.

    >>> print(np.asarray(sj.fields.log_intervals([4.0, 2.0, 1.0, 0.0])).round(3))
    [0.347 0.693 0.347 0.   ]
    """
    logs = jnp.log(jnp.where(ts > 0, ts, 1))
    steps = jnp.where(ts[1:] > 0, logs[:-1] - logs[1:], 0)
    return 0.5 * (jnp.pad(steps, (0, 1)) + jnp.pad(steps, (1, 0)))


class GuidedField(AbstractField):
    r"""A field pushed away from another, $D = D_g + w (D_c - D_g)$ (theory.md section 7).

    * `field`: gives $D_c$;
    * `guide`: gives $D_g$: for classifier-free guidance the same network without its label, for autoguidance a worse
      one;
    * `weight`: w, a number, or a function of the noise level $\sigma/\alpha$ in units of the data, such as a `pulse`.

    A weight of 1 is `field`, 0 is `guide`. Where w = 1, the guide is not evaluated (unless a `jax.vmap` runs over
    weights, or a derivative is taken by them). Raises `ValueError` for fields of different processes or numbers of
    channels.

    >>> up, white = sj.EmpiricalField(jnp.ones((1, 4, 4)), sj.VP()), sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> field = sj.GuidedField(up, white, weight=2.0)
    >>> print(f"{field.denoise(1.0, jnp.zeros((4, 4)))[0, 0]:.3f}")
    2.000
    """

    field: AbstractField
    guide: AbstractField
    weight: Array | Callable[[Array], Any]
    process: AbstractProcess

    @readable
    def __repr__(self) -> list[str]:
        return [repr(self.field), f"guide={self.guide!r}", f"weight={number(self.weight)}"]

    @public
    def __init__(self, field: AbstractField, guide: AbstractField, weight: ArrayLike | Callable[[Array], Any]):
        _require_same_process(field.process, guide.process)
        channels_of(field, channels_of(guide))
        self.field = field
        self.guide = guide
        self.process = field.process
        self.weight = weight if callable(weight) else jnp.asarray(weight)

    @property
    def channels(self) -> int | None:
        """The number of channels of the two fields."""
        return channels_of(self.field, channels_of(self.guide))

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Guided posterior mean, shape of `x`."""
        sigma = jnp.asarray(self.process.noise_to_signal(t), x.dtype)
        weight = output_like("weight", self.weight(sigma) if callable(self.weight) else self.weight, ())
        weight = weight.astype(x.dtype)
        denoised = self.field.denoise(t, x)

        def guided() -> Configuration:
            other = self.guide.denoise(t, x)
            return other + weight * (denoised - other)

        return jax.lax.cond(_without_guide(weight), lambda: denoised, guided)


@jax.custom_jvp
def _without_guide(weight: Array) -> Array:
    """Whether the guide has no part: the weight is 1, and nothing is derived by it."""
    return weight == 1


@partial(_without_guide.defjvp, symbolic_zeros=True)
def _never_where_derived(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    (weight,), (tangent,) = primals, tangents
    known = weight == 1 if isinstance(tangent, SymbolicZero) else jnp.zeros(jnp.shape(weight), bool)
    return known, np.zeros(jnp.shape(weight), jax.dtypes.float0)


def _require_same_process(ours: AbstractProcess, theirs: AbstractProcess) -> None:
    """Refuses two processes that are known to differ."""
    (leaves, kind), (others, other_kind) = (jax.tree.flatten(process) for process in (ours, theirs))
    known = [(concrete(a), concrete(b)) for a, b in zip(leaves, others, strict=False)]
    same = kind == other_kind and all(a is None or b is None or np.array_equal(a, b) for a, b in known)
    require(same, f"field and guide must have the same process, got {ours} and {theirs}.")
