from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

TS = sj.log_grid(3.0, 0.3, 12)


class Traces:
    """What was traced; hashable, so that it may stand in a static field."""

    def __init__(self):
        self.seen = []


class Traced(sj.AbstractField):
    """A Gaussian field that counts how often JAX traces it."""

    variance: jax.Array
    process: sj.AbstractProcess
    traces: Traces = eqx.field(static=True)

    def denoise(self, t, x):
        self.traces.seen.append(t)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return alpha * self.variance * x / (alpha**2 * self.variance + sigma**2)


def traced(variance=0.5, beta=1.0, traces=None):
    variance, process = jnp.asarray(variance, FLOAT), sj.VP(jnp.asarray(beta, FLOAT))
    return Traced(variance=variance, process=process, traces=traces or Traces())


@pytest.mark.parametrize("engine", ["diffrax", "scan"])
@pytest.mark.parametrize("start", [{"shape": (4,)}, {"x0": jnp.ones(4, FLOAT)}], ids=["shape", "x0"])
def test_new_times_keys_starts_and_data_do_not_trace_again(engine, start):
    observed, traces = [], Traces()

    def observe(t, x):
        observed.append(t)
        return x

    def run(field, ts, key, scale):
        options = {name: value * scale if name == "x0" else value for name, value in start.items()}
        return sj.simulate(field, ts, key=key, observe=observe, engine=engine, **options).x

    first = run(traced(traces=traces), TS, jr.key(0), 1)
    once, counted = len(observed), len(traces.seen)
    second = run(traced(0.7, 2.0, traces), 0.9 * TS, jr.key(1), 2)
    assert np.all(first != second)
    assert len(observed) == once
    assert len(traces.seen) == counted


def test_new_keys_and_data_do_not_trace_an_ensemble_again():
    traces = Traces()
    counted = []
    for i in range(3):
        sj.simulate_ensemble(traced(0.5 + i, traces=traces), TS, shape=(4,), num=3, chunk=2, key=jr.key(i))
        counted.append(len(traces.seen))
    assert counted == [counted[0]] * 3


def end(x0, variance, engine, **options: Any):
    return sj.simulate(traced(variance), TS, x0=x0, key=jr.key(0), engine=engine, **options).x


X0 = jnp.asarray([0.3, -1.2, 0.5, 2.0], FLOAT)


@pytest.mark.parametrize("solver", ["euler", "sea"])
@pytest.mark.parametrize("engine", ["diffrax", "scan"])
def test_forward_mode_with_respect_to_the_start_is_the_difference_of_two_paths(engine, solver):
    # The dynamics is affine: with the same noise, a finite difference is the derivative.
    v = jnp.asarray([1.0, 0.5, -0.7, 0.2], FLOAT)

    def run(x0):
        return end(x0, 0.5, engine, solver=solver)

    _, tangent = jax.jvp(run, (X0,), (v,))
    assert_close(tangent, run(X0 + v) - run(X0), loosen=10)  # a difference of numbers ten times larger


@pytest.mark.parametrize("kind", ["sde", "flow"])
def test_reverse_mode_through_a_scan_is_the_transpose_of_forward_mode(kind):
    def run(x0, variance):
        return end(x0, variance, "scan", kind=kind)

    primals = (X0, jnp.asarray(0.5, FLOAT))
    tangents = (jnp.asarray([1.0, 0.5, -0.7, 0.2], FLOAT), jnp.asarray(0.3, FLOAT))
    out, forward = jax.jvp(run, primals, tangents)
    _, pull = jax.vjp(run, *primals)
    back = pull(jnp.ones_like(out))
    assert_close(sum(jnp.vdot(b, v) for b, v in zip(back, tangents, strict=True)), jnp.sum(forward))


def test_gradients_with_respect_to_data_agree_between_the_engines():
    variance, one = jnp.asarray([0.5, 1.0], FLOAT)
    slopes = [
        jax.jvp(lambda c, engine=engine: end(X0, c, engine), (variance,), (one,))[1] for engine in ("diffrax", "scan")
    ]
    assert_close(*slopes, loosen=5)
    assert np.all(slopes[0] != 0)


def test_simulate_can_be_compiled_and_batched_from_outside():
    inner = eqx.filter_jit(jax.vmap(lambda x0: end(x0, 0.5, "diffrax")))
    batch = jnp.stack([X0, 2 * X0])
    assert_close(inner(batch), jnp.stack([end(x0, 0.5, "diffrax") for x0 in batch]), loosen=5)
