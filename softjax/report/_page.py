"""The page: what was asked, figures, trajectory, summary, configuration, provenance."""

import base64
import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from softjax.experiments._shared.config import view
from softjax.experiments._shared.table import drawn_row
from softjax.plotting import sweep_figure
from softjax.report import _tables, _words
from softjax.report._drawn import drawing, picture, seen
from softjax.report._frames import film
from softjax.report._result import Result, read

_MOST_ROWS, _MOST_STATES, _ROW_BYTES = 7, 48, 250_000


def page(result: xr.Dataset | Path | str) -> str:
    """One HTML page that needs no other file and no network: figures, numbers, where they come from.

    * `result`: folder that an experiment or a sweep of one was given as output, the data.zarr in it, or the dataset
      that `run` or `load` returned.

    Returns the text of the page, below 5 MB. Failed units are listed in it. Raises `FileNotFoundError` where there is
    no result, `DamagedResult` for one that is not what was written, and `ValueError` for one that is not finished, of
    which all units have failed, or that is of no experiment that softjax knows.

    >>> from softjax.experiments.configs import PatchConfig, Probe, TimeGrid
    >>> config = PatchConfig(grid_size=8, num_trajectories=2, time=TimeGrid(num_steps=20), probe=Probe(max_shell=3))
    >>> data = sj.experiments.patch.run(config)
    >>> sj.report.page(data)[:15]
    '<!DOCTYPE html>'
    """
    known = read(result)
    parts = _of_sweep(known) if known.axes else _of_run(known)
    templates = Environment(
        loader=PackageLoader("softjax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup(_source(templates, name)) for name in ("page.css", "page.js"))
    return templates.get_template("page.html").render(
        title=f"softjax {'sweep of ' if known.axes else ''}{known.study.name}",
        about=_words.about(known),
        asked=_words.asked(known),
        command=_words.command(known),
        failed=known.failed,
        parameters=_words.parameters(known),
        provenance=_words.provenance(known),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **parts,
    )


def _source(templates: Environment, name: str) -> str:
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0]


def _of_run(result: Result) -> dict[str, Any]:
    """What only the page of one configuration has."""
    dataset, study = result.dataset, result.study
    experiment = import_module(f"softjax.experiments.{study.name}")
    rows = study.summary(dataset)
    figure = experiment.figure(dataset, **view(result.config))
    symbol = "sigma" if any(row.units == "sigma" for row in rows) else "t"
    return {
        "figures": [(study.name, drawing(figure, "figure", f"Figure of softjax {study.name}: {seen(figure)}"))],
        "film": film(dataset, symbol),
        "table": _tables.of_rows(rows),
        "findings": study.findings(dataset, rows),
        "states": [],
    }


def _of_sweep(result: Result) -> dict[str, Any]:
    """What only the page of a sweep has."""
    rows = _tables.over_axes(result)
    first = drawn_row(rows, None)
    finite = [str(name) for name in rows["row"].values if rows["value"].sel(row=name).notnull().any()]
    shown = list(dict.fromkeys([first, *finite]))[:_MOST_ROWS]
    figures = []
    for number, name in enumerate(shown):
        alt = f"{name} over {' and '.join(result.axes)}; the table below has the numbers."
        largest = _ROW_BYTES if number else 4 * _ROW_BYTES
        figures.append((name, drawing(sweep_figure(rows, name), f"row{number}", alt, largest)))
    return {
        "figures": figures,
        "film": None,
        "table": _tables.of_cells(result, rows),
        "findings": _tables.extremes(result, rows),
        "states": _states(result),
    }


def _states(result: Result) -> list[tuple[str, str]]:
    """How the first member of every cell ends, with the cell's name; nothing for results of another kind."""
    states = result.dataset.get("final_state")
    pixels = ("y", "x", "channel")
    if states is None or [dim for dim in states.dims if dim not in (*result.axes, *pixels)] != [result.study.dim]:
        return []
    ends = states.isel({result.study.dim: 0}).stack(cell=result.axes).transpose("cell", ...)
    shown = zip(result.cells, ends.values, strict=True)
    return [(_tables.in_words(cell), picture(state, 96)) for cell, state in list(shown)[:_MOST_STATES]]
