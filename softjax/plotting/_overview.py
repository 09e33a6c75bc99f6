"""An experiment at a glance: its patterns, a denoising strip, lengths, growth, and mode responses (Figs. 3, 4)."""

from collections.abc import Callable
from typing import Literal

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax.analysis import CriticalPoint
from softjax.plotting._figure import Figure
from softjax.plotting._peak import mark_peak
from softjax.plotting._pictures import image
from softjax.plotting._softening import shell_curves
from softjax.plotting._style import EQUILIBRIUM, EXACT, NULL, STYLE

Quantity = Literal["magnitude", "rayleigh"]
_LABELS = {
    "magnitude": r"response magnitude $\|J v_n\|$  (1/t)",
    "rayleigh": r"Rayleigh quotient $v_n\cdot J v_n$  (1/t)",
}


def overview(
    dataset: xr.Dataset,
    peak: CriticalPoint,
    growth: xr.DataArray,
    quantity: Quantity = "magnitude",
    title: str = "",
    below: Callable[[SubFigure, xr.Dataset], None] | None = None,
) -> Figure:
    """The whole figure of an experiment's dataset.

    * `peak`: that of the equilibrium length, marked in every panel;
    * `growth`: of the correlation length, (trajectory, time), sites per unit of log t;
    * `quantity`: what the response panel shows;
    * `below`: draws a row of panels of the experiment's own.
    """
    with mpl.rc_context(STYLE):
        heights = (0.75, 1.15, 2.6) if below is None else (0.75, 1.15, 2.6, 2.2)
        figure = Figure(figsize=(12.5, 1.7 * sum(heights)), layout="constrained")
        figure.suptitle(f"{title}, {_size(dataset)}", fontsize=12)
        rows = figure.subfigures(len(heights), 1, height_ratios=heights)
        assert isinstance(rows, np.ndarray)
        _patterns(rows[0], dataset)
        _strip(rows[1], dataset)
        _curves(rows[2], dataset, peak, growth, quantity)
        if below is not None:
            below(rows[3], dataset)
    return figure


def _size(dataset: xr.Dataset) -> str:
    return f"{dataset.sizes['y']} x {dataset.sizes['x']} sites, {dataset.sizes['trajectory']} trajectories"


def _patterns(figure: SubFigure, dataset: xr.Dataset) -> None:
    """The dictionary where there is one, else what the trajectories end with."""
    patterns = dataset["dictionary" if "dictionary" in dataset else "final_state"].values[:10]
    axes = np.atleast_1d(figure.subplots(1, max(len(patterns), 10)))
    axes = np.roll(axes, -((len(axes) - len(patterns)) // 2))  # centred
    known = "dictionary and priors" if "prior" in dataset else "patterns"
    figure.suptitle(known if "dictionary" in dataset else "samples", fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    for index, (axis, pattern) in enumerate(zip(axes, patterns, strict=False)):
        image(axis, pattern)
        if "prior" in dataset:
            axis.set_title(f"{dataset['prior'].values[index]:.3g}", fontsize=8.5)
        if "class_index" in dataset:
            axis.set_title(_class(dataset, index), fontsize=8.5)


def _class(dataset: xr.Dataset, index: int) -> str:
    found, probability = dataset["class_index"], dataset["class_probability"].values[index]
    return f"{found.attrs['class_names'][found.values[index]]} {probability:.2f}"


def _strip(figure: SubFigure, dataset: xr.Dataset) -> None:
    times, states = dataset["snapshot_time"].values, dataset["snapshot_state"].values
    figure.suptitle("one reverse trajectory, from noise to pattern", fontsize=10)
    for axis, t, state in zip(figure.subplots(1, len(times)), times, states, strict=True):
        image(axis, state)
        axis.set_title(f"t = {t:.3g}", fontsize=9)


def _curves(
    figure: SubFigure, dataset: xr.Dataset, peak: CriticalPoint, growth: xr.DataArray, quantity: Quantity
) -> None:
    lengths, growing, response = figure.subplots(1, 3)
    _length_panel(lengths, dataset)
    _growth_panel(growing, growth)
    _response_panel(response, dataset, quantity, 0.5 * dataset.attrs.get("critical_time", float(peak.location)))
    for axis in (lengths, growing, response):
        _critical_lines(axis, dataset, peak)
        axis.set_xlabel("diffusion time t  (noise to the left)")
    for axis in (lengths, growing):
        axis.set_xscale("log")
        axis.set_xlim(dataset["time"].values.max(), dataset["time"].values.min())
    low, high = response.get_ylim()
    response.set_ylim(low, high + 0.4 * (high - low))  # room for the legend
    response.legend(loc="upper center", ncols=3)
    lengths.legend(loc="upper left")


def _length_panel(axis: Axes, dataset: xr.Dataset) -> None:
    ts, curves = dataset["time"].values, dataset["correlation_length"].values
    equilibrium = dataset["equilibrium_length"].values
    median = np.median(curves, axis=0)
    # Rescaled to the range of xi; a length that stays below one site is not blown up to look like a peak.
    scale = median.max() / max(np.median(equilibrium, axis=0).max(), 1)
    axis.plot(ts, curves.T, color="0.3", alpha=0.25, linewidth=0.8)
    axis.plot(ts, scale * equilibrium.T, color=EQUILIBRIUM, alpha=0.15, linewidth=0.7)
    axis.plot(ts, median, color="black", label=r"$\xi$, median (sites)")
    label = rf"$\xi_{{eq}}$, median $\times$ {scale:.2g}"
    axis.plot(ts, scale * np.median(equilibrium, axis=0), color=EQUILIBRIUM, linestyle="--", label=label)
    if "null_length" in dataset:
        axis.plot(ts, scale * dataset["null_length"].values, color=EQUILIBRIUM, **NULL, label="the same, Gaussian null")
    axis.set_ylim(0, 1.15 * max(curves.max(), median.max()))
    axis.set_title("correlation length of the pattern")
    axis.set_ylabel(r"$\xi$  (sites)")


def _growth_panel(axis: Axes, growth: xr.DataArray) -> None:
    ts = growth["time"].values
    axis.plot(ts, growth.values.T, color="0.3", alpha=0.25, linewidth=0.8)
    axis.plot(ts, np.median(growth.values, axis=0), color="black")
    axis.set_title("its growth")
    axis.set_ylabel(r"$-d\xi/d\log t$  (sites per e-fold)")


def _response_panel(axis: Axes, dataset: xr.Dataset, quantity: Quantity, end: float) -> None:
    """Responses down to the time `end`: further on they grow like 1/t and hide the minimum."""
    near = dataset["time"].values >= end
    near = near if near.sum() >= 3 else np.ones_like(near)
    ts = dataset["time"].values[near]
    responses = np.median(dataset[quantity].values, axis=0)[near]
    null = dataset["null_magnitude"].values[near] if quantity == "magnitude" and "null_magnitude" in dataset else None
    shell_curves(axis, ts, responses, null)
    if f"pattern_{quantity}" in dataset:
        along = np.median(dataset[f"pattern_{quantity}"].values, axis=0)[near]
        axis.plot(ts, along, color="black", linestyle="--", label="pattern")
    if quantity == "rayleigh":
        axis.axhline(0, color="0.25", linewidth=0.8)
    axis.set_xlim(ts.max(), ts.min())
    axis.set_title("softening of the Fourier shells")
    axis.set_ylabel(_LABELS[quantity])


def _critical_lines(axis: Axes, dataset: xr.Dataset, peak: CriticalPoint) -> None:
    if "critical_time" in dataset.attrs:
        axis.axvline(dataset.attrs["critical_time"], **EXACT, label=r"$t_c$, exact")
    if peak.peak >= 0.5:  # sites; below, there is no peak to mark
        mark_peak(axis, peak, r"peak of $\xi_{eq}$, 95%")
