"""The table at the end of a run: critical times with their intervals, and what the run cost."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax.analysis import CriticalPoint, critical_point, log_derivative, onset, zero_crossing

_MANY = 0.05  # share of resamples without a peak or a crossing that the table mentions


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
        """The value with its interval, and what is doubtful about it, for reading."""
        return self.number + (f" ({self.reason})" if self.reason else "")

    @property
    def number(self) -> str:
        """The value with its interval."""
        if not math.isfinite(self.value):
            return "none"
        interval = "" if self.interval is None else f"  [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        return f"{self.value:.4g}{interval}"


def peak_window(dataset: xr.Dataset) -> tuple[float, float] | None:
    """The times between which the equilibrium length's peak is looked for; None for all.

    Above `lowest_peak_time` of the dataset, a tenth of t_c where that is not named: below, single trajectories have
    spikes. A grid with fewer than three times above is searched whole.
    """
    return _above(dataset, lowest_searched(dataset))


def lowest_searched(dataset: xr.Dataset) -> float:
    """The time below which no peak of the equilibrium length is looked for."""
    return dataset.attrs.get("lowest_peak_time", 0.1 * dataset.attrs.get("critical_time", 0.0))


def _above(dataset: xr.Dataset, lowest: float) -> tuple[float, float] | None:
    return (lowest, math.inf) if np.sum(dataset["time"].values >= lowest) >= 3 else None


def median_peak(dataset: xr.Dataset, curves: xr.DataArray, lowest: float = 0.0) -> CriticalPoint:
    """Where the median over trajectories of curves (trajectory, time) peaks, with its 95% interval (App. E.7).

    Location and interval are in the units of the dataset's time, the peak in those of the curves. Times below `lowest`
    are left out, but a grid with fewer than three times above is searched whole. The same data give the same interval.
    Raises `ValueError` for curves that are not finite or of another shape.
    """
    ts, window = jnp.asarray(dataset["time"].values), _above(dataset, lowest)
    return critical_point(ts, jnp.asarray(curves.values), key=jr.key(0), window=window)


def equilibrium_peak(dataset: xr.Dataset) -> CriticalPoint:
    """`median_peak` of the equilibrium length (trajectory, time) in sites, within `peak_window`."""
    return median_peak(dataset, dataset["equilibrium_length"], lowest_searched(dataset))


def nearest(times: xr.DataArray, time: float) -> int:
    """Index of the time that is nearest by its logarithm."""
    return int(np.argmin(np.abs(np.log(times.values / time))))


def softest(dataset: xr.Dataset, peak: float) -> int:
    """Index of the time of the equilibrium length's peak; without one, of where the median length is largest."""
    if np.isfinite(peak):
        return nearest(dataset["time"], peak)
    return int(np.argmax(dataset["equilibrium_length"].median("trajectory").values))


def growth(dataset: xr.Dataset) -> xr.DataArray:
    """Growth -dxi/dlog t of the pattern's correlation length, (trajectory, time) in sites."""
    lengths = dataset["correlation_length"]
    slope = log_derivative(jnp.asarray(dataset["time"].values), jnp.asarray(lengths.values))
    return lengths.copy(data=-np.asarray(slope))


def peak_row(name: str, dataset: xr.Dataset, curves: xr.DataArray, lowest: float = 0.0) -> Row:
    """Time at which the median over trajectories of (trajectory, time) curves peaks, above the time `lowest`."""
    return point_row(name, median_peak(dataset, curves, lowest))


def equilibrium_row(dataset: xr.Dataset) -> Row:
    """The peak of the equilibrium length that the figures mark."""
    return point_row("peak of median xi_eq", equilibrium_peak(dataset))


def growth_row(dataset: xr.Dataset) -> Row:
    """Time at which the pattern's correlation length grows fastest."""
    return peak_row("fastest growth of xi, -dxi/dlog t", dataset, growth(dataset))


def instability_row(dataset: xr.Dataset) -> Row:
    """Time at which the mean growth rate of the uniform mode passes zero."""
    return point_row("t_c, measured", instability(dataset))


def instability(dataset: xr.Dataset) -> CriticalPoint:
    """Where the mean growth rate of the uniform mode passes zero."""
    rates = jnp.asarray(dataset["rayleigh"].sel(shell=0).values)
    return zero_crossing(jnp.asarray(dataset["time"].values), rates, key=jr.key(0))


def onset_row(dataset: xr.Dataset) -> Row:
    """Time from which on the median of the pattern's correlation length, smoothed, stays above one site."""
    ts, lengths = (jnp.asarray(dataset[name].values) for name in ("time", "correlation_length"))
    return point_row("onset of xi, median above 1 site", onset(ts, lengths, key=jr.key(0)))


COST = ("trajectories", "compile time", "run time", "site updates")


def cost_rows(dataset: xr.Dataset) -> list[Row]:
    """What the run took."""
    known = dataset.attrs
    updates = known["updates_per_trajectory"] * known["units_computed"]
    rate = updates / known["run_time_s"] if known["run_time_s"] else math.nan
    values = (float(dataset.sizes["trajectory"]), known["compile_time_s"], known["run_time_s"], rate)
    return [Row(name, value, unit) for name, value, unit in zip(COST, values, ("", "s", "s", "1/s"), strict=True)]


def softening_findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """Where the equilibrium length peaks and how soft the modes are there, in words."""
    by_name = {row.name: row for row in rows}
    peak, fastest = by_name["peak of median xi_eq"], by_name["fastest growth of xi, -dxi/dlog t"]
    if not math.isfinite(peak.value):
        return f"The equilibrium length has no peak ({peak.reason}); the pattern grows fastest at t = {fastest.text}."
    medians = dataset["magnitude"].median("trajectory")
    softness = (medians / medians.isel(time=0)).sel(time=peak.value, method="nearest").values
    exact = f" (exact t_c {dataset.attrs['critical_time']:.4g})" if "critical_time" in dataset.attrs else ""
    return (
        f"The equilibrium length peaks at t = {peak.text}{exact}. There the responses of shells 0, 1 and "
        f"{softness.size - 1} are {softness[0]:.2f}, {softness[1]:.2f} and {softness[-1]:.2f} of those of noise. "
        f"The pattern's correlation length grows fastest at t = {fastest.text}."
    )


def point_row(name: str, point: CriticalPoint, units: str = "t") -> Row:
    """A critical point with its interval, and what is to be known about it."""
    lost = float(point.lost)
    doubt = point.reason or (f"{lost:.0%} of the resamples have none" if lost > _MANY else "")
    interval = (float(point.interval[0]), float(point.interval[1]))
    return Row(name, float(point.location), units, interval, reason=doubt)
