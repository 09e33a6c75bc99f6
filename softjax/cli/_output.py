"""Standard output that a run outlives, bars, and tables."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def list_failed(failed: Sequence[str]) -> int:
    """Lists the units that failed; the exit code."""
    for reason in failed:
        print(f"failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def print_table(rows: list, device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Summary ({device})", title_justify="left")
    table.add_column("quantity")
    table.add_column("value  [95% interval]", justify="right")
    table.add_column("unit")
    for name, _ in rows[0].also:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, row.text, row.units, *(f"{value:.4g}" for _, value in row.also))
    Console().print(table)
