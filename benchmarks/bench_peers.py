"""What does the default patch experiment cost, against PyTorch as the formulas read and as an expert writes it?

PyTorch is timed on some steps of the grid, evenly spaced, from softjax's own states there, and the time of the whole
run is that times the share of the steps: every step does the same work. `memory_of` runs each in its own process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import memory
import numpy as np
import pytest
from timing import Program, compiled, spread

import softjax as sj
from softjax.experiments import patch

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # in torch.func.jvp itself
STEPS = 400
COSINES = np.asarray([0, 0, *range(1, 25, 2)])  # of shells 0 to 6 along two axes, the constant twice: the paper's 14


def field() -> sj.PatchField:
    return sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())


def grid() -> jax.Array:
    return sj.log_grid(6.0, 1e-3, STEPS)


@lru_cache
def experiment(batch: int) -> Program:
    """All trajectories of `softjax patch`, with its probes and observables."""
    unit = patch.STUDY.unit(patch.Config(num_trajectories=batch))
    arrays, static = eqx.partition(unit, eqx.is_array)

    def run(arrays: Any, key: jax.Array) -> Any:
        unit = eqx.combine(arrays, static)
        return jax.vmap(lambda member: unit(member, key))(jnp.arange(batch))

    return compiled(run, arrays, jr.key(0))


@lru_cache
def bare(batch: int, engine: Any = "scan") -> Program:
    """Trajectories alone."""

    def run(ts: jax.Array, key: jax.Array) -> jax.Array:
        return sj.simulate_ensemble(field(), ts, shape=(64, 64), num=batch, key=key, engine=engine).x

    return compiled(run, grid(), jr.key(1))


def hand_written(batch: int) -> Program:
    """What one would write in JAX without a library: x + h f(t, x) + sqrt(h beta) z, one key per step."""

    def one(ts: jax.Array, key: jax.Array) -> jax.Array:
        key_start, key_noise = jr.split(key)

        def step(x: jax.Array, inputs: Any) -> Any:
            t, t_next, key = inputs
            h, beta = t - t_next, field().process.beta(t)
            drift = beta * (0.5 * x + field().score(t, x))
            return x + h * drift + jnp.sqrt(h * beta) * jr.normal(key, x.shape), None

        start = jr.normal(key_start, (64, 64))
        return jax.lax.scan(step, start, (ts[:-1], ts[1:], jr.split(key_noise, STEPS)))[0]

    return compiled(jax.vmap(one, (None, 0)), grid(), jr.split(jr.key(1), batch))


def states(batch: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (t, t next) that are evenly spaced on the grid, and the trajectories' states at their beginnings."""
    ts, index = grid(), np.linspace(0, STEPS - 1, times).round().astype(int)
    seen = np.asarray(all_states(batch))
    return np.stack([ts[index], ts[index + 1]], 1), np.ascontiguousarray(np.moveaxis(seen[:, index], 1, 0))


@lru_cache
def all_states(batch: int) -> jax.Array:
    """(trajectories, times, 64, 64)."""
    options = {"num": batch, "key": jr.key(1), "engine": "scan"}
    return sj.simulate_ensemble(field(), grid(), shape=(64, 64), observe=lambda t, x: x, **options).observed


def torch_device(torch: Any) -> str:
    """Where torch runs, which is where JAX does; skips where it can't."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if jax.devices()[0].platform == "cpu":
        return "cpu"
    return "cuda" if torch.cuda.is_available() else pytest.skip("torch without the device that JAX has")


def torch_stretch(score: str, response: str | None, batch: int, times: int) -> Callable[[], list[Any]]:
    """Some steps of the grid in PyTorch, with or without probes: what they return, after each step."""
    torch, torch_patch = pytest.importorskip("torch"), pytest.importorskip("torch_patch")
    device, model = torch_device(torch), field().dictionary
    patterns, log_prior, directions = (
        torch.tensor(np.asarray(a), device=device)
        for a in (model.patterns, model.log_prior, sj.fourier_modes((64, 64), 6).directions[COSINES])
    )
    steps, xs = states(batch, times)
    score_of = partial(getattr(torch_patch, score), torch_patch.Dictionary(patterns, log_prior))
    starts = torch.tensor(xs, device=device)

    def run() -> list[Any]:
        with torch.no_grad():
            seen = []
            for (t, t_next), x in zip(steps.tolist(), starts, strict=True):
                seen.append(getattr(torch_patch, response)(score_of, t, x, directions) if response else None)
                x = torch_patch.step(score_of, t, t_next, x)
            if device == "cuda":
                torch.cuda.synchronize()
        return seen

    return run


LITERAL, DIFFERENCES, JVP = (
    ("literal_score", "literal_response"),
    ("expert_score", "difference_response"),
    ("expert_score", "jvp_response"),
)
WORK: dict[str, Callable[..., Callable[[], Any]]] = {
    "softjax": lambda batch, times: experiment(batch).run,
    "literal": lambda batch, times: torch_stretch(*LITERAL, batch, times),
    "expert, differences": lambda batch, times: torch_stretch(*DIFFERENCES, batch, times),
    "expert, JVP": lambda batch, times: torch_stretch(*JVP, batch, times),
}


def memory_of(what: str, *sizes: int) -> dict[str, float] | None:
    return memory.peak("bench_peers", what, *sizes) if jax.devices()[0].platform == "cpu" else None


def bench_scores_agree(benchmark, record, size):
    """Both scripts' scores are softjax's up to rounding, on states of a trajectory from noise to data."""
    torch, torch_patch = pytest.importorskip("torch"), pytest.importorskip("torch_patch")
    steps, xs = states(2, size(3, 9, 9))
    model = field().dictionary
    dictionary = torch_patch.Dictionary(*(torch.tensor(np.asarray(a)) for a in (model.patterns, model.log_prior)))
    score = jax.jit(jax.vmap(field().score, (None, 0)))
    worst = {"literal_score": 0.0, "expert_score": 0.0}
    for (t, _), x in zip(steps, xs, strict=True):
        ours = np.asarray(score(t, x))
        for name, found in worst.items():
            theirs = getattr(torch_patch, name)(dictionary, float(t), torch.tensor(x)).numpy()
            worst[name] = max(found, float(np.max(np.abs(theirs - ours)) / np.max(np.abs(ours))))
    assert max(worst.values()) < 1e-4, worst  # squared distances lose digits where their differences are small
    record(series="agreement", **worst)
    benchmark.pedantic(lambda: jax.block_until_ready(score(steps[0, 0], xs[0])), rounds=3)


@pytest.mark.parametrize(
    ("peer", "score", "response", "stretch"),
    [
        ("literal, differences", *LITERAL, (1, 4, 4)),
        ("expert, differences", *DIFFERENCES, (2, 20, 20)),
        ("expert, JVP", *JVP, (2, 20, 20)),
    ],
)
def bench_whole_experiment(measure, record, size, peer, score, response, stretch):
    """The default experiment with exact probes, against the peer's steps with 14 directions, in turn."""
    batch, times = size(2, 8, 256), size(*stretch)
    ours, theirs = experiment(batch), torch_stretch(score, response, batch, times)
    mine, part = measure(size(1, 3, 3), ours, Program(theirs))
    record_peer(record, "whole experiment", peer, mine, part, batch, times, compile_s=ours.compile_s)


@pytest.mark.parametrize(("peer", "score", "stretch"), [("literal", LITERAL[0], 20), ("expert", JVP[0], 100)])
def bench_bare_steps(measure, record, size, peer, score, stretch):
    """Steps without probes."""
    batch, times = size(2, 8, 256), size(2, stretch, stretch)
    mine, part = measure(size(1, 5, 5), bare(batch), Program(torch_stretch(score, None, batch, times)))
    record_peer(record, "bare steps", peer, mine, part, batch, times)


COMMAND = """
from softjax.cli._environment import prepare
prepare({batch})
from softjax.experiments import patch
config = patch.Config(num_trajectories={batch}, grid_size={side})
print([patch.run(config).attrs["run_time_s"] for _ in range(4)][1:])
"""


def bench_as_the_command_runs_it(benchmark, record, size):
    """The whole experiment in a process of its own, which divides the trajectories among the cores."""
    batch, side = size((2, 16), (8, 64), (256, 64))
    code = COMMAND.format(batch=batch, side=side)

    def run() -> list[float]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    record(series="command", seconds=spread(benchmark.pedantic(run, rounds=1)), batch=batch)


def record_peer(record, series, peer, mine, part, batch, times, **more):
    """Both whole runs; PyTorch's by the share of the steps that were timed."""
    whole = type(part)(*(seconds * STEPS / times for seconds in part))
    record(
        series=series,
        peer=peer,
        seconds=mine,
        peer_seconds=whole,
        speedup=whole.median / mine.median,
        batch=batch,
        steps=STEPS,
        peer_steps_timed=times,
        **more,
    )


@pytest.mark.parametrize("what", list(WORK))
def bench_memory(benchmark, record, size, what):
    """Peak resident memory of the second call, in a process of its own."""
    pytest.importorskip("torch")
    if what != "expert, JVP" and size(True, False, False):
        pytest.skip("not at small size")
    sizes = size(2, 8, 8), 1
    found = benchmark.pedantic(memory_of, (what, *sizes), rounds=1)
    if found is None:
        pytest.skip("only where the operating system tells a process's peak")
    record(series="memory", what=what, batch=sizes[0], **found)


@pytest.mark.parametrize("engine", ["diffrax", "scan"])
def bench_trajectories_against_a_hand_written_scan(versus, size, engine):
    batch = size(2, 8, 4096)
    ours, peer = bare(batch, engine), hand_written(batch)
    versus(f"trajectories, {engine}; a hand-written scan", ours, peer, rounds=size(1, 9, 5), batch=batch, steps=STEPS)


def bench_experiment_against_its_bare_trajectories(versus, size):
    batch = size(2, 8, 256)
    ours, peer = experiment(batch), bare(batch, "diffrax")
    versus("experiment; its trajectories alone", ours, peer, rounds=size(1, 5, 5), batch=batch, steps=STEPS)


def literal_score(field: sj.PatchField, t: jax.Array, x: jax.Array) -> jax.Array:
    """In JAX: gather every patch, einsum with the dictionary, softmax over it."""
    d, side, radius = field.dictionary, x.shape[0], 2
    index = (np.arange(side)[:, None] + np.arange(-radius, radius + 1)) % side
    patches = x[index[:, None, :, None], index[None, :, None, :]]
    alpha, variance = field.process.alpha(t), field.process.sigma(t) ** 2
    logits = jnp.einsum("ijrs,mrs->ijm", patches, d.patterns) * alpha / variance + d.log_prior
    posterior = jax.nn.softmax(logits, axis=-1)
    return (alpha * jnp.einsum("ijm,m->ij", posterior, d.centres) - x) / variance


def bench_score_against_the_literal_einsum(versus, size):
    x, t = jr.normal(jr.key(1), (size(2, 8, 4096), 64, 64)), jnp.asarray(2.0)
    ours = compiled(jax.vmap(field().score, (None, 0)), t, x)
    peer = compiled(jax.vmap(partial(literal_score, field()), (None, 0)), t, x)
    np.testing.assert_allclose(ours.run(), peer.run(), atol=2e-5)
    versus("patch score; the literal einsum in JAX", ours, peer, rounds=size(3, 300, 20), batch=len(x))
