"""How near is a posterior over many patterns to the matrix products in it?"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import compiled

import softjax as sj
from softjax._linalg import matmul

PATTERNS, PATCH, PART = 100_000, 7, 128


def products(patterns: jax.Array, seen: jax.Array) -> jax.Array:
    """The overlaps alone, a part of the dictionary at a time: what no posterior can do without."""
    parts = patterns[: PATTERNS // PART * PART].reshape(-1, PART, patterns.shape[1])

    def largest(peak: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
        return jnp.maximum(peak, matmul(seen, part.T)), None

    return jax.lax.scan(largest, jnp.zeros((seen.shape[0], PART)), parts)[0]


def square(a: jax.Array) -> jax.Array:
    return matmul(a, a)


def best(rounds: int, *calls: Callable) -> list[float]:
    """The least time of each, in turn: on a machine that others use, what it takes when they pause."""
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, seen in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            seen.append(time.perf_counter() - start)
    return [min(seen) for seen in times]


@pytest.mark.parametrize("side", [28, 64])
def bench_posterior_against_its_matrix_products(side, versus, benchmark):
    patterns = np.random.default_rng(0).normal(size=(PATTERNS, PATCH, PATCH)).astype(np.float32)
    field, t = sj.PatchField(sj.PatchDictionary(patterns), sj.VP()), jnp.asarray(2.0)
    x, flat = jr.normal(jr.key(1), (side, side)), jnp.asarray(patterns.reshape(PATTERNS, -1))
    ours = compiled(lambda field, t, x: field.denoise(t, x), field, t, x)
    bare = compiled(products, flat, jr.normal(jr.key(2), (side**2, PATCH**2)))
    tangent = compiled(lambda f, t, x: jax.jvp(lambda x: f.denoise(t, x), (x,), (x,))[1], field, t, x)
    large = compiled(square, jr.normal(jr.key(3), (2048, 2048)))
    score_s, bare_s, jvp_s, square_s = best(5, ours.run, bare.run, tangent.run, large.run)
    operations = 2 * PATTERNS * PATCH**2 * side**2
    memory = jax.jit(lambda f, x: f.denoise(2.0, x)).lower(field, x).compile().memory_analysis()
    benchmark.extra_info.update(
        gflops=operations / score_s / 1e9,
        gflops_of_the_products_alone=operations / bare_s / 1e9,
        gflops_of_a_square_product=2 * 2048**3 / square_s / 1e9,
        jvp_s=jvp_s,
        jvp_compile_s=tangent.compile_s,
        temporary_bytes=getattr(memory, "temp_size_in_bytes", None),
    )
    versus("posterior, its products alone", ours, bare, rounds=3, lattice=(side, side), **benchmark.extra_info)
