"""Critical times on one axis, above the curves that they are read from."""

from textwrap import fill

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from softjax.experiments.clocks.network import site_level
from softjax.experiments.clocks.table import AGREEMENT_AT_SPECIATION
from softjax.plotting import STYLE, Figure, length_curves, rate_panel

_COLORS = "tab10"


def figure(dataset: xr.Dataset) -> Figure:
    """The clocks, the curves that they are read from, and the agreement of clones, over one logarithmic time axis."""
    network = "target" in dataset.attrs
    clock = dataset.attrs.get("clock_of", "t")
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(9.5, 10 if network else 9), layout="constrained")
        sides = " x ".join(str(dataset.sizes[name]) for name in ("y", "x") if name in dataset.sizes)
        drawn.suptitle(
            f"Clocks of {dataset.attrs['target'] if network else 'the patch model'}, {sides} sites", fontsize=12
        )
        clocks, curves, agreement = drawn.subplots(3, 1, sharex=True, height_ratios=(1.4 if network else 1.1, 1.4, 1))
        _clock_panel(clocks, dataset)
        if network:
            length_curves(curves, dataset, r"$\xi$")
            curves.legend(loc="upper left")
        else:
            rate_panel(curves, dataset)
        _agreement_panel(agreement, dataset)
        times, found = dataset["time"].values, dataset["clock_time"].values
        agreement.set_xscale("log")
        agreement.set_xlim(times.max(), max(times.min(), 0.25 * float(found[np.isfinite(found)].min())))
        agreement.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        agreement.xaxis.set_major_formatter("{x:g}")
        agreement.xaxis.set_minor_formatter(NullFormatter())
        name = r"noise level $\sigma$" if clock == "sigma" else "diffusion time t"
        agreement.set_xlabel(f"{name}  (noise to the left)")
    return drawn


def _clock_panel(axis: Axes, dataset: xr.Dataset) -> None:
    colors = mpl.colormaps[_COLORS].colors  # pyright: ignore[reportAttributeAccessIssue]
    for row, name in enumerate(dataset["clock"].values):
        at, color = dataset.sel(clock=name), colors[row % 10]
        if not np.isfinite(at["clock_time"]):
            missing = fill(f"none: {at['clock_reason'].values}", 90)
            axis.text(0.02, row, missing, transform=axis.get_yaxis_transform(), fontsize=7.5, color="0.4", va="center")
            continue
        axis.plot([at["clock_low"], at["clock_high"]], [row, row], color=color, linewidth=4, alpha=0.4)
        axis.plot(at["clock_time"], row, "o", color=color)
        above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        value = float(at["clock_time"])
        axis.annotate(f"{value:.3f}", (value, row), fontsize=8.5, color=color, **above)
    axis.set_yticks(range(dataset.sizes["clock"]), list(dataset["clock"].values))
    axis.invert_yaxis()
    axis.set_title("critical times, with 95% intervals where measured")


def _agreement_panel(axis: Axes, dataset: xr.Dataset) -> None:
    known = (("agreement", "black", "sites"), ("class_agreement", "#2166ac", "classes"))
    for name, color, label in [one for one in known if one[0] in dataset]:
        error = 2 * dataset[f"{name}_error"]
        axis.errorbar(
            dataset["cloning_time"], dataset[name], error, fmt="o-", color=color, markersize=4, label=label, capsize=2
        )
    level = site_level(dataset) if "target" in dataset.attrs else AGREEMENT_AT_SPECIATION
    axis.axhline(level, color="0.4", linestyle=":", label=f"{level:.3g}: speciation, sites")
    if "class_agreement" in dataset:
        label = f"{AGREEMENT_AT_SPECIATION}: of classes"
        axis.axhline(AGREEMENT_AT_SPECIATION, color="#2166ac", linestyle=":", label=label)
    axis.set_ylabel("agreement of clones")
    axis.set_title("share of sites, or of classes, in which two clones end alike; bars of two standard errors")
    axis.legend(loc="lower right")
