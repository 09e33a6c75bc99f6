"""A bar over the units of a sweep; lines where the output is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from softjax._bar import bar_of
from softjax.sweeps._notebook import bar_in_notebook, in_notebook


@contextmanager
def reporting(progress: Callable[[int, int], None] | bool | None) -> Iterator[Callable[[int, int], None]]:
    """What is to be called with the units done and all of them: nothing, a bar if True, or the given function.

    * `progress`: True for a bar, or a line now and then where the output is no terminal; a function of the finished
      units and of all; or None.

    >>> with sj.sweeps.reporting(lambda done, total: print(f"{done} of {total}")) as report:
    ...     report(1, 4)
    1 of 4
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, total: None
    elif in_notebook():
        yield bar_in_notebook()
    elif not sys.stdout.isatty():
        yield lines()
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        first: list[int] = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with bar_of(*columns) as update:

            def report(done: int, total: int) -> None:
                first[:] = first or [done]
                text = "compiling" if done == first[0] < total else "units"
                update(completed=done, total=total, description=text)

            yield report


def lines(every: float = 10.0) -> Callable[[int, int], None]:
    """Prints a line with the time left, at most one in `every` seconds and one at the end."""
    first: list[tuple[int, float]] = []
    last = [time.monotonic()]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        first[:] = first or [(done, now)]
        if done < total and now - last[0] < every:
            return
        last[0] = now
        before, start = first[0]
        left = (total - done) * (now - start) / (done - before) if done > before else None
        print(f"units {done}/{total}" + (f", {left:.0f} s left" if left else ""), flush=True)

    return report
