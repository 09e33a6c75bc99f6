"""A bar over the units of a sweep."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from softjax.sweeps._notebook import bar_in_notebook, in_notebook


@contextmanager
def reporting(progress: Callable[[int, int], None] | bool | None) -> Iterator[Callable[[int, int], None]]:
    """What is to be called with the units done and all of them: nothing, a bar if True, or the given function.

    * `progress`: True for a bar, a function of the finished units and of all, or None.

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
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns)
        task = bar.add_task("compiling", total=None)
        first: list[int] = []

        def report(done: int, total: int) -> None:
            bar.start()  # only now: a refusal before has no bar
            first[:] = first or [done]
            text = "compiling" if done == first[0] < total else "units"
            bar.update(task, completed=done, total=total, description=text)

        try:
            yield report
        finally:
            if bar.live.is_started:
                bar.stop()
