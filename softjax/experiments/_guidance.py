"""Samples of given classes under guidance, and the guidance weights that the pulse experiment compares."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._types import Array, Float, Int, PRNGKeyArray, Times
from softjax.dynamics import heun
from softjax.experiments._judge import Judge, Scores
from softjax.experiments.configs import PulseConfig
from softjax.fields import GuidedField, NetworkField, Pulse, pulse

CONDITIONS = ("none", "constant", "critical", "random")
"""Guidance weights: 1, a constant, a pulse at the critical noise level, an equal pulse at a random one."""


class Sampler(eqx.Module):
    """Draws images of given classes under a guidance weight, and judges them."""

    field: NetworkField
    guide: NetworkField
    judge: Judge
    ts: Times
    shape: tuple[int, ...] = eqx.field(static=True)
    guide_sees_label: bool = eqx.field(static=True)

    def guided(self, weight: Pulse, label: Int[Array, ""]) -> GuidedField:
        """The field of one class."""
        guide = _labelled(self.guide, label) if self.guide_sees_label else self.guide
        return GuidedField(_labelled(self.field, label), guide, weight)

    @eqx.filter_jit
    def __call__(
        self, weight: Pulse, labels: Int[Array, " n"], members: Int[Array, " n"], key: PRNGKeyArray
    ) -> tuple[Array, Scores]:
        """Images (n, h, w, channels) and their scores.

        Member i starts from `jax.random.fold_in(key, i)`; `weight` is one pulse for all, or has a leading axis n.
        """

        def one(weight: Pulse, label: Array, member: Array) -> Array:
            field = self.guided(weight, label)
            return heun(field, self.ts, key=jr.fold_in(key, member), shape=self.shape).x

        images = jax.vmap(one, (0 if weight.center.ndim else None, 0, 0))(weight, labels, members)
        return images, self.judge.scores(images, labels)


class Conditions:
    """The guidance weights of all conditions."""

    def __init__(self, config: PulseConfig, ts: Times, critical: float, key: PRNGKeyArray):
        self.config, self.ts, self.key = config, ts, key
        self.critical = pulse(critical, config.width, config.strength, config.edges)
        self.dose = (config.strength - 1) * config.width
        self.centers = np.geomspace(config.noise.sigma_max, config.noise.sigma_min, config.num_centers)

    def random_centers(self, members: np.ndarray) -> Float[Array, " n"]:
        """Noise levels of the random pulses of some trials, log-uniform over the sampled range."""
        keys = jax.vmap(lambda member: jr.fold_in(self.key, member))(jnp.asarray(members))
        low, high = np.log([self.config.noise.sigma_min, self.config.noise.sigma_max])
        return jnp.exp(jax.vmap(lambda key: jr.uniform(key, (), minval=low, maxval=high))(keys))

    def of(self, members: np.ndarray) -> Iterator[Pulse]:
        """The weights in the order of `CONDITIONS`: one for all trials, or one for each."""
        constant = pulse(1.0, np.inf, 1.0)
        yield constant
        yield constant.with_dose(self.dose, self.ts)
        yield self.critical
        same = [jnp.full(members.size, float(value)) for value in (self.config.width, self.config.strength)]
        yield Pulse(self.random_centers(members), same[0], same[1], self.config.edges)

    def of_curve(self) -> Iterator[Pulse]:
        """Smooth pulses of equal dose at the centres of the curve."""
        for center in self.centers:
            yield pulse(center, self.config.width, self.config.strength, "smooth").with_dose(self.dose, self.ts)


def _labelled(field: NetworkField, label: Int[Array, ""]) -> NetworkField:
    return NetworkField(field.network, field.process, field.prediction, label)
