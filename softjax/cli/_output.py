"""Standard output that a run outlives, bars, and tables."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softjax._bar import bar_of


class _Output(io.FileIO):
    """Standard output that a run outlives: what a closed pipe (`| head`) no longer takes is dropped.

    Other failures, such as a full disk, are raised once, and not again when Python ends.
    """

    failed = False

    def write(self, data: Any, /) -> int | None:
        try:
            return io.FileIO.write(self, data)
        except OSError as error:
            if not self.failed and not isinstance(error, BrokenPipeError):
                self.failed = True
                raise OSError(f"standard output can't be written: {error.strerror}.") from error
            return len(data)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Standard output that can be closed, a pipe that ends early, or unable to show every character."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # stands for one that is closed, whose number a file opened later would get
    os.close(number)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    given = sys.stdout
    if given is None or (given is sys.__stdout__ and os.name != "nt"):  # Windows has a console of its own kind
        sys.stdout = _text_output(given)
    try:
        yield
    finally:
        lasting, sys.stdout = sys.stdout, given
        lasting.flush()


def _text_output(given: Any) -> io.TextIOWrapper:
    """Like `given`, with a question mark for what its encoding lacks."""
    if given is not None:
        given.flush()
    errors = getattr(given, "errors", "strict")
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=getattr(given, "encoding", "utf-8"),
        errors="replace" if errors in ("strict", "surrogateescape") else errors,
        line_buffering=getattr(given, "line_buffering", False),
        write_through=getattr(given, "write_through", False),
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over trajectories with the time left; yields what is to be called with those done and all of them."""
    from softjax.sweeps import reporting

    with reporting(True) as report:
        yield report


def whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Has a file written under another name, and gives it its own when it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def byte_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes; yields what is to be called with those done and all of them, 0 if that is not known."""
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn

    with bar_of(BarColumn(), DownloadColumn(), TimeRemainingColumn()) as update:
        yield lambda done, total: update(completed=done, total=total or None)


def list_failed(failed: Sequence[str]) -> int:
    """Lists the units that failed; the exit code."""
    for reason in failed:
        print(f"failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def print_table(rows: list, device: str) -> None:
    """The summary, what is doubtful in notes beneath; values on other clocks in a table of their own if too wide."""
    from rich.console import Console

    console = Console()
    notes = list(dict.fromkeys(row.reason for row in rows if row.reason))
    title = f"Summary ({device.replace('cpu: cpu', 'CPU')})"
    whole = _table(rows, title, notes, values=True, also=True)
    needed = console.measure(whole, options=console.options.update(width=1000)).maximum
    if not any(row.also for row in rows) or needed <= console.width:
        console.print(whole)
    else:
        console.print(_table(rows, title, notes, values=True, also=False))
        console.print(_table([row for row in rows if row.also], "Summary, continued", notes, values=False, also=True))
    for number, note in enumerate(notes, 1):
        console.print(f"({number}) {note}", highlight=False)


def _table(rows: list, title: str, notes: list[str], values: bool, also: bool) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("quantity")
    if values:
        table.add_column("value  [95% interval]", justify="right")
        table.add_column("unit")
    names = list(dict.fromkeys(name for row in rows for name, _ in row.also)) if also else []
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        mark = f" ({notes.index(row.reason) + 1})" if row.reason else ""
        value = (f"{row.number}{mark}", row.units) if values else ()
        others = dict(row.also)
        table.add_row(row.name, *value, *(f"{others[name]:.4g}" if name in others else "" for name in names))
    return table
