"""What a pulse of guidance does, and when (Fig. 5, App. F.9)."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax.analysis import PairedDifference
from softjax.experiments.pulse.study import difference_of
from softjax.plotting import EQUILIBRIUM, EXACT, NULL, STYLE, Figure, image, legend_above

_GREY = "0.45"
_STRIPS = ("no guidance", "critical pulse")
_NUM_STANDARD_ERRORS = 1.96  # of a 95% interval


def figure(dataset: xr.Dataset) -> Figure:
    """Two trajectories of one start; scores by class; gain against the pulse's centre. Noise to the left."""
    difference = difference_of(dataset, "probability")
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(13, 8.6), layout="constrained")
        drawn.suptitle(_title(dataset), fontsize=12)
        rows = drawn.subfigures(2, 1, height_ratios=(1, 1.55))
        assert isinstance(rows, np.ndarray)
        _trajectories(rows[0], dataset)
        by_class, gains, curve = rows[1].subplots(1, 3, width_ratios=(1, 0.8, 1.5))
        names = str(dataset.attrs["class_names"]).split("|")
        _by_class(by_class, dataset, names)
        _differences(gains, difference)
        _curve(curve, dataset)
    return drawn


def _title(dataset: xr.Dataset) -> str:
    attributes, trials = dataset.attrs, dataset.sizes["trajectory"]
    return (
        f"Guidance pulses: {trials} trials, strength {attributes['strength']:g}, "
        rf"width {attributes['width']:g} in $\ln\sigma$"
    )


def _trajectories(figure: SubFigure, dataset: xr.Dataset) -> None:
    states, sigmas = dataset["snapshot_state"].values, dataset["snapshot_sigma"].values
    axes = figure.subplots(2, len(sigmas))
    for row, (name, strip) in enumerate(zip(_STRIPS, states, strict=True)):
        axes[row, 0].set_ylabel(name)
        for axis, sigma, state in zip(axes[row], sigmas, strip, strict=True):
            image(axis, state, sigma)
    for axis, sigma in zip(axes[0], sigmas, strict=True):
        inside = abs(np.log(sigma / dataset.attrs["critical_sigma"])) <= dataset.attrs["width"] / 2
        axis.set_title(rf"$\sigma$ = {sigma:.3g}", fontsize=9, color=EQUILIBRIUM if inside else "black")
    figure.suptitle("one start, without guidance and with the critical pulse (levels inside it in red)", fontsize=10)


def _by_class(axis: Axes, dataset: xr.Dataset, names: list[str]) -> None:
    """Mean target probability of every class under the two pulses and without any."""
    labels = dataset["trial_class"].values
    order = labels[: len(names)]
    scores, rows = dataset["probability"], np.arange(len(names))[::-1]
    trials = labels[: scores.shape[0]]
    styles = (
        (0, "|", "black", "no guidance"),
        (3, "o", _GREY, "random pulse"),
        (2, "o", EQUILIBRIUM, "critical pulse"),
    )
    for condition, marker, color, label in styles:
        means = [scores.values[trials == group, condition].mean() for group in order]
        axis.plot(means, rows, marker, color=color, label=label, markersize=9 if marker == "|" else 5)
    axis.set_yticks(rows, names)
    axis.set(xlabel="mean probability of the class asked for", title="target probability")
    axis.legend(loc="lower left")


def _differences(axis: Axes, difference: PairedDifference) -> None:
    """Critical minus random, by class and over all, with 95% intervals."""
    means, intervals = np.asarray(difference.group_mean), np.asarray(difference.group_interval)
    rows = np.arange(len(means))[::-1]
    axis.hlines(rows, intervals[:, 0], intervals[:, 1], color=_GREY)
    axis.plot(means, rows, "o", color="black", markersize=4)
    low, high = np.asarray(difference.interval)
    axis.axvspan(low, high, color=EQUILIBRIUM, alpha=0.2, linewidth=0)
    axis.axvline(float(difference.mean), color=EQUILIBRIUM)
    axis.axvline(0, **EXACT)
    axis.set_yticks(rows, [""] * len(rows))
    axis.set(
        xlabel="critical $-$ random pulse",
        title=f"difference, all classes: {float(difference.mean):+.3f}\n"
        f"[{low:+.3f}, {high:+.3f}], p = {float(difference.p_value):.2g}",
    )


def _curve(axis: Axes, dataset: xr.Dataset) -> None:
    """Gain of pulses of equal dose over no guidance, with paired standard errors."""
    sigma, attributes = dataset["center"].values, dataset.attrs
    none = dataset["probability"].values[:, 0]
    gains = dataset["curve_probability"].values - none[:, None]
    error = _NUM_STANDARD_ERRORS * gains.std(0, ddof=1) / np.sqrt(len(gains))
    axis.plot(sigma, gains.mean(0), "o-", color="black", markersize=4, label="pulse of equal dose, 95% interval")
    axis.fill_between(sigma, gains.mean(0) - error, gains.mean(0) + error, color="black", alpha=0.15, linewidth=0)
    constant = float((dataset["probability"].values[:, 1] - none).mean())
    axis.axhline(constant, color="#1f6fb2", label="constant guidance of that dose")
    axis.axhline(0, **EXACT, label=f"no guidance (probability {none.mean():.3f})")
    axis.axvspan(attributes["critical_low"], attributes["critical_high"], color=EQUILIBRIUM, alpha=0.2, linewidth=0)
    critical = rf"$\sigma_c$ = {attributes['critical_sigma']:.3g} (peak of $\xi_{{eq}}$)"
    axis.axvline(attributes["critical_sigma"], color=EQUILIBRIUM, label=critical)
    null = rf"Gaussian null, $\sigma$ = {attributes['null_sigma']:.3g}"
    axis.axvline(attributes["null_sigma"], color=EQUILIBRIUM, **NULL, label=null)
    axis.set_xscale("log")
    axis.set_xlim(sigma.max() * 1.3, sigma.min() / 1.3)
    axis.set(
        xlabel=r"centre of the pulse, noise level $\sigma$  (noise to the left)",
        ylabel="gain in target probability",
        title=rf"response to pulses of equal dose $\int(w-1)\,d\ln\sigma$ = {attributes['dose']:.3g}",
    )
    legend_above(axis, 0.5, 1)
