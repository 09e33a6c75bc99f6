"""Does a pulse of guidance cost what it should, the guide's evaluations inside it and nothing outside?"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import compiled

import softjax as sj
from softjax.convert import load_network, shipped

TS = sj.karras_grid(80.0, 0.002, 32)
LABEL, IMAGES = 3, 10


def draw(weight: Any, guide: sj.NetworkField | None) -> jax.Array:
    """Ten images of the EDM2 that ships, from the same noise."""
    field = load_network(shipped("edm2-fashion"), LABEL)
    guided = field if guide is None else sj.GuidedField(field, guide, weight)
    return sj.heun_ensemble(guided, TS, num=IMAGES, key=jr.key(0), shape=(32, 32, 1)).x


@pytest.mark.parametrize("width", [0.0, 1.0, np.inf], ids=["nowhere", "pulse", "everywhere"])
def bench_guided_sampling_against_none(versus, width):
    """The best possible ratio is evaluations without guide over evaluations with it."""
    null = load_network(shipped("edm2-fashion"))
    weight = sj.pulse(4.0, width or 1.0, 4.0 if width else 1.0)
    steps = np.asarray(TS)[:-1]
    inside = np.asarray(weight(jnp.asarray(steps))) != 1
    evaluations = 2 * len(steps) - 1  # each level twice, but for the first
    guided = 2 * inside.sum() - inside[0]
    ours = compiled(
        lambda strength: draw(sj.Pulse(weight.center, weight.width, strength, "sharp"), null), weight.strength
    )
    peer = compiled(lambda _: draw(None, None), weight.strength)
    best = round(float(evaluations / (evaluations + guided)), 3)
    versus("guided sampling against none", ours, peer, rounds=3, images=IMAGES, guided=int(guided), best=best)
