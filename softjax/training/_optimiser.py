"""AdamW with clipped gradients, a learning rate that rises, stays and falls, and the average of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
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


def averaged(average: Any, network: Any, step: Array, decay: float) -> Any:
    """The exponential average after one more step; over the first steps it forgets faster, as (1 + n)/(10 + n)."""
    n = step.astype(jnp.result_type(float))
    keep = jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda a, w: a + (1 - keep).astype(a.dtype) * (w - a), average, network)
