"""How fast a training runs, against how fast its device multiplies matrices."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr


def matmul_rate(repeats: int = 5) -> float:
    """Measured floating-point operations per second of a large square matrix product in the default precision."""
    size = 2048 if jax.default_backend() == "cpu" else 8192  # milliseconds: much longer than a call takes to begin
    a = jr.normal(jr.key(0), (size, size))
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    jax.block_until_ready(product(a, a))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(a, a))
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def operations(function: Any, *arguments: Any) -> float:
    """Floating-point operations of one call, as XLA counts them; loops count once."""
    analysis: Any = jax.jit(function).lower(*arguments).cost_analysis()
    return float(analysis["flops"])
