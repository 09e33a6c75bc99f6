"""Samples of given classes under guidance, and the guidance weights that are compared."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Times
from softjax.dynamics import heun
from softjax.experiments._shared.judge import Judge, Scores
from softjax.experiments.pulse.config import Config
from softjax.fields import GuidedField, NetworkField, Pulse, pulse

CONDITIONS = ("none", "constant", "critical", "random", "null")
"""Guidance weights: 1, a constant, a pulse at the critical noise level, equal ones at a random level and at the one
that the Gaussian null predicts."""


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
        guide = self.guide.with_label(label) if self.guide_sees_label else self.guide
        return GuidedField(self.field.with_label(label), guide, weight)

    def __call__(self, weight: Pulse, label: Int[Array, ""], key: PRNGKeyArray) -> tuple[Configuration, Scores]:
        """An image (h, w, channels) and its scores."""
        image = heun(self.guided(weight, label), self.ts, key=key, shape=self.shape).x
        scores = self.judge.scores(image[None], label[None])
        return image, jax.tree.map(lambda score: score[0], scores)

    def path(self, weight: Pulse, label: Int[Array, ""], key: PRNGKeyArray) -> Array:
        """States (times, h, w, channels) on the positive noise levels."""
        field = self.guided(weight, label)
        return heun(field, self.ts, key=key, shape=self.shape, observe=lambda t, x: x).observed


class Conditions(eqx.Module):
    """The guidance weights of all conditions."""

    constant: Pulse
    critical: Pulse
    null: Pulse
    curve: Pulse
    """Smooth pulses of equal dose at the centres of the response curve, a leading axis over these."""
    key: PRNGKeyArray
    range: Float[Array, "2"]
    """Logarithms of the smallest and the largest noise level."""

    def random_center(self, member: Int[Array, ""]) -> Float[Array, ""]:
        """Noise level of the random pulse of a trial, log-uniform over the sampled range."""
        key = jr.fold_in(self.key, member)
        return jnp.exp(jr.uniform(key, (), minval=self.range[0], maxval=self.range[1]))

    def of(self, member: Int[Array, ""]) -> Pulse:
        """The weights of a trial in the order of `CONDITIONS`, a leading axis over these."""
        critical = self.critical
        random = Pulse(self.random_center(member), critical.width, critical.strength, critical.edges)
        none = Pulse(1.0, np.inf, 1.0, critical.edges)
        dtype = critical.center.dtype
        return jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf, dtype) for leaf in leaves]),
            *(none, self.constant, critical, random, self.null),
        )


def dose(config: Config) -> float:
    """Integral of w - 1 over ln sigma of every guided condition."""
    return (config.strength - 1) * config.width


def conditions(config: Config, ts: Times, critical: float, null: float, key: PRNGKeyArray) -> Conditions:
    """The weights of a configuration, for noise levels `ts`, a critical one and that of the null."""
    centers = np.geomspace(config.noise.sigma_max, config.noise.sigma_min, config.num_centers)
    smooth = [pulse(center, config.width, config.strength, "smooth").with_dose(dose(config), ts) for center in centers]
    return Conditions(
        constant=pulse(1.0, np.inf, 1.0, config.edges).with_dose(dose(config), ts),
        critical=pulse(critical, config.width, config.strength, config.edges),
        null=pulse(null, config.width, config.strength, config.edges),
        curve=jax.tree.map(lambda *leaves: jnp.stack(leaves), *smooth),
        key=key,
        range=jnp.log(jnp.asarray([config.noise.sigma_min, config.noise.sigma_max])),
    )
