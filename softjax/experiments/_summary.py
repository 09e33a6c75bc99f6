"""The table at the end of a run: critical times with their intervals, and what the run cost."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax.analysis import CriticalPoint, log_derivative, onset, smooth
from softjax.plotting import equilibrium_peak, median_peak


@dataclass(frozen=True)
class Row:
    """One line of the summary.

    `interval` is a 95% interval over trajectories; `also` has the same instant on other clocks; `reason` says why there
    is no value, or what is doubtful about it.
    """

    name: str
    value: float
    units: str
    interval: tuple[float, float] | None = None
    also: tuple[tuple[str, float], ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        """The value and its interval for reading."""
        note = f" ({self.reason})" if self.reason else ""
        if not math.isfinite(self.value):
            return f"none{note}"
        interval = "" if self.interval is None else f"  [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        return f"{self.value:.4g}{interval}{note}"


def peak_row(name: str, dataset: xr.Dataset, curves: xr.DataArray, lowest: float = 0.0) -> Row:
    """Time at which the median over trajectories of (trajectory, time) curves peaks, above the time `lowest`."""
    return _row(name, median_peak(dataset, curves, lowest))


def equilibrium_row(dataset: xr.Dataset) -> Row:
    """The peak of the equilibrium length that the figures mark."""
    return _row("peak of median xi_eq", equilibrium_peak(dataset))


def growth_row(dataset: xr.Dataset) -> Row:
    """Time at which the pattern's correlation length grows fastest."""
    lengths = dataset["correlation_length"]
    growth = -log_derivative(jnp.asarray(dataset["time"].values), jnp.asarray(lengths.values))
    return peak_row("fastest growth of xi, -dxi/dlog t", dataset, lengths.copy(data=np.asarray(growth)))


def onset_row(dataset: xr.Dataset) -> Row:
    """Time from which on the median of the pattern's correlation length, smoothed, stays above one site."""
    ts, lengths = (jnp.asarray(dataset[name].values) for name in ("time", "correlation_length"))
    return _row("onset of xi, median above 1 site", onset(ts, smooth(ts, lengths), key=jr.key(0)))


def cost_rows(dataset: xr.Dataset) -> list[Row]:
    """What the run took."""
    attributes = dataset.attrs
    return [
        Row("trajectories", float(dataset.sizes["trajectory"]), ""),
        Row("compile time", attributes.get("compile_time_s", math.nan), "s"),
        Row("run time", attributes.get("run_time_s", math.nan), "s"),
        Row("site updates", attributes.get("site_updates_per_second", math.nan), "1/s"),
    ]


def _row(name: str, point: CriticalPoint) -> Row:
    interval = (float(point.interval[0]), float(point.interval[1]))
    return Row(name, float(point.location), "t", interval, reason=point.reason)
