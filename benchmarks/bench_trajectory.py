"""What does a trajectory through diffrax cost, against a hand-written Euler-Maruyama scan with the same field?"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from timing import compiled

import softjax as sj

SIDE, STEPS = 64, 400


def hand_written(field: sj.PatchField, ts: jax.Array, key: jax.Array) -> jax.Array:
    """What one would write without a library: x + h f(t, x) + sqrt(h beta) z, one key per step."""
    key_start, key_noise = jr.split(key)

    def step(x, inputs):
        t, t_next, key = inputs
        h, beta = t - t_next, field.process.beta(t)
        drift = beta * (0.5 * x + field.score(t, x))
        return x + h * drift + jnp.sqrt(h * beta) * jr.normal(key, x.shape), None

    start = jr.normal(key_start, (SIDE, SIDE))
    return jax.lax.scan(step, start, (ts[:-1], ts[1:], jr.split(key_noise, STEPS)))[0]


@pytest.mark.parametrize("engine", ["diffrax", "scan"])
@pytest.mark.parametrize("batch", [1, 8])
def bench_trajectory_against_hand_written_scan(versus, batch, engine):
    field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())
    ts, key = sj.log_grid(6.0, 1e-3, STEPS), jr.key(1)

    def ours(ts, key):
        return sj.simulate_ensemble(field, ts, shape=(SIDE, SIDE), num=batch, key=key, engine=engine).x

    def peer(ts, key):
        keys = jax.vmap(lambda i: jr.fold_in(key, i))(jnp.arange(batch))
        return jax.vmap(lambda key: hand_written(field, ts, key))(keys)

    versus(
        f"trajectory, {engine}", compiled(ours, ts, key), compiled(peer, ts, key), rounds=15, batch=batch, steps=STEPS
    )


def bench_experiment_against_the_bare_trajectories(versus):
    """The default patch experiment, all probes and observables on, against its trajectories alone."""
    from softjax.experiments._shared.trajectories import Observer

    field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())
    ts, key = sj.log_grid(6.0, 1e-3, STEPS), jr.key(1)
    observer = Observer(sj.ModeProbe(field, sj.fourier_modes((SIDE, SIDE), 6)), None, 3)

    def run(observe):
        arrays, static = eqx.partition(observe, eqx.is_array)

        def call(arrays, ts, key):
            observe = eqx.combine(arrays, static)
            return sj.simulate_ensemble(field, ts, shape=(SIDE, SIDE), num=8, key=key, observe=observe).observed

        return compiled(call, arrays, ts, key)

    versus("patch experiment", run(observer), run(lambda t, x: x[0, 0]), rounds=5, batch=8, steps=STEPS, directions=25)
