import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import softjax as sj
from helpers import FLOAT, assert_close

TS = sj.log_grid(3.0, 0.3, 12)


class Traced(sj.AbstractField):
    """A Gaussian field that counts how often JAX traces it."""

    variance: jax.Array
    process: sj.AbstractProcess
    traces: list = eqx.field(static=True)

    def denoise(self, t, x):
        self.traces.append(t)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return alpha * self.variance * x / (alpha**2 * self.variance + sigma**2)


class Counter(list):
    __hash__ = object.__hash__


def traced(variance=0.5, beta=1.0, traces=None):
    return Traced(
        jnp.asarray(variance, FLOAT), sj.VP(jnp.asarray(beta, FLOAT)), Counter() if traces is None else traces
    )


@pytest.mark.parametrize("engine", ["diffrax", "scan"])
@pytest.mark.parametrize("start", [{"shape": (4,)}, {"x0": jnp.ones(4, FLOAT)}], ids=["shape", "x0"])
def test_new_times_keys_starts_and_data_do_not_trace_again(engine, start):
    observed, traces = [], Counter()

    def observe(t, x):
        observed.append(t)
        return x

    def run(field, ts, key, scale):
        options = {name: value * scale if name == "x0" else value for name, value in start.items()}
        return sj.simulate(field, ts, key=key, observe=observe, engine=engine, **options).x

    first = run(traced(traces=traces), TS, jr.key(0), 1)
    once, counted = len(observed), len(traces)
    second = run(traced(0.7, 2.0, traces), 0.9 * TS, jr.key(1), 2)
    assert np.all(first != second)
    assert len(observed) == once
    assert len(traces) == counted + 1  # the check that the field returns the shape of its state


def test_new_keys_and_data_do_not_trace_an_ensemble_again():
    traces = Counter()
    for i in range(3):
        sj.simulate_ensemble(traced(0.5 + i, traces=traces), TS, shape=(4,), num=3, chunk=2, key=jr.key(i))
        counted = len(traces) if i == 0 else counted + 1
        assert len(traces) == counted


def end(x0, variance, engine, kind="sde", solver="euler"):
    field = traced(variance)
    return sj.simulate(field, TS, x0=x0, key=jr.key(0), engine=engine, kind=kind, solver=solver).x


X0 = jnp.asarray([0.3, -1.2, 0.5, 2.0], FLOAT)


@pytest.mark.parametrize("solver", ["euler", "sea"])
@pytest.mark.parametrize("engine", ["diffrax", "scan"])
def test_forward_mode_with_respect_to_the_start_is_the_difference_of_two_paths(engine, solver):
    # The dynamics is affine: with the same noise, a finite difference is the derivative.
    v = jnp.asarray([1.0, 0.5, -0.7, 0.2], FLOAT)
    run = lambda x0: end(x0, 0.5, engine, solver=solver)  # noqa: E731
    _, tangent = jax.jvp(run, (X0,), (v,))
    assert_close(tangent, run(X0 + v) - run(X0), loosen=10)  # a difference of numbers ten times larger


@pytest.mark.parametrize("kind", ["sde", "flow"])
def test_reverse_mode_through_a_scan_is_the_transpose_of_forward_mode(kind):
    run = lambda x0, variance: end(x0, variance, "scan", kind)  # noqa: E731
    primals = (X0, jnp.asarray(0.5, FLOAT))
    tangents = (jnp.asarray([1.0, 0.5, -0.7, 0.2], FLOAT), jnp.asarray(0.3, FLOAT))
    out, forward = jax.jvp(run, primals, tangents)
    _, pull = jax.vjp(run, *primals)
    back = pull(jnp.ones_like(out))
    assert_close(sum(jnp.vdot(b, v) for b, v in zip(back, tangents, strict=True)), jnp.sum(forward))


def test_gradients_with_respect_to_data_agree_between_the_engines():
    slopes = [
        jax.jvp(lambda c: end(X0, c, engine), (jnp.asarray(0.5, FLOAT),), (jnp.ones((), FLOAT),))[1]
        for engine in ("diffrax", "scan")
    ]
    assert_close(*slopes, loosen=5)
    assert np.all(slopes[0] != 0)


def test_simulate_can_be_compiled_and_batched_from_outside():
    inner = eqx.filter_jit(jax.vmap(lambda x0: end(x0, 0.5, "diffrax")))
    batch = jnp.stack([X0, 2 * X0])
    assert_close(inner(batch), jnp.stack([end(x0, 0.5, "diffrax") for x0 in batch]), loosen=5)
