"""How far is softjax from what the machine can do?

The machine's limits are measured too: a matrix product, multiply-adds and exponentials on arrays in the cache, a copy
of an array out of it, normal random numbers. A program's bound is the time that its necessary operations would take at
these rates, one kind after the other; the share reached is the bound over the measured time, both in one run.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import Program, compiled

import softjax as sj
from softjax._linalg import matmul
from softjax.convert import load_network, shipped
from softjax.training._speed import operations

PATCH, PATTERNS, EXPONENTIALS, CHAIN = 5, 5, 10, 256  # patterns: one of each mirror pair, two exponentials for each


@functools.lru_cache
def patch_field() -> sj.PatchField:
    return sj.PatchField(sj.PatchDictionary.ising(PATCH, key=jr.key(0)), sj.VP())


def over_states(function: Callable, xs: jax.Array) -> Program:
    return compiled(lambda xs: jax.vmap(function)(xs), xs)


def multiply_adds(x: jax.Array) -> jax.Array:
    """Eight chains that do not wait for each other."""
    parts = [x + i for i in range(8)]
    for _ in range(CHAIN // 8):
        parts = [part * 0.999 + 0.001 for part in parts]
    return sum(parts[1:], parts[0])


def exponentials(x: jax.Array) -> jax.Array:
    return sum((jnp.exp(-(i + 1) * x) for i in range(1, 8)), jnp.exp(-x))


def limits(xs: jax.Array, large: int, inner: int) -> dict[str, tuple[Program, float]]:
    """Programs at a limit, with the units of work of each: operations, bytes or numbers."""
    big, square = jnp.ones(large), jr.normal(jr.key(3), (inner, inner))
    keys = jr.split(jr.key(4), len(xs))
    return {
        "multiply-adds": (compiled(multiply_adds, xs), CHAIN * xs.size),
        "exponentials": (compiled(exponentials, xs), 8 * xs.size),
        "matrix product": (compiled(lambda a: matmul(a, a), square), inner**3),
        "bytes": (compiled(lambda a: a + 1, big), 2 * big.nbytes),
        "normal numbers": (over_states(lambda key: jr.normal(key, xs.shape[1:]), keys), xs.size),
    }


def work(sites: int) -> dict[str, dict[str, int]]:
    """What each program can't do without, on so many sites in all."""
    overlaps, pairs = PATTERNS * PATCH**2 * sites, PATTERNS * (PATTERNS + 1) // 2
    score = {"multiply-adds": overlaps, "exponentials": EXPONENTIALS * sites}
    return {
        "score": score,
        "bare step": {**score, "normal numbers": sites},
        "probe, 25 directions": {**score, "multiply-adds": overlaps + 2 * pairs * sites},
    }


def bench_patch_model_against_its_bounds(measure, record, size):
    """The three parts of the default experiment."""
    side, batch = size((16, 2), (64, 8), (512, 64))
    field, shape = patch_field(), (side, side)
    xs, t, h = jr.normal(jr.key(1), (batch, *shape)), jnp.asarray(2.0), 0.01
    probe = sj.ModeProbe(field, sj.fourier_modes(shape, 6))

    def step(key: jax.Array, x: jax.Array) -> jax.Array:
        return x + h * sj.reverse_drift(field, t, x) + h**0.5 * jr.normal(key, shape)

    keys = jr.split(jr.key(2), batch)
    programs = {
        "score": over_states(lambda x: field.score(t, x), xs),
        "bare step": compiled(lambda xs: jax.vmap(step)(keys, xs), xs),
        "probe, 25 directions": over_states(lambda x: probe(t, x), xs),
    }
    known = limits(xs, *size((1000, 64), (2**25, 2048), (2**29, 8192)))
    times = measure(size(3, 150, 50), *programs.values(), *(program for program, _ in known.values()))
    rates = {name: units / seconds.median for (name, (_, units)), seconds in zip(known.items(), times[3:], strict=True)}
    for name, (_, units) in known.items():
        record(series="limit", what=name, rate=rates[name], units=units)
    for (name, needed), seconds in zip(work(xs.size).items(), times, strict=False):
        parts = {kind: number / rates[kind] for kind, number in needed.items()}
        bound = sum(parts.values())
        about = {"what": name, "side": side, "batch": batch}
        record(series="share", **about, seconds=seconds, bound_s=bound, parts=parts, share=bound / seconds.median)


def bench_network_against_matrix_products(measure, record, size):
    """The shipped networks: a forward pass of a batch, and with one tangent."""
    batch, inner = size((2, 64), (16, 2048), (512, 8192))
    names, programs, needed = [], [], []
    for name, shape in (("fashion-binary", (28, 28)), ("edm2-fashion", (32, 32, 1))):
        field: Any = load_network(shipped(name))
        xs, t = jr.normal(jr.key(0), (batch, *shape)), jnp.asarray(1.0)

        def forward(field, xs, t=t):
            return jax.vmap(lambda x: field.denoise(t, x))(xs)

        def tangent(field, xs, forward=forward):
            return jax.jvp(lambda xs: forward(field, xs), (xs,), (xs,))

        multiply_adds = batch * operations(lambda field, x, t=t: field.denoise(t, x), field, xs[0]) / 2
        names += [f"{name}, forward", f"{name}, forward and JVP"]
        programs += [compiled(forward, field, xs), compiled(tangent, field, xs)]
        needed += [multiply_adds, 2 * multiply_adds]
    square = jr.normal(jr.key(3), (inner, inner))
    product = compiled(lambda a: a @ a, square)
    *times, limit = measure(size(1, 5, 10), *programs, product)
    for name, multiply_adds, seconds in zip(names, needed, times, strict=True):
        bound = multiply_adds * limit.median / inner**3
        about = {"what": name, "batch": batch, "parts": {"matrix product": bound}}
        record(series="share", **about, seconds=seconds, bound_s=bound, share=bound / seconds.median)


def products_alone(flat: jax.Array, seen: jax.Array) -> jax.Array:
    """The overlaps with a dictionary, some patterns at a time: what no posterior can do without."""
    parts = flat[: len(flat) // 128 * 128].reshape(-1, 128, flat.shape[1])

    def largest(peak: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
        return jnp.maximum(peak, matmul(seen, part.T)), None

    return jax.lax.scan(largest, jnp.zeros((seen.shape[0], 128)), parts)[0]


@pytest.mark.parametrize("side", [28, 64])
def bench_large_dictionary_against_matrix_products(measure, record, size, side):
    """A posterior over 10^5 patterns of 7 x 7, streamed, against its own products and against a square one."""
    count, inner = size((500, 64), (100_000, 2048), (100_000, 8192))
    patterns = np.random.default_rng(0).normal(size=(count, 7, 7)).astype(np.float32)
    field, t = sj.PatchField(sj.PatchDictionary(patterns), sj.VP(), route="einsum"), jnp.asarray(2.0)
    x, flat = jr.normal(jr.key(1), (side, side)), jnp.asarray(patterns.reshape(count, -1))
    score = compiled(lambda field, x: field.score(t, x), field, x)
    bare = compiled(products_alone, flat, jr.normal(jr.key(2), (side**2, 49)))
    square = compiled(lambda a: matmul(a, a), jr.normal(jr.key(3), (inner, inner)))
    ours, products, limit = measure(size(1, 3, 10), score, bare, square)
    bound = count * 49 * side**2 * limit.median / inner**3
    record(
        series="dictionary",
        patterns=count,
        side=side,
        seconds=ours,
        products_s=products,
        bound_s=bound,
        share=bound / ours.median,
        share_of_products=products.median / ours.median,
        compile_s=score.compile_s,
        temporary_bytes=score.temporary_bytes,
    )


def bench_random_numbers(measure, record, size):
    """Normal numbers of one step of all states: ways to draw them."""
    side, batch, steps = size((16, 2, 4), (64, 8, 16), (512, 64, 16))
    keys, shape = jr.split(jr.key(0), batch), (side, side)

    def each(impl: str) -> Program:
        return compiled(
            lambda seeds: jax.vmap(lambda seed: jr.normal(jr.key(seed, impl=impl), shape))(seeds), jnp.arange(batch)
        )

    def folded(keys: jax.Array) -> jax.Array:
        def step(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
            return total + jax.vmap(lambda key: jr.normal(jr.fold_in(key, index), shape))(keys), None

        return jax.lax.scan(step, jnp.zeros((batch, *shape)), jnp.arange(steps))[0]

    def at_once(keys: jax.Array) -> jax.Array:
        return jnp.sum(jax.vmap(lambda key: jr.normal(key, (steps, *shape)))(keys), axis=1)

    ways = {
        "threefry, a key for each state and step (softjax)": (compiled(folded, keys), steps),
        "threefry, all steps of a state at once": (compiled(at_once, keys), steps),
        "threefry, one key for all states": (compiled(lambda key: jr.normal(key, (batch, *shape)), jr.key(1)), 1),
        "threefry, bits alone": (over_states(lambda key: jr.bits(key, shape), keys), 1),
        "rbg": (each("rbg"), 1),
        "unsafe_rbg": (each("unsafe_rbg"), 1),
    }
    times = measure(size(3, 60, 30), *(program for program, _ in ways.values()))
    for (name, (_, number)), seconds in zip(ways.items(), times, strict=True):
        record(series="random", what=name, nanoseconds=1e9 * seconds.median / (number * batch * side**2))
