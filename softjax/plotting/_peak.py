"""Peaks of an experiment's curves, as figures mark them and summaries name them."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from softjax.analysis import CriticalPoint, critical_point
from softjax.plotting._style import EQUILIBRIUM, MEASURED


def median_peak(dataset: xr.Dataset, curves: xr.DataArray, lowest: float = 0.0) -> CriticalPoint:
    """Where the median over trajectories of curves (trajectory, time) peaks, with its 95% interval (App. E.7).

    Location and interval are in the units of the dataset's time, the peak in those of the curves. Times below `lowest`
    are left out, but a grid with fewer than three times above is searched whole. The same data give the same interval.
    Raises `ValueError` for curves that are not finite or of another shape.
    """
    ts = dataset["time"].values
    window = (lowest, math.inf) if np.sum(ts >= lowest) >= 3 else None
    return critical_point(jnp.asarray(ts), jnp.asarray(curves.values), key=jr.key(0), window=window)


def equilibrium_peak(dataset: xr.Dataset) -> CriticalPoint:
    """`median_peak` of the equilibrium length (trajectory, time) in sites.

    It is looked for above `lowest_peak_time` of the dataset, a tenth of t_c where that is not named: below, single
    trajectories have spikes.
    """
    lowest = dataset.attrs.get("lowest_peak_time", 0.1 * dataset.attrs.get("critical_time", 0.0))
    return median_peak(dataset, dataset["equilibrium_length"], lowest)


def mark_peak(axis: Axes, peak: CriticalPoint, label: str) -> None:
    """A line at the peak, and a band over its interval; nothing where there is no peak."""
    if not math.isfinite(float(peak.location)):
        return
    low, high = np.asarray(peak.interval).tolist()
    axis.axvspan(low, high, color=EQUILIBRIUM, alpha=0.1, linewidth=0, zorder=0)
    axis.axvline(float(peak.location), **MEASURED, label=label)
