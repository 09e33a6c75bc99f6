"""One look for all figures."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "image.cmap": "RdBu_r",
    "pdf.fonttype": 42,
}
FIELD_LIMITS = {"vmin": -1.6, "vmax": 1.6, "interpolation": "nearest"}
EQUILIBRIUM = "#c1272d"
EXACT = {"color": "0.25", "linestyle": (0, (5, 3)), "linewidth": 1.1}
MEASURED = {"color": EQUILIBRIUM, "linestyle": (0, (1.5, 2)), "linewidth": 1.3}
NULL: dict[str, Any] = {"linestyle": ":", "linewidth": 1.1, "alpha": 0.9}
SHELLS = "viridis"


def shell_colors(number: int) -> list[tuple[int, np.ndarray]]:
    """Fourier shells 0, 1, ... each with its color.

    * `number`: how many shells, the mean included.

    Returns pairs of a shell's number and its color (4,), red, green, blue and opacity from 0 to 1.

    >>> [(shell, color.round(2).tolist()) for shell, color in sj.plotting.shell_colors(2)]
    [(0, [0.27, 0.0, 0.33, 1.0]), (1, [0.79, 0.88, 0.12, 1.0])]
    """
    return list(enumerate(mpl.colormaps[SHELLS](np.linspace(0, 0.92, number))))


def legend_above(axis: Axes, room: float = 0.35, columns: int = 2) -> None:
    """A legend in a band above all curves, which gets a share of the axis.

    * `axis`: of Matplotlib, drawn on: its upper limit moves;
    * `room`: height of the band, in units of the axis so far;
    * `columns`: of the legend.

    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> _ = axis.plot([0.0, 1.0], [0.0, 2.0], label="a curve")
    >>> sj.plotting.legend_above(axis)
    >>> bool(axis.get_ylim()[1] > 2.5)
    True
    """
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + room * (high - low))
    axis.legend(loc="upper left", ncols=columns)
