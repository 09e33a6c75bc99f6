"""A number over the axes of a sweep: a line, a heat map, or small multiples of these."""

import itertools

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from softjax.plotting._figure import Figure
from softjax.plotting._style import EQUILIBRIUM, STYLE

_MOST_PANELS, _MOST_TICKS = 24, 12


def sweep_figure(rows: xr.Dataset, row: str) -> Figure:
    """One row of a table with dimensions (axes, row): `value` with its interval from `low` to `high`.

    * `rows`: with `value`, `low` and `high` over the axes and row, and `units` over row;
    * `row`: the one that is drawn.

    One axis gives a line with error bars, two a heat map, more a heat map for each value of the others.

    >>> import xarray as xr
    >>> value = xr.DataArray([[2.0], [3.0]], dims=("patch_size", "row"))
    >>> numbers = {"value": value, "low": value - 0.1, "high": value + 0.1}
    >>> rows = xr.Dataset(numbers, {"patch_size": [3, 5], "row": ["t_c"], "units": ("row", ["t"])})
    >>> sj.plotting.sweep_figure(rows, "t_c").axes[0].get_ylabel()
    't_c (t)'
    """
    known = rows.sel(row=row)
    dims = [str(dim) for dim in known["value"].dims]
    label = f"{row} ({rows['units'].sel(row=row).item()})"
    with mpl.rc_context(STYLE):
        if len(dims) < 2:
            figure = Figure(figsize=(6, 4.2), layout="constrained")
            _line(figure.subplots(), known, dims, label)
            return figure
        return _maps(known, dims, label)


def _line(axis: Axes, known: xr.Dataset, dims: list[str], label: str) -> None:
    at = known[dims[0]].values if dims else np.zeros(1, int)
    places = at if at.dtype.kind in "iuf" else np.arange(at.size)
    value, low, high = (np.atleast_1d(known[name].values) for name in ("value", "low", "high"))
    axis.vlines(places, low, high, color=EQUILIBRIUM, alpha=0.4, linewidth=4, label="95% interval")
    ordered = at.dtype.kind in "iuf" and dims != ["seed"]  # seeds have no order
    axis.plot(places, value, "o-" if ordered else "o", color="black", markersize=4)
    if at.dtype.kind != "f" and at.size <= _MOST_TICKS:
        axis.set_xticks(places, [str(one) for one in at] if dims else [])
    axis.set(xlabel=dims[0] if dims else "", ylabel=label)
    if np.any(np.isfinite(low)):
        axis.legend()


def _maps(known: xr.Dataset, dims: list[str], label: str) -> Figure:
    others = list(itertools.product(*(range(known.sizes[dim]) for dim in dims[:-2])))[:_MOST_PANELS]
    columns = min(len(others), 4)
    lines = -(-len(others) // columns)
    figure = Figure(
        figsize=(1.2 + 3.6 * columns + (1.2 if columns == 1 else 0), 0.4 + 3.2 * lines), layout="constrained"
    )
    axes = figure.subplots(lines, columns, squeeze=False)
    values = known["value"].values
    finite = values[np.isfinite(values)]
    scale = Normalize(*((finite.min(), finite.max()) if finite.size else (0, 1)))
    for axis in axes.ravel()[len(others) :]:
        axis.set_axis_off()
    for axis, place in zip(axes.ravel(), others, strict=False):
        one = known.isel(dict(zip(dims[:-2], place, strict=True)))
        _map(axis, one, dims[-2:], scale)
        axis.set_title(", ".join(f"{dim} = {_short(one[dim].item())}" for dim in dims[:-2]))
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes.ravel().tolist(), label=label)
    return figure


def _map(axis: Axes, one: xr.Dataset, dims: list[str], scale: Normalize) -> None:
    """A heat map with its numbers, the last axis to the right."""
    values = one["value"].transpose(*dims).values
    axis.imshow(values, cmap="viridis", norm=scale, origin="lower", aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        dark = bool(np.isfinite(value)) and scale(value) < 0.6
        text = f"{value:.3g}" if np.isfinite(value) else "none"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axis.set_xticks(range(values.shape[1]), [_short(value) for value in one[dims[1]].values])
    axis.set_yticks(range(values.shape[0]), [_short(value) for value in one[dims[0]].values])
    axis.set(xlabel=dims[1], ylabel=dims[0])
    axis.grid(False)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
