"""Peaks of an experiment's curves, as figures mark them."""

import math

import numpy as np
from matplotlib.axes import Axes

from softjax.analysis import CriticalPoint
from softjax.plotting._style import EQUILIBRIUM, MEASURED


def mark_peak(axis: Axes, peak: CriticalPoint, label: str | None = None) -> None:
    """A line at the peak, and a band over its interval; nothing where there is no peak."""
    if not math.isfinite(float(peak.location)):
        return
    low, high = np.asarray(peak.interval).tolist()
    axis.axvspan(low, high, color=EQUILIBRIUM, alpha=0.1, linewidth=0, zorder=0)
    axis.axvline(float(peak.location), **MEASURED, label=label)
