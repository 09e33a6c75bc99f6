"""The table at the end of a run: critical times with their intervals, and what the run cost."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax.analysis import CriticalPoint, critical_point, log_derivative, onset, smooth
from softjax.plotting import equilibrium_peak


@dataclass(frozen=True)
class Row:
    """One line of the summary.

    `interval` is a 95% interval over trajectories; `also` has the same instant on other clocks.
    """

    name: str
    value: float
    units: str
    interval: tuple[float, float] | None = None
    also: tuple[tuple[str, float], ...] = ()

    @property
    def text(self) -> str:
        """The value and its interval for reading."""
        value = f"{self.value:.4g}" if math.isfinite(self.value) else "none"
        return value if self.interval is None else f"{value}  [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"


def peak_row(name: str, dataset: xr.Dataset, curves: xr.DataArray, lowest: float | None = None) -> Row:
    """Time at which the median over trajectories of (trajectory, time) curves peaks, above the time `lowest`."""
    window = None if lowest is None else (lowest, math.inf)
    return _row(name, _estimated(partial(critical_point, window=window), dataset, curves))


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
    lengths = dataset["correlation_length"]
    smoothed = smooth(jnp.asarray(dataset["time"].values), jnp.asarray(lengths.values))
    point = _estimated(onset, dataset, lengths.copy(data=np.asarray(smoothed)))
    return _row("onset of xi, median above 1 site", point)


def cost_rows(dataset: xr.Dataset) -> list[Row]:
    """What the run took."""
    attributes = dataset.attrs
    return [
        Row("trajectories", float(dataset.sizes["trajectory"]), ""),
        Row("compile time", attributes.get("compile_time_s", math.nan), "s"),
        Row("run time", attributes.get("run_time_s", math.nan), "s"),
        Row("site updates", attributes.get("site_updates_per_second", math.nan), "1/s"),
    ]


def _estimated(estimate: Callable[..., CriticalPoint], dataset: xr.Dataset, curves: xr.DataArray) -> CriticalPoint:
    key = jr.key(0)  # of the bootstrap only: the same data give the same interval
    return estimate(jnp.asarray(dataset["time"].values), jnp.asarray(curves.values), key=key)


def _row(name: str, point: CriticalPoint) -> Row:
    return Row(name, float(point.location), "t", (float(point.interval[0]), float(point.interval[1])))
