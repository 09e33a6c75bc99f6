"""Critical times on one axis, above the curves that they are read from."""

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from softjax.plotting import STYLE, Figure, rate_panel

_COLORS = "tab10"


def figure(dataset: xr.Dataset) -> Figure:
    """The clocks, the growth rate of the uniform mode, and the agreement of clones, over one logarithmic time axis."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(9.5, 9), layout="constrained")
        drawn.suptitle(f"Clocks of the patch model, {dataset.sizes['y']} x {dataset.sizes['x']} sites", fontsize=12)
        clocks, rates, agreement = drawn.subplots(3, 1, sharex=True, height_ratios=(1.1, 1.4, 1))
        _clock_panel(clocks, dataset)
        rate_panel(rates, dataset)
        _agreement_panel(agreement, dataset, dataset.attrs["agreement_at_speciation"])
        times = dataset["time"].values
        agreement.set_xscale("log")
        agreement.set_xlim(times.max(), max(times.min(), 0.25 * float(dataset["clock_time"].min())))
        agreement.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        agreement.xaxis.set_major_formatter("{x:g}")
        agreement.xaxis.set_minor_formatter(NullFormatter())
        agreement.set_xlabel("diffusion time t  (noise to the left)")
    return drawn


def _clock_panel(axis: Axes, dataset: xr.Dataset) -> None:
    colors = mpl.colormaps[_COLORS].colors  # pyright: ignore[reportAttributeAccessIssue]
    for row, name in enumerate(dataset["clock"].values):
        at, color = dataset.sel(clock=name), colors[row % 10]
        axis.plot([at["clock_low"], at["clock_high"]], [row, row], color=color, linewidth=4, alpha=0.4)
        axis.plot(at["clock_time"], row, "o", color=color)
        axis.annotate(
            f"  {float(at['clock_time']):.3f}", (float(at["clock_time"]), row), fontsize=8.5, va="bottom", color=color
        )
    axis.set_yticks(range(dataset.sizes["clock"]), list(dataset["clock"].values))
    axis.invert_yaxis()
    axis.set_title("critical times, with 95% intervals where measured")


def _agreement_panel(axis: Axes, dataset: xr.Dataset, agreement_at_speciation: float) -> None:
    axis.errorbar(
        dataset["cloning_time"],
        dataset["agreement"],
        2 * dataset["agreement_error"],
        fmt="o-",
        color="black",
        markersize=4,
    )
    axis.axhline(agreement_at_speciation, color="0.4", linestyle=":", label=f"{agreement_at_speciation}: speciation")
    axis.set_ylabel("agreement of clones")
    axis.set_title("sites on which two clones end with the same sign")
    axis.legend(loc="lower right")
