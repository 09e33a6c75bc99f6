import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

ENGINES = ("diffrax", "scan")
PROCESSES = {"constant": sj.VP(1.3), "linear": sj.VP.linear(0.2, 2.0, 4.0), "edm": sj.EDM()}
PATTERNS = jr.normal(jr.key(3), (3, 2, 3))
TS = sj.log_grid(4.0, 0.05, 40)


def keep(t, x):
    return t, x, jnp.mean(x)


def run(process=PROCESSES["constant"], **options):
    options = {"shape": (2, 3), "observe": keep} | options
    return sj.simulate(sj.EmpiricalField(PATTERNS, process), TS, key=jr.key(7), **options)


@pytest.mark.float32
@pytest.mark.parametrize(
    ("process", "solver"),
    [("constant", "euler"), ("constant", "sea"), ("linear", "euler"), ("linear", "sea"), ("edm", "sea")],
)
def test_engines_follow_the_same_path(process, solver):
    one, other = (run(PROCESSES[process], solver=solver, engine=engine) for engine in ENGINES)
    assert_close(one, other, loosen=20)  # 40 steps of an unstable drift amplify rounding


def test_engines_follow_the_same_flow():
    one, other = (run(kind="flow", engine=engine) for engine in ENGINES)
    assert_close(one, other, loosen=20)
    assert np.all(one.x != run().x)


def test_engines_follow_the_same_path_of_a_patch_field():
    d = sj.PatchDictionary.ising(patch_size=3, num_random=1, p_global=0.7, ndim=1, key=jr.key(3))
    field = sj.PatchField(d, sj.VP())
    one, other = (sj.simulate(field, TS, shape=(20,), key=jr.key(0), engine=engine) for engine in ENGINES)
    assert_close(one, other, loosen=20)


@pytest.mark.parametrize("engine", ENGINES)
def test_observations_stand_on_the_grid_and_include_both_ends(engine):
    x0 = jr.normal(jr.key(1), (2, 3))
    trajectory = run(shape=None, x0=x0, engine=engine)
    times, states, means = trajectory.observed
    np.testing.assert_array_equal(trajectory.ts, TS)
    np.testing.assert_array_equal(times, TS)
    np.testing.assert_array_equal(states[0], x0)
    np.testing.assert_array_equal(states[-1], trajectory.x)
    assert_close(means, np.mean(states, axis=(1, 2)))


def test_observing_does_not_change_the_path():
    whole = run(solver="shark", observe=None)
    assert whole.observed is None
    assert_close(whole.x, run(solver="shark").x, loosen=20)


@pytest.mark.parametrize("engine", ENGINES)
def test_observe_is_called_once_per_grid_point(engine):
    seen = []

    def observe(t, x):
        jax.debug.callback(lambda t: seen.append(float(t)), t)
        return x

    jax.block_until_ready(run(observe=observe, engine=engine))
    jax.effects_barrier()
    assert sorted(seen, reverse=True) == [float(t) for t in TS]


STEP = jnp.asarray([2.0, 1.5], FLOAT)
W, LEVY = jr.normal(jr.key(4), (2, 2, 3))


class Driftless(sj.AbstractField):
    process: sj.AbstractProcess

    def denoise(self, t, x):
        return x


def one_step(replace_noise, field, **options):
    """Start, end and noise amplitudes of the step from t = 2 to 1.5 with given noise, and the drift in between."""
    replace_noise(lambda key, index, step, shape: (W + 0 * step, LEVY + 0 * step))
    process, x0 = field.process, jr.normal(jr.key(0), (2, 3))
    end = sj.simulate(field, STEP, x0=x0, key=jr.key(0), observe=lambda t, x: x, **options).x

    def drift(x):
        return process.damping(2.0) * x + process.beta(2.0) * field.score(2.0, x)

    return x0, end, jnp.sqrt(jax.vmap(process.beta)(STEP)), drift


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_one_step_of_euler_is_the_formula(replace_noise, process, engine):
    x0, end, g, drift = one_step(replace_noise, sj.EmpiricalField(PATTERNS, process), engine=engine)
    assert_close(end, x0 + 0.5 * drift(x0) + g[0] * W)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_step_of_sea_goes_forward_and_counts_the_noise_once(replace_noise, engine):
    # Fails for negative steps and for an identity operator, which diffrax's solver integrates wrongly in silence.
    x0, end, g, drift = one_step(replace_noise, sj.EmpiricalField(PATTERNS, sj.VP(1.3)), engine=engine, solver="sea")
    assert_close(end, x0 + 0.5 * drift(x0 + g[0] * (0.5 * W + LEVY)) + g[0] * W)


@pytest.mark.parametrize(("solver", "engine"), [("sea", "scan"), ("sea", "diffrax"), ("shark", "diffrax")])
def test_noise_that_changes_over_a_step_is_integrated_by_parts(replace_noise, solver, engine):
    # For g linear in time, int g dW = g_1 W - (g_1 - g_0) (W/2 + H), by parts.
    x0, end, g, _ = one_step(replace_noise, Driftless(sj.EDM()), engine=engine, solver=solver)
    assert_close(end - x0, g[1] * W - (g[1] - g[0]) * (0.5 * W + LEVY))
