"""Timing rules shared by the benchmarks.

Programs are compiled ahead of time and warmed up; compile time is kept apart from run time; every timed call blocks
until its result is ready. Both sides of a comparison run in turn, so that a drift of the machine's speed cancels; the
median over rounds is reported, with its quartiles.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
    """A call that blocks until its result is ready, what compiling it took, and the program, for other arguments."""

    run: Callable[[], Any]
    compile_s: float = 0.0
    temporary_bytes: int | None = None
    call: Callable[..., Any] | None = None


class Spread(NamedTuple):
    """Seconds of a call over rounds: the median and the quartiles."""

    median: float
    low: float
    high: float


def compiled(function: Callable, *args: Any) -> Program:
    """The function, compiled for these arguments."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    size = getattr(memory, "temp_size_in_bytes", None)
    return Program(lambda: jax.block_until_ready(program(*args)), seconds, size, program)


def spread(seconds: list[float]) -> Spread:
    if len(seconds) == 1:
        return Spread(*seconds * 3)
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Spread(median, low, high)


class Measure:
    """Times a program and its peers in turn; pytest-benchmark holds the clock of the first."""

    def __init__(self, benchmark: Any):
        self._benchmark = benchmark

    def __call__(self, rounds: int, ours: Program, *peers: Program) -> list[Spread]:
        """Seconds of each, ours first; every call is made once before it is timed."""
        seen: list[list[float]] = [[] for _ in peers]

        def peers_run() -> None:
            for peer, seconds in zip(peers, seen, strict=True):
                start = time.perf_counter()
                peer.run()
                seconds.append(time.perf_counter() - start)

        self._benchmark.pedantic(ours.run, setup=peers_run, rounds=rounds, warmup_rounds=1)
        return [spread(self._benchmark.stats.stats.data), *(spread(seconds[1:]) for seconds in seen)]


class Versus:
    """Times a program against a peer, and leaves both and their ratio with the record."""

    def __init__(self, measure: Measure, record: Callable[..., None], report: list[str]):
        self._measure, self._record, self._report = measure, record, report

    def __call__(self, what: str, ours: Program, peer: Program, rounds: int, **sizes: Any) -> float:
        """How many times faster ours is; `what` names the pair, `sizes` whatever a reader needs to judge it."""
        mine, theirs = self._measure(rounds, ours, peer)
        speedup = theirs.median / mine.median
        self._record(
            what=what,
            seconds=mine,
            peer_seconds=theirs,
            speedup=speedup,
            compile_s=ours.compile_s,
            peer_compile_s=peer.compile_s,
            **sizes,
        )
        self._report.append(
            f"{what}: {1e3 * mine.median:.3f} ms against {1e3 * theirs.median:.3f} ms, {speedup:.2f} times faster "
            f"(compile {ours.compile_s:.1f} s against {peer.compile_s:.1f} s; {sizes})"
        )
        return speedup
