"""How do time, compile time and memory grow with the size of each thing?

Every series is one program at several sizes, timed in turn. Packs are units of the patch experiment that run side by
side; devices are those of the machine, or on a CPU as many as it has cores.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import Measure, Program, compiled

import softjax as sj

SIDE, T, BATCH = 64, 2.0, 8
LATTICE = (SIDE, SIDE)
DEVICES = "--xla_force_host_platform_device_count"


def noise(*shape: int) -> jax.Array:
    return jr.normal(jr.key(1), shape)


def denoiser(field: sj.AbstractField, x: jax.Array) -> Program:
    """The denoiser of a batch; the field is an argument, so that no data are compiled in."""
    return compiled(lambda field, t, x: jax.vmap(lambda x: field.denoise(t, x))(x), field, jnp.asarray(T), x)


def prober(probe: Any, x: jax.Array) -> Program:
    return compiled(lambda probe, t, x: jax.vmap(lambda x: probe(t, x))(x), probe, jnp.asarray(T), x)


def grow(
    measure: Measure,
    record: Callable,
    rounds: int,
    sizes: Sequence[int],
    program: Callable[[int], Program],
    **about: Any,
) -> None:
    """Records one program at every size."""
    programs = [program(size) for size in sizes]
    for size, one, seconds in zip(sizes, programs, measure(rounds, *programs), strict=True):
        record(**about, size=size, seconds=seconds, compile_s=one.compile_s, temporary_bytes=one.temporary_bytes)


def ising() -> sj.PatchField:
    return sj.PatchField(sj.PatchDictionary.ising(5, key=jr.key(0)), sj.VP())


def bench_side_of_the_score(measure, record, size):
    sides = size((16,), (32, 64, 128, 256, 512), (64, 128, 256, 512, 1024, 2048))
    about = {"series": "sites", "what": "score, one state"}
    grow(measure, record, size(3, 30, 50), [n * n for n in sides], lambda n: denoiser(ising(), _square(n, 1)), **about)


def bench_side_of_the_probe(measure, record, size):
    def program(sites: int) -> Program:
        x = _square(sites, 1)
        return prober(sj.ModeProbe(ising(), sj.fourier_modes(x.shape[1:], 6)), x)

    sides = size((16,), (32, 64, 128, 256), (64, 128, 256, 512, 1024))
    about = {"series": "sites", "what": "probe of 25 directions, one state"}
    grow(measure, record, size(3, 30, 50), [n * n for n in sides], program, **about)


def _square(sites: int, batch: int) -> jax.Array:
    side = round(sites**0.5)
    return noise(batch, side, side)


def bench_batch(measure, record, size):
    sizes = size((4,), (1, 4, 16, 64, 256), (1, 16, 64, 256, 1024, 4096))
    about = {"series": "batch", "what": "score, 64 x 64"}
    grow(measure, record, size(3, 15, 50), sizes, lambda n: denoiser(ising(), noise(n, *LATTICE)), **about)


def pairs(num: int, route: str) -> sj.PatchField:
    """A dictionary of `num` mirror pairs of 5 x 5."""
    y = np.random.default_rng(0).choice([-1.0, 1.0], size=(num, 5, 5)).astype(np.float32)
    return sj.PatchField(sj.PatchDictionary(np.concatenate([y, -y])), sj.VP(), route=route)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("route", ["fused", "einsum"])
def bench_dictionary(route, measure, record, size):
    """Patterns fused into one loop over the sites, or streamed as matrix products."""
    few, many = size((5,), (5, 10, 20, 40, 80), (5, 10, 20, 40, 80)), size((), (320, 1280), (320, 1280, 5120, 20480))
    x = noise(BATCH, *LATTICE)
    checked = noise(16, 16)
    np.testing.assert_allclose(pairs(5, route).denoise(T, checked), pairs(5, "auto").denoise(T, checked), atol=1e-4)
    sizes = [2 * num for num in (*few, *(many if route == "einsum" else ()))]
    about = {"series": "patterns", "what": route}
    grow(measure, record, size(3, 10, 30), sizes, lambda n: denoiser(pairs(n // 2, route), x), **about)


@pytest.mark.parametrize("what", ["ModeProbe", "mode_response"])
def bench_directions(what, measure, record, size):
    field, x = ising(), noise(1, *LATTICE)

    def program(num: int) -> Program:
        modes = sj.fourier_modes(LATTICE, (num - 1) // 4)
        if what == "ModeProbe":
            return prober(sj.ModeProbe(field, modes), x)
        return compiled(lambda m, x: sj.mode_response(lambda x: sj.reverse_drift(field, T, x), x, m), modes, x[0])

    sizes = size((5,), (5, 9, 17, 33, 65), (5, 9, 17, 33, 65, 125))
    grow(measure, record, size(3, 30, 50), sizes, program, series="directions", what=f"{what}, 64 x 64")


def bench_patches_of_local_field(measure, record, size):
    images = np.random.default_rng(0).normal(size=(100, 28, 28)).astype(np.float32)

    def program(num: int) -> Program:
        return denoiser(sj.LocalField(images, 5, sj.VP(), num_patches=num, key=jr.key(0)), noise(1, 28, 28))

    sizes = size((500,), (1000, 4000, 16000, 64000), (1000, 4000, 16000, 64000))
    grow(measure, record, size(3, 7, 30), sizes, program, series="patches", what="LocalField, 5 x 5, 28 x 28")


def bench_images_of_empirical_field(measure, record, size):
    def program(num: int) -> Program:
        images = np.random.default_rng(0).normal(size=(num, 28, 28)).astype(np.float32)
        return denoiser(sj.EmpiricalField(images, sj.VP()), noise(BATCH, 28, 28))

    sizes = size((100,), (1000, 4000, 16000, 64000), (1000, 4000, 16000, 64000, 256000))
    grow(measure, record, size(3, 7, 30), sizes, program, series="images", what="EmpiricalField, 28 x 28, batch 8")


def sweep_program() -> Any:
    """The patch experiment at 200 cells, 32 x 32 sites and 100 steps, all probes on."""
    from softjax.experiments import patch
    from softjax.experiments.configs import PatchConfig, TimeGrid

    axes = {"p_global": np.linspace(0.5, 0.9, 20), "beta": np.linspace(0.8, 1.2, 10)}
    return patch.sweep(PatchConfig(grid_size=32, time=TimeGrid(num_steps=100)), axes, members=1).programs[0]


def pack(program: Any, width: int) -> Program:
    """A pack of this width, compiled."""
    before = program.compile_time
    program.prepare(width)
    given = np.arange(width) % program.cells.size, np.zeros(width, int), width
    memory = getattr(program._compiled[program.prepare(width)].memory_analysis(), "temp_size_in_bytes", None)
    return Program(lambda: program.run(*given), program.compile_time - before, memory)


def bench_packs(measure, record, size):
    """Units of a sweep side by side in one program."""
    program = sweep_program()
    sizes = size((2,), (1, 8, 50), (1, 8, 50, 200))
    grow(measure, record, size(2, 5, 10), sizes, partial(pack, program), series="pack", what="units of a sweep")


def devices(width: int, rounds: int) -> list[list[float]]:
    """Seconds of a unit in a pack that all devices share, and in one that one device runs alone, in turn."""
    program = sweep_program()
    both = [(width, pack(program, width)), (width + 1, pack(program, width + 1))]  # that many can't be shared equally
    seen: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for (units, one), seconds in zip(both, seen, strict=True):
            start = time.perf_counter()
            one.run()
            seconds.append((time.perf_counter() - start) / units)
    return [seconds[1:] for seconds in seen]


def bench_devices(benchmark, record, size):
    """A pack over all devices against one device; on a CPU in a process of its own that makes a device of each core."""
    rounds, here = size(1, 7, 10), len(jax.devices())
    if (jax.default_backend() != "cpu" and here == 1) or size(True, False, False):
        pytest.skip("one device, or small sizes: a second process compiles two programs more")
    num = here if here > 1 else min(os.cpu_count() or 1, 8)
    width = num * size(2, 12, 25)
    if here > 1:
        shared, alone = benchmark.pedantic(devices, (width, rounds), rounds=1)
    else:
        code = f"import json, bench_scaling; print(json.dumps(bench_scaling.devices({width}, {rounds})))"
        environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}={num}"}
        call = partial(subprocess.run, cwd=Path(__file__).parent, env=environment, capture_output=True, check=True)
        shared, alone = json.loads(benchmark.pedantic(call, ([sys.executable, "-c", code],), rounds=1).stdout)
    shares = {"seconds": float(np.median(shared)), "peer_seconds": float(np.median(alone))}
    record(series="devices", what="units of a sweep", size=num, width=width, **shares)
