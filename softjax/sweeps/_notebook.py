"""A bar in a notebook, without widgets: a `progress` element of HTML that is drawn anew in its place."""

import sys
import time
from collections.abc import Callable

_PAUSE = 0.2
"""Seconds between two drawings."""


class Bar:
    """How many units are done, as a notebook shows it, in HTML or in words."""

    def __init__(self) -> None:
        self.done, self.total, self.start = 0, 0, time.monotonic()

    def __repr__(self) -> str:
        return f"{self.done} of {self.total} units{self._left()}" if self.total else "compiling"

    def _repr_html_(self) -> str:
        bar = f'value="{self.done}" max="{self.total}"' if self.total else ""
        return f'<progress {bar} style="width: 20em"></progress> {self!r}'

    def _left(self) -> str:
        if not 0 < self.done < self.total:
            return ""
        seconds = (time.monotonic() - self.start) * (self.total - self.done) / self.done
        return f", about {seconds:.0f} s left"


def in_notebook() -> bool:
    """Whether this is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def bar_in_notebook() -> Callable[[int, int], None]:
    """Draws a bar; what is returned takes the units done and all of them."""
    from IPython.display import display

    bar, last = Bar(), [0.0]
    shown = display(bar, display_id=True)

    def report(done: int, total: int) -> None:
        bar.done, bar.total, now = done, total, time.monotonic()
        if shown is not None and (done == total or now - last[0] > _PAUSE):
            last[0] = now
            shown.update(bar)

    return report
