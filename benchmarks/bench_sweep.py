"""What does a sweep cost beside its units, and against running each cell as a command of its own?

The sweep is the patch experiment at 200 cells, 32 x 32 sites and 100 steps, all probes on.
"""

import subprocess
import sys
import time

import numpy as np

from softjax.experiments import patch
from softjax.experiments.configs import PatchConfig, TimeGrid
from softjax.sweeps import run

AXES = {"p_global": np.linspace(0.5, 0.9, 20), "beta": np.linspace(0.8, 1.2, 10)}
CELLS = 200


def small(side=32):
    return PatchConfig(grid_size=side, time=TimeGrid(num_steps=100))


def seconds(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def marginal(program, width, rounds=5):
    """Seconds of one unit in a pack of this width, compiled and warm."""
    places = np.arange(width) % program.cells.size
    return min(seconds(program.run, places, np.zeros(width, int), width) for _ in range(rounds + 1)) / width


def bench_whole_sweep_against_its_units_and_against_commands(benchmark, record, tmp_path):
    """From nothing to a stored result: building, exact times, one compilation, 200 units, the store."""
    sweep = patch.sweep(small(), AXES, members=1)
    total = benchmark.pedantic(seconds, (run, sweep, tmp_path / "data.zarr"), rounds=1)
    program = sweep.programs[0]
    units = CELLS * min(marginal(program, width) for width in (25, 50))
    command = [sys.executable, "-c", "from softjax.cli import main; main()", "patch", "--grid-size", "32"]
    command += ["--time.num-steps", "100", "--num-trajectories", "1", "--out"]
    subprocess.run([*command, str(tmp_path / "warm")], check=True, capture_output=True)
    one = seconds(lambda: subprocess.run([*command, str(tmp_path / "one")], check=True, capture_output=True))
    benchmark.extra_info.update(
        total_s=total,
        units_s=units,
        compile_s=program.compile_time,
        beside_s=total - units - program.compile_time,
        commands_s=CELLS * one,
        speedup=CELLS * one / total,
    )
    sizes = {"cells": CELLS, "units_s": round(units, 2), "compilation_s": round(program.compile_time, 2)}
    what = "a sweep, 32 x 32, against its cells as commands of their own"
    record(what=what, seconds=total, peer_seconds=CELLS * one, speedup=CELLS * one / total, **sizes)


def bench_store_and_packing_beside_the_work(benchmark, record, tmp_path):
    """64 x 64 sites: what packing, checks, store and progress take of the time of the units."""
    sweep = patch.sweep(small(64), {"p_global": np.linspace(0.5, 0.9, 4)}, members=25)
    run(patch.sweep(small(64), {"p_global": np.linspace(0.5, 0.9, 4)}, members=25))  # whatever is done once
    program = sweep.programs[0]
    width = sweep.width(program, sweep.block_size(None))
    program.prepare(width)
    units = 100 * marginal(program, width)
    data = sweep.known(), sweep.identity()
    total = benchmark.pedantic(seconds, (run, sweep, tmp_path / "data.zarr"), rounds=1)
    again = seconds(sweep.known)
    benchmark.extra_info.update(
        total_s=total, units_s=units, known_s=again, share=(total - units - again) / units, arrays=len(data[0])
    )
    what = "a sweep, 64 x 64, against its units alone"
    record(what=what, seconds=total, peer_seconds=units, speedup=units / total, units=100, known_s=round(again, 2))
