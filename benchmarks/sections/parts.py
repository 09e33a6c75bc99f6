"""What the sections of the page are made of: tables, times, pictures."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from softjax.plotting import STYLE


def seconds(spread: Sequence[float] | float) -> str:
    """A time with its unit, three digits; of a spread, the median."""
    value = spread if isinstance(spread, int | float) else spread[0]
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers are given to three digits."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Pictures:
    """Saves a device's plots where the page finds them."""

    def __init__(self, folder: Path, device: str):
        self._folder, self._device = folder, device

    @contextmanager
    def draw(self, name: str, width: float = 9.0, height: float = 3.4) -> Iterator[Figure]:
        """A figure in the house's style, saved at the end as `NAME-DEVICE.png`; size in inches."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(width, height), layout="constrained")
            yield figure
            figure.savefig(self._folder / f"{name}-{self._device}.png", metadata={"Software": None})

    def link(self, name: str, says: str) -> str:
        """The picture in Markdown, with what it shows in words."""
        return f"![{says}](images/benchmarks/{name}-{self._device}.png)"
