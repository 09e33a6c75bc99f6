"""The summary as a table, of one run or over the cells of a sweep."""

import csv
from typing import NamedTuple

import numpy as np
import xarray as xr

from softjax.experiments._shared.summary import Row
from softjax.experiments._shared.table import drawn_row, table
from softjax.report._result import Result

_MOST_CELLS = 400
_UNITS = {
    "t": "t is the diffusion time, without dimension.",
    "sigma": "sigma is the noise level, in units of the data.",
}


class Table(NamedTuple):
    """A table: names of the columns, the first of which names the lines; what is said below it."""

    caption: str
    columns: list[str]
    lines: list[list[str]]
    note: str = ""


def of_rows(rows: list[Row]) -> Table:
    """The summary of a run: value, 95% interval, unit, and the same on other clocks."""
    others = list(dict.fromkeys(name for row in rows for name, _ in row.also))
    lines = []
    for row in rows:
        also = dict(row.also)
        value = _number(row.value) + (f" ({row.reason})" if row.reason else "")
        interval = "" if row.interval is None else _interval(*row.interval)
        extra = [_number(also[name]) if name in also else "" for name in others]
        lines.append([row.name, value, interval, row.units, *extra])
    columns = ["quantity", "value", "95% interval", "unit", *others]
    return Table("Numbers of the run, intervals over trajectories or trials", columns, lines, _of_units(rows))


def _of_units(rows: list[Row]) -> str:
    used = {row.units for row in rows}
    return " ".join(text for unit, text in _UNITS.items() if unit in used)


def over_axes(result: Result) -> xr.Dataset:
    """`value`, `low` and `high` of every row of the summary over the axes: (axes, row).

    Read from the table.csv that the command wrote beside the data, computed where there is none. Raises `ValueError`
    for one that does not fit the data.
    """
    file = None if result.folder is None else result.folder / "table.csv"
    if file is None or not file.exists():
        axes = {
            tuple(names): list(zip(*(result.dataset[name].values.tolist() for name in names), strict=True))
            for names in result.parameters.values()
        }
        return table(result.study, result.config, result.study.sweep(result.config, axes), result.dataset)
    try:
        with file.open(newline="") as opened:
            head, *lines = csv.reader(opened)
        return _stacked(result, head, lines)
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{file} is not the table of this sweep: remove it, and it is computed anew.") from error


def _stacked(result: Result, head: list[str], lines: list[list[str]]) -> xr.Dataset:
    columns = {name: [line[place] for line in lines] for place, name in enumerate(head)}
    names = list(dict.fromkeys(columns["row"]))
    dims = head[: head.index("value")]
    sizes = [len(names) if dim == "row" else result.dataset.sizes[dim] for dim in dims]
    numbers = {
        name: (dims, np.asarray([float(text or "nan") for text in columns[name]]).reshape(sizes))
        for name in ("value", "low", "high")
    }
    coordinates = {name: result.dataset[name] for along in result.parameters.values() for name in along}
    units = dict(zip(columns["row"], columns["units"], strict=True))
    labels = {"row": names, "units": ("row", [units[name] for name in names])}
    return xr.Dataset(numbers, coords={**coordinates, **labels}).transpose(*result.axes, "row")


def of_cells(result: Result, rows: xr.Dataset) -> Table:
    """One line for each cell, one column for each row of the summary."""
    names = [str(name) for name in rows["row"].values]
    units = [str(unit) for unit in rows["units"].values]
    flat = [rows[name].values.reshape(-1, len(names)) for name in ("value", "low", "high")]
    lines = []
    for cell, *numbers in zip(result.cells[:_MOST_CELLS], *flat, strict=False):
        shown = [f"{_number(value)}  {_interval(low, high)}".strip() for value, low, high in zip(*numbers, strict=True)]
        lines.append([in_words(cell), *shown])
    columns = ["cell", *(f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True))]
    left = len(result.cells) - len(lines)
    note = f"{left} more cells stand in table.csv." if left else ""
    return Table("Summary of every cell, with 95% intervals", columns, lines, note)


def extremes(result: Result, rows: xr.Dataset) -> str:
    """Where the drawn number is smallest and largest, in words."""
    name = drawn_row(rows, None)
    values = rows["value"].sel(row=name).values.ravel()
    if not np.any(np.isfinite(values)):
        return f"No cell has a value of the {name}."
    unit = str(rows["units"].sel(row=name).item())
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    missing = int(np.sum(~np.isfinite(values)))
    none = f" {missing} of {values.size} cells have none." if missing else ""
    ends = [f"{values[at]:.4g} {unit}".rstrip() + f" at {in_words(result.cells[at])}" for at in (low, high)]
    return f"Over the cells, the {name} goes from {ends[0]} to {ends[1]}.{none}"


def in_words(cell: dict[str, object]) -> str:
    """The parameters of a cell."""
    return ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}" for name, value in cell.items()
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "none"


def _interval(low: float, high: float) -> str:
    return f"[{low:.4g}, {high:.4g}]" if np.isfinite(low) or np.isfinite(high) else ""
