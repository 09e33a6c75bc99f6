"""The numbers of a study's summary over the axes of a sweep."""

import math
from typing import Any

import numpy as np
import xarray as xr

from softjax.experiments._shared.config import changed
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import COST
from softjax.sweeps import Sweep, cell


def table(study: Study, config: Any, sweep: Sweep, dataset: xr.Dataset) -> xr.Dataset:
    """Value, and `low` and `high` of its 95% interval, of every row of the summary: (axes, row); NaN where none is.

    The axes are those that the sweep was given: a study that has some by itself summarises over these.
    Raises `ValueError` where the axes leave nothing to summarise.
    """
    own = study.axes(config)
    axes = [axis for axis in sweep.axes if axis.dim not in own]
    cells = sweep.cells[:: len(sweep.cells) // max(math.prod(len(axis.values) for axis in axes), 1)]
    units_of = sweep.units[:: len(sweep.cells) // len(cells)]  # a study's own axes run fastest
    shape = tuple(len(axis.values) for axis in axes)
    found: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for index, (every, unit) in enumerate(zip(cells, units_of, strict=True)):
        values = {name: value for name, value in every.items() if name not in own}
        one = cell(dataset, **values)
        if not one.sizes.get(study.dim, 1):
            continue
        one = one.merge(study.derive(changed(config, values), unit, one))
        for row in study.summary(one):
            if row.name not in COST:
                units[row.name] = row.units
                kept = found.setdefault(row.name, np.full((len(cells), 3), np.nan))
                kept[index] = [row.value, *(row.interval or (np.nan, np.nan))]
    if not found:
        raise ValueError("no cell of this sweep has a unit that is finite: there is nothing to summarise.")
    stacked = np.stack(list(found.values()), axis=1).reshape(*shape, len(found), 3)
    dims = (*(axis.dim for axis in axes), "row")
    coordinates = {name: dataset[name] for axis in axes for name in axis.names}
    return xr.Dataset(
        {name: (dims, stacked[..., place]) for place, name in enumerate(("value", "low", "high"))},
        coords={**coordinates, "row": list(found), "units": ("row", list(units.values()))},
    )


def drawn_row(rows: xr.Dataset, wanted: str | None) -> str:
    """The row whose name begins with `wanted`; without it the first that has intervals.

    Raises `ValueError` for a name that there is not.
    """
    names = [str(name) for name in rows["row"].values]
    if wanted is None:
        measured = [name for name in names if np.any(np.isfinite(rows["low"].sel(row=name)))]
        return (measured or names)[0]
    found = [name for name in names if name.startswith(wanted)]
    if not found:
        raise ValueError(f"--row must be the beginning of one of: {'; '.join(names)}; got {wanted!r}.")
    return found[0]
