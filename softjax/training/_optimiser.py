"""AdamW with clipped gradients, a learning rate that rises, stays and falls, and the average of the weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from softjax._checks import require
from softjax._types import Array
from softjax.training.configs import Optimisation


def optimiser(config: Optimisation, num_steps: int) -> optax.GradientTransformation:
    """The transformation of gradients into steps, for a training of `num_steps`."""
    require(0 <= config.cooldown <= 1, f"cooldown must be a fraction, got {config.cooldown}.")
    require(config.learning_rate > 0, f"learning_rate must be positive, got {config.learning_rate}.")
    last = max(round(config.cooldown * num_steps), 1)
    warmup = min(config.warmup_steps, max(num_steps - last, 1))
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup),
            optax.linear_schedule(config.learning_rate, 0.0, last),
        ],
        [max(num_steps - last, warmup)],
    )
    transformation = optax.chain(
        optax.clip_by_global_norm(config.gradient_clipping), optax.adamw(schedule, weight_decay=config.weight_decay)
    )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):  # strict promotion refuses what optax does
            return transformation.update(updates, state, params)

    return optax.GradientTransformation(transformation.init, update)


def averaged(average: Any, network: Any, step: Array, exponent: float) -> Any:
    """The power-function average after one more step, 0 the first: older weights count as (their step)^`exponent`."""
    n = step.astype(jnp.result_type(float))
    keep = (n / (n + 1)) ** (exponent + 1)
    return jax.tree.map(lambda a, w: a + (1 - keep).astype(a.dtype) * (w - a), average, network)


def average_exponent(width: float) -> float:
    """Exponent of the average whose weights have this standard deviation in units of the training so far.

    Karras et al. 2024, arXiv 2312.02696, section 3.1; widths lie below 0.28, that of the plain mean, and 0 keeps the
    last weights alone. Raises `ValueError` for others.
    """
    require(0 <= width < 12**-0.5, f"average_width must be in [0, 0.28], got {width}.")
    if width == 0:
        return math.inf
    # width^2 (g + 2)^2 (g + 3) = g + 1
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(np.max(roots.real))
