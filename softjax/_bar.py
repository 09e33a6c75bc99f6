"""A bar that appears when there is progress: a refusal before has none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar_of(*columns: Any) -> Iterator[Callable[..., None]]:
    """Yields what takes the changes of the bar's one task: `completed`, `total`, `description`."""
    from rich.progress import Progress

    bar = Progress(*columns)
    task = bar.add_task("", total=None)

    def update(**changes: Any) -> None:
        bar.start()
        bar.update(task, **changes)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
