"""Peaks of an experiment's curves, as figures mark them."""

import math

import numpy as np
from matplotlib.axes import Axes

from softjax.analysis import CriticalPoint
from softjax.plotting._style import EQUILIBRIUM, MEASURED


def mark_peak(axis: Axes, peak: CriticalPoint, label: str | None = None) -> None:
    """A line at the peak, and a band over its interval; nothing where there is no peak.

    * `axis`: of Matplotlib, drawn on;
    * `peak`: the `CriticalPoint`, in units of the axis;
    * `label`: for the legend.

    >>> ts = sj.log_grid(8.0, 1.0, 30)
    >>> peak = sj.critical_point(ts, jnp.exp(-2 * jnp.log(ts / 3.0) ** 2)[None], key=jr.key(0))
    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> sj.plotting.mark_peak(axis, peak)
    >>> print(f"{axis.lines[0].get_xdata()[0]:.2f}")
    3.00
    """
    if not math.isfinite(float(peak.location)):
        return
    low, high = np.asarray(peak.interval).tolist()
    axis.axvspan(low, high, color=EQUILIBRIUM, alpha=0.1, linewidth=0, zorder=0)
    axis.axvline(float(peak.location), **MEASURED, label=label)
