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
from softjax.plotting._time import vp_time_axis
from softjax.plotting._zone import zone_strip

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
    crossing: CriticalPoint | None = None,
    lowest: float = 0.0,
    below: Callable[[SubFigure, xr.Dataset], None] | None = None,
) -> Figure:
    """The whole figure of an experiment's dataset.

    * `dataset`: of trajectories, as `softjax.experiments.patch` makes it;
    * `peak`: that of the equilibrium length, marked in every panel;
    * `growth`: of the correlation length, (trajectory, time), sites per unit of log t;
    * `quantity`: what the response panel shows;
    * `title`: of the figure;
    * `crossing`: where the measured rate of the uniform mode passes zero, if that is to be shown: later than the exact
      time at x = 0, as fluctuations lower the rate;
    * `lowest`: the time below which the peak is not looked for;
    * `below`: draws a row of panels of the experiment's own.

    >>> from softjax.experiments.configs import PatchConfig, Probe, TimeGrid
    >>> config = PatchConfig(grid_size=8, num_trajectories=2, time=TimeGrid(num_steps=20), probe=Probe(max_shell=3))
    >>> data = sj.experiments.patch.run(config)
    >>> peak = sj.critical_point(data["time"].values, data["equilibrium_length"].values, key=jr.key(0))
    >>> growth = -data["correlation_length"].differentiate("time") * data["time"]
    >>> len(sj.plotting.overview(data, peak, growth, title="two patterns").subfigs)
    3
    """
    with mpl.rc_context(STYLE):
        strip = 2.4 if "snapshot_zone" in dataset else 1.3
        heights = (0.8, strip, 2.9) if below is None else (0.8, strip, 2.9, 2.3)
        figure = Figure(figsize=(15, 1.75 * sum(heights)), layout="constrained")
        figure.suptitle(f"{title}, {_size(dataset)}", fontsize=12)
        rows = figure.subfigures(len(heights), 1, height_ratios=heights)
        assert isinstance(rows, np.ndarray)
        _patterns(rows[0], dataset)
        _strip(rows[1], dataset)
        _curves(rows[2], dataset, peak, growth, quantity, crossing, lowest)
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
    rates = dataset.get("snapshot_zone")
    beneath = "" if rates is None else "; below, the growth rate of every wave at that state (-1: noise, 0: marginal)"
    figure.suptitle(f"one reverse trajectory, from noise to pattern{beneath}", fontsize=10)
    axes = figure.subplots(1 if rates is None else 2, len(times), squeeze=False)
    for axis, t, state in zip(axes[0], times, states, strict=True):
        image(axis, state)
        axis.set_title(f"t = {t:.3g}", fontsize=9)
    if rates is not None:
        zone_strip(figure, axes[1], rates.values)


def _curves(
    figure: SubFigure,
    dataset: xr.Dataset,
    peak: CriticalPoint,
    growth: xr.DataArray,
    quantity: Quantity,
    crossing: CriticalPoint | None,
    lowest: float,
) -> None:
    panels = figure.subplots(1, 4)
    _length_panel(panels[0], dataset)
    _growth_panel(panels[1], growth)
    _equilibrium_panel(panels[2], dataset, lowest)
    _response_panel(panels[3], dataset, quantity, 0.5 * dataset.attrs.get("critical_time", float(peak.location)))
    known = ""
    for axis in panels:
        vp_time_axis(axis, dataset)
        known = _critical_lines(axis, dataset, peak)
    if crossing is not None and np.isfinite(float(crossing.location)):
        panels[3].axvline(float(crossing.location), color="#2166ac", linestyle="-.", linewidth=1.2)
        where = f"{float(crossing.location):.4g}, fluctuations included (dash-dotted)"
        known += f"      uniform mode's rate is zero at {where}"
    figure.suptitle(known, fontsize=10)
    for panel in panels[2:]:
        panel.legend(loc="upper right")


def _length_panel(axis: Axes, dataset: xr.Dataset) -> None:
    ts, curves = dataset["time"].values, dataset["correlation_length"].values
    axis.plot(ts, curves.T, color="0.3", alpha=0.25, linewidth=0.8)
    axis.plot(ts, np.median(curves, axis=0), color="black")
    axis.set_ylim(0, 1.1 * curves.max())
    axis.set(title="correlation length of the pattern (black: median)", ylabel=r"$\xi$  (sites)")


def _growth_panel(axis: Axes, growth: xr.DataArray) -> None:
    ts = growth["time"].values
    axis.plot(ts, growth.values.T, color="0.3", alpha=0.25, linewidth=0.8)
    axis.plot(ts, np.median(growth.values, axis=0), color="black")
    axis.set(title="its growth (black: median)", ylabel=r"$-d\xi/d\log t$  (sites per e-fold)")


def _equilibrium_panel(axis: Axes, dataset: xr.Dataset, lowest: float) -> None:
    """The equilibrium length where its peak is looked for; elsewhere a few sites carry the whole response."""
    searched = dataset["time"].values >= lowest
    searched = searched if searched.sum() >= 3 else np.ones_like(searched)
    ts, curves = dataset["time"].values[searched], dataset["equilibrium_length"].values[:, searched]
    median = np.median(curves, axis=0)
    axis.plot(ts, curves.T, color=EQUILIBRIUM, alpha=0.2, linewidth=0.7)
    axis.plot(ts, median, color=EQUILIBRIUM, label=r"$\xi_{eq}$, median")
    null = dataset["null_length"].values[searched] if "null_length" in dataset else np.zeros(1)
    if null.size > 1:
        axis.plot(ts, null, color=EQUILIBRIUM, **NULL, label="Gaussian null")
    if not searched.all():
        axis.axvspan(ts.min(), dataset["time"].values.min(), color="0.92", label="not searched", zorder=0)
    axis.set_ylim(0, max(1.35 * max(median.max(), null.max()), 1.0))
    axis.set(title="length inferred from the responses", ylabel=r"$\xi_{eq}$  (sites)")


def _response_panel(axis: Axes, dataset: xr.Dataset, quantity: Quantity, end: float) -> None:
    """Responses, the limits those down to the time `end`: further on they grow like 1/t and hide the minimum."""
    ts, responses = dataset["time"].values, np.median(dataset[quantity].values, axis=0)
    null = dataset["null_magnitude"].values if quantity == "magnitude" and "null_magnitude" in dataset else None
    shell_curves(axis, ts, responses, null)
    near = ts >= end if (ts >= end).sum() >= 3 else np.ones_like(ts, bool)
    seen = responses[near] if null is None else np.concatenate([responses[near], null[near]], axis=1)
    if f"pattern_{quantity}" in dataset:
        along = np.median(dataset[f"pattern_{quantity}"].values, axis=0)
        axis.plot(ts, along, color="black", linestyle="--", label="pattern")
        seen = np.concatenate([seen, along[near, None]], axis=1)
    if quantity == "rayleigh":
        axis.axhline(0, color="0.25", linewidth=0.8)
    room = 0.08 * float(np.ptp(seen)) or 1.0
    axis.set_ylim(float(seen.min()) - room, float(seen.max()) + room)
    axis.set(title="softening of the Fourier shells", ylabel=_LABELS[quantity])


def _critical_lines(axis: Axes, dataset: xr.Dataset, peak: CriticalPoint) -> str:
    """Lines at the exact critical time and at the measured peak; what they are, in words."""
    known = []
    if "critical_time" in dataset.attrs:
        exact = dataset.attrs["critical_time"]
        axis.axvline(exact, **EXACT)
        known.append(rf"$t_c$ = {exact:.4g}, exact at x = 0 (dashed)")
    if peak.peak >= 0.5:  # sites; below, there is no peak to mark
        mark_peak(axis, peak)
        low, high = np.asarray(peak.interval).tolist()
        known.append(rf"peak of $\xi_{{eq}}$: {float(peak.location):.4g} [{low:.4g}, {high:.4g}] (dotted)")
    return "      ".join(known)
