"""Small units of work that the tests of the engine share, importable by the processes that they start."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax.sweeps import Sweep, Unit, measured


class Path(eqx.Module):
    value: jnp.ndarray = measured(("time",), "data", "a random walk")
    mean: jnp.ndarray = measured(units="data")


class Walk(Unit):
    """A random walk of some steps."""

    scale: float
    steps: int = eqx.field(static=True)

    def __call__(self, member, key):
        steps = self.scale * jr.normal(jr.fold_in(key, member), (self.steps,))
        return Path(jnp.cumsum(steps), jnp.mean(steps))


class Reciprocal(Unit):
    """Not finite where its number is zero."""

    number: float

    def __call__(self, member, key):
        return {"reciprocal": 1 / jnp.asarray(self.number), "index": member}


def walks(members=5, seed=0, steps=(4, 6), **options):
    axes = {"scale": np.linspace(1, 2, 3), "steps": list(steps)}
    return Sweep(Walk, axes, members=members, key=jr.key(seed), **options)


def one_cell(members=12, seed=0):
    return Sweep(Walk(1.5, 4), members=members, key=jr.key(seed), dim="walk")
