"""What grows along the path, and what snapshots say about it."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from softjax.experiments._shared.summary import equilibrium_peak
from softjax.experiments.growth.study import at_the_peak, between, low_share, summary, tangent_rate
from softjax.plotting import EXACT, STYLE, Figure, mark_peak, shell_colors


def figure(dataset: xr.Dataset) -> Figure:
    """Growth of the leading tangents and of the shells over time; below, realised growth against two predictions."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(12.5, 7.6), layout="constrained")
        kind = {"sde": "reverse SDE", "flow": "probability flow"}[dataset.attrs["kind"]]
        drawn.suptitle(f"Growth along the path: {dataset.attrs['target']}, {kind}", fontsize=12)
        over_time, scatter = drawn.subplots(2, 3)
        _tangents(over_time[0], dataset)
        _shells(over_time[1], dataset)
        _share(over_time[2], dataset)
        for axis in over_time:
            _time_axis(axis, dataset)
        over_time[0].legend(loc="best")
        over_time[1].legend(loc="best", ncols=2, fontsize=7.5)
        _scatters(scatter, dataset)
    return drawn


def _tangents(axis: Axes, dataset: xr.Dataset) -> None:
    rates = tangent_rate(dataset)
    axis.plot(rates["time"], rates.values.T, color="black", alpha=0.15, linewidth=0.7)
    axis.plot(rates["time"], rates.median("trajectory"), color="black", label="leading tangent, median")
    free = dataset["free_growth"].values
    alone = -np.diff(free) / np.diff(dataset["log_snr"].values)
    axis.plot(dataset["time"].values[:-1], alone, **EXACT, label="noise alone")
    axis.axhline(0, color="0.25", linewidth=0.8)
    axis.set_ylim(float(alone.min()) - 1, 2 + 1.5 * float(rates.median("trajectory").max()))
    axis.set(title="growth rate of the direction that grows most", ylabel="ln amplitude per unit of ln SNR")


def _shells(axis: Axes, dataset: xr.Dataset) -> None:
    ts = dataset["time"].values
    for shell, color in shell_colors(dataset.sizes["shell"]):
        one = dataset.sel(shell=shell)
        axis.plot(ts, one["realised"].median("trajectory"), color=color, label=f"n = {shell}")
        axis.plot(ts, one["predicted"].median("trajectory"), color=color, linestyle="--", linewidth=1)
    axis.plot([], [], color="0.4", linestyle="--", linewidth=1, label="by the rates on the path")
    axis.set(title="growth of Fourier shells from t to the end", ylabel="ln amplitude, beyond noise alone")


def _share(axis: Axes, dataset: xr.Dataset) -> None:
    share = low_share(dataset)
    axis.plot(dataset["time"], share.T, color="black", alpha=0.15, linewidth=0.7)
    axis.plot(dataset["time"], np.median(share, axis=0), color="black")
    axis.set(title="what noise at t adds to the end", ylabel="share of shells 0 to 2", ylim=(0, 1.02))


def _time_axis(axis: Axes, dataset: xr.Dataset) -> None:
    ts, clock = dataset["time"].values, dataset.attrs["clock"]
    axis.set_xscale("log")
    axis.set_xlim(ts.max(), max(ts.min(), 0.2 * dataset.attrs["lowest_peak_time"]))
    axis.set_xlabel(r"noise level $\sigma$" if clock == "sigma" else "time t  (noise to the left)")
    peak = equilibrium_peak(dataset)
    if np.isfinite(float(peak.location)):
        mark_peak(axis, peak, r"peak of $\xi_{eq}$, 95%")


def _scatters(axes: np.ndarray, dataset: xr.Dataset) -> None:
    """Realised growth of every trajectory and shell from the peak on, and what was predicted."""
    there, rows = dataset.isel(time=at_the_peak(dataset)), {row.name: row for row in summary(dataset)}
    realised, predicted = there["realised"].values, there["predicted"].values
    snapshot = -np.log(np.maximum(there["softness"].values, 1e-12))
    inside, grown = between(snapshot, 1), between(realised, 1)
    alone = "softness at the peak"
    pairs = [
        (snapshot, realised, alone, r"$-\ln$ (response / that of noise)", f"r^2, {alone}"),
        (predicted, realised, "rates along the path", "predicted growth (ln)", "r^2, rates along the path"),
        (inside, grown, f"{alone}, between shells", "softness, less the trajectory's", f"r^2 between shells, {alone}"),
    ]
    for axis, (x, y, title, label, row) in zip(axes, pairs, strict=True):
        for shell, color in shell_colors(dataset.sizes["shell"]):
            axis.plot(x[:, shell], y[:, shell], "o", color=color, markersize=4, label=f"n = {shell}")
        axis.set(title=f"{title}\n$r^2$ = {rows[row].text}", xlabel=label)
    axes[0].set_ylabel("realised growth from the peak to the end (ln)")
    axes[0].legend(loc="best", ncols=2, fontsize=7.5)
