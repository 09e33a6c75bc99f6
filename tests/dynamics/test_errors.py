from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, needs_x64

import softjax as sj
from softjax.dynamics._simulate import finished

FIELD = sj.PatchField(sj.PatchDictionary.two_pattern(patch_size=3), sj.VP())
EDM_FIELD = sj.PatchField(sj.PatchDictionary.two_pattern(patch_size=3), sj.EDM())
TS = sj.log_grid(3.0, 0.3, 4)


def run(field: sj.AbstractField = FIELD, ts=TS, **options: Any):
    return sj.simulate(field, ts, key=jr.key(0), **{"shape": (4, 4), **options})


def run_ensemble(**options: Any):
    return sj.simulate_ensemble(FIELD, TS, key=jr.key(0), **{"shape": (4, 4), "num": 2, **options})


@needs_x64
@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_times_that_are_one_in_the_precision_of_the_state_are_refused(solver):
    field = sj.PatchField(sj.PatchDictionary(np.ones((1, 3, 3), np.float32)), sj.VP(np.float32(1)))
    ts, x0 = 0.5 * jnp.asarray([1.0, 1 - 1e-9, 0.5]), jnp.zeros((4, 4), jnp.float32)
    with pytest.raises(ValueError, match=r"ts in float32 must decrease strictly.*got 0\.5 followed by 0\.5"):
        sj.simulate(field, ts, key=jr.key(0), x0=x0, solver=solver)


@pytest.mark.parametrize(
    ("ts", "message"),
    [
        ([3.0, 1.0, 1.0, 0.5], "must decrease strictly.*got 1 followed by 1 at index 1"),
        ([0.3, 1.0, 3.0], "must decrease strictly.*log_grid"),
        ([3.0, 1.0, 0.0], "under VP the score diverges at t = 0.*small positive time, got 0"),
        ([3.0, 1.0, -0.1], "ts must not be negative"),
        ([3.0, np.nan, 0.5], "ts must be finite, got 1 NaN"),
        ([np.inf, 1.0, 0.5], "ts must be finite"),
        ([3.0], "at least two grid points, got 1"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_grids_are_refused(ts, message):
    with pytest.raises(ValueError, match=message):
        run(ts=jnp.asarray(ts, FLOAT))


@pytest.mark.usefixtures("without_type_checks")
def test_a_batch_of_grids_is_refused():
    with pytest.raises(ValueError, match=r"ts must be one-dimensional, got shape \(2, 5\)"):
        run(ts=jnp.stack([TS, TS]))


@pytest.mark.parametrize("solver", ["sea", dfx.Heun()])
def test_sigma_zero_is_for_euler_alone(solver):
    with pytest.raises(ValueError, match="sigma = 0 only with solver 'euler'"):
        run(field=EDM_FIELD, ts=sj.karras_grid(num_steps=4), solver=solver)
    assert np.all(np.isfinite(run(field=EDM_FIELD, ts=sj.karras_grid(num_steps=4)).x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": None}, "give either shape or x0, and not both"),
        ({"x0": jnp.ones((4, 4), FLOAT)}, "give either shape or x0, and not both"),
        ({"shape": ()}, "shape must be a lattice"),
        ({"shape": (4, 0)}, "shape must be a lattice"),
        ({"shape": (2, 4, 4)}, r"one configuration with 2 lattice axes, got shape \(2, 4, 4\).*jax.vmap"),
        ({"shape": None, "x0": jnp.ones((2, 4, 4), FLOAT)}, "one configuration with 2 lattice axes.*jax.vmap"),
        ({"shape": None, "x0": jnp.full((4, 4), np.nan, FLOAT)}, "x0 must be finite, got 16 NaN"),
        ({"shape": (4, 2)}, r"the patch, \(3, 3\), must fit on the lattice.*smaller patch or a larger lattice"),
        ({"kind": "ode"}, "kind must be one of 'sde', 'flow'; got 'ode'"),
        ({"engine": "numpy"}, "engine must be one of 'diffrax', 'scan'; got 'numpy'"),
        ({"solver": "heun"}, "solver must be one of 'euler', 'sea', 'shark', 'dpmpp_2m'; got 'heun'"),
        ({"engine": "scan", "solver": "shark"}, "engine 'scan' offers 'euler', 'sea' and 'dpmpp_2m'; got 'shark'"),
        ({"engine": "scan", "solver": dfx.Heun()}, "engine 'scan' offers 'euler', 'sea' and 'dpmpp_2m'"),
        ({"kind": "flow", "solver": "sea"}, "'sea' is for additive noise.*a diffrax ODE solver"),
        ({"kind": "flow", "solver": "shark"}, "'shark' is for additive noise"),
        ({"solver": dfx.ShOULD()}, "ShOULD needs space-time-time Levy areas.*'sea' and 'shark'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must be at least 1, got 0"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"shape": None}, "give either shape or x0"),
        (
            {"shape": None, "x0": jnp.ones((3, 4, 4), FLOAT)},
            r"x0 must have shape \(num = 2, \*lattice\), got \(3, 4, 4\)",
        ),
        ({"shape": None, "x0": jnp.ones((2,), FLOAT)}, r"x0 must have shape \(num = 2, \*lattice\), got \(2,\)"),
        ({"shape": None, "x0": jnp.ones((2, 4, 4), FLOAT).at[1].set(np.nan)}, "x0 must be finite, got 16 NaN"),
        ({"solver": "heun"}, "solver must be one of"),
    ],
)
def test_bad_ensembles_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run_ensemble(**options)


class Custom(sj.AbstractField):
    """A user's denoiser."""

    f: Callable
    process: sj.AbstractProcess

    def denoise(self, t, x):
        return self.f(x)


def test_a_field_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"must return the shape of its configuration, \(4, 4\); got \(\)"):
        run(field=Custom(f=jnp.sum, process=sj.VP()))


@pytest.mark.parametrize("engine", ["diffrax", "scan"])
def test_a_trajectory_that_blows_up_is_reported(engine):
    with pytest.raises(FloatingPointError, match="the final state is not finite.*steps too long"):
        run(field=Custom(f=lambda x: 1e4 * x**3, process=sj.VP()), ts=sj.log_grid(3.0, 1e-3, 20), engine=engine)


def test_a_solver_that_splits_grid_steps_is_reported():
    split = dfx.HalfSolver(dfx.Euler())
    with pytest.raises(FloatingPointError, match="increments inside a grid step"):
        run(solver=split)


def test_the_number_of_lost_trajectories_is_reported():
    fragile = Custom(f=lambda x: jnp.where(jnp.max(x) > 50, jnp.nan, x), process=sj.VP())
    x0 = jnp.stack([jnp.zeros((4, 4), FLOAT), jnp.full((4, 4), 100, FLOAT), jnp.zeros((4, 4), FLOAT)])
    with pytest.raises(FloatingPointError, match=r"not finite \(1 of its leading entries\)"):
        sj.simulate_ensemble(fragile, TS, num=3, x0=x0, key=jr.key(0))


def test_inside_jit_nothing_is_raised():
    blow = Custom(f=lambda x: 1e4 * x**3, process=sj.VP())
    x = jax.jit(lambda key: sj.simulate(blow, sj.log_grid(3.0, 1e-3, 20), shape=(4, 4), key=key).x)(jr.key(0))
    assert not np.all(np.isfinite(x))


def test_reverse_mode_through_diffrax_names_the_engine_that_can():
    def end(x0, engine):
        return jnp.sum(sj.simulate(FIELD, TS, key=jr.key(0), x0=x0, engine=engine).x)

    x0 = jnp.ones((4, 4), FLOAT)
    with pytest.raises(RuntimeError, match="engine='scan'"):
        jax.grad(lambda x: end(x, "diffrax"))(x0)
    assert jax.grad(lambda x: end(x, "scan"))(x0).shape == (4, 4)


def test_exhausted_memory_names_the_chunk():
    def run():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")

    with pytest.raises(MemoryError, match="chunk"):
        finished(run)


def test_a_grid_beyond_the_schedule_is_warned_of():
    field = sj.PatchField(sj.PatchDictionary.two_pattern(patch_size=3), sj.VP.linear(0.2, 2.0, 2.0))
    with pytest.warns(UserWarning, match=r"ts\[0\] = 3 lies beyond t_max = 2 of LinearSchedule.*larger t_max"):
        run(field)
    run(field, sj.log_grid(2.0, 0.3, 4))
