"""Timing rules shared by the benchmarks.

Programs are compiled ahead of time and warmed up; compile time is kept apart from run time; every timed call blocks
until its result is ready. A ratio comes from runs of both sides in turn, so that a drift of the machine's speed
cancels; the median over rounds is reported.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def compiled(function: Callable, *args: Any) -> tuple[Callable[[], Any], float]:
    """A call of the compiled function that blocks until the result is ready, and the compile time in seconds."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    return lambda: jax.block_until_ready(program(*args)), seconds


class Versus:
    """Times a function against a peer in turn, and leaves both and their ratio with the benchmark's record."""

    def __init__(self, benchmark: Any, report: list[str]):
        self._benchmark = benchmark
        self._report = report

    def __call__(
        self, what: str, ours: tuple[Callable, float], peer: tuple[Callable, float], rounds: int, **sizes: Any
    ) -> None:
        run, peer_run = ours[0], peer[0]
        for warm_up in (run, peer_run):
            warm_up()
        times: dict[Callable, list[float]] = {run: [], peer_run: []}
        for _ in range(rounds):
            for function, seen in times.items():
                start = time.perf_counter()
                function()
                seen.append(time.perf_counter() - start)
        mine, theirs = (statistics.median(seen) for seen in times.values())
        device = jax.devices()[0]
        self._benchmark.extra_info.update(
            device=f"{device.platform}: {device.device_kind}",
            cpu_count=os.cpu_count(),
            peer_median_s=theirs,
            median_s=mine,
            speedup=theirs / mine,
            compile_s=ours[1],
            peer_compile_s=peer[1],
            **sizes,
        )
        self._benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
        self._report.append(
            f"{what}: {1e3 * mine:.3f} ms against {1e3 * theirs:.3f} ms, {theirs / mine:.2f} times faster "
            f"(compile {ours[1]:.1f} s against {peer[1]:.1f} s; {sizes})"
        )
