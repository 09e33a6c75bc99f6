"""An EDM2 network along its sampler, against the noise level (Fig. 2)."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax._repr import with_interval
from softjax.experiments._shared.summary import equilibrium_peak, lowest_searched
from softjax.plotting import STYLE, Figure, image, legend_above, length_curves, mark_peak, shell_curves

_SHOWN = 10


def figure(dataset: xr.Dataset) -> Figure:
    """One trajectory and the images; lengths, mode responses, normalised dispersion; noise to the left."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(13, 7.6), layout="constrained")
        drawn.suptitle(f"EDM2 network: {dataset.sizes['trajectory']} trajectories of Heun's sampler", fontsize=12)
        rows = drawn.subfigures(3, 1, height_ratios=(1.1, 1, 2.6))
        assert isinstance(rows, np.ndarray)
        titles = [rf"$\sigma$ = {sigma:.3g}" for sigma in dataset["snapshot_time"].values]
        sigmas = dataset["snapshot_time"].values
        _pictures(rows[0], "one trajectory, from noise to image", dataset["snapshot_state"].values, titles, sigmas)
        finals = dataset["final_state"].values[:_SHOWN]
        _pictures(rows[1], "images", finals, [""] * len(finals), np.zeros(len(finals)))
        lengths, responses, dispersion = rows[2].subplots(1, 3)
        length_curves(lengths, dataset, r"$\xi$ of the luminance")
        _responses(responses, dataset)
        _dispersion(dispersion, dataset)
        peak = equilibrium_peak(dataset)
        for axis in (lengths, responses, dispersion):
            axis.set_xscale("log")
            axis.set_xlim(dataset["time"].values.max(), dataset["time"].values.min())
            mark_peak(axis, peak)
            axis.axvspan(lowest_searched(dataset), axis.get_xlim()[1], color="0.93", zorder=0)
            axis.set_xlabel(r"noise level $\sigma$  (noise to the left)")
        found = with_interval(peak.location, peak.interval)
        rows[2].suptitle(
            rf"peak of $\xi_{{eq}}$: $\sigma$ = {found} (dotted, its interval a band); grey: not searched", fontsize=10
        )
        legend_above(lengths)
        legend_above(responses, 0.45, 3)
    return drawn


def _pictures(figure: SubFigure, title: str, images: np.ndarray, titles: list[str], sigmas: np.ndarray) -> None:
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, state, name, sigma in zip(axes, images, titles, sigmas, strict=True):
        image(axis, state, sigma)
        axis.set_title(name, fontsize=9)


def _responses(axis: Axes, dataset: xr.Dataset) -> None:
    scaled = (dataset["magnitude"] * dataset["time"]).median("trajectory").values
    null = (dataset["null_magnitude"] * dataset["time"]).values if "null_magnitude" in dataset else None
    shell_curves(axis, dataset["time"].values, scaled, null)
    axis.set(title="softening of the Fourier shells", ylabel=r"$\sigma\,\|J v_n\|$")
    axis.set_ylim(bottom=0)


def _dispersion(axis: Axes, dataset: xr.Dataset) -> None:
    relative = (dataset["magnitude"] / dataset["magnitude"].sel(shell=0)).median("trajectory").values
    shell_curves(axis, dataset["time"].values, relative)
    axis.set(title="normalised dispersion", ylabel=r"$\Lambda_n/\Lambda_0$")
