"""The trained network beside the optimal local scores of its data."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax.plotting import SHELLS, STYLE, Figure, image

_SHOWN_SAMPLES = 8


def figure(dataset: xr.Dataset) -> Figure:
    """Agreement of denoisers against time, best patch size, agreement of samples; below, the samples."""
    local = [str(name) for name in dataset["model"].values if str(name).startswith("w = ")]
    colors = dict(zip(local, mpl.colormaps[SHELLS](np.linspace(0, 0.92, len(local))), strict=True))
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(12.5, 7.5), layout="constrained")
        drawn.suptitle("A trained network against optimal local scores of its data", fontsize=12)
        rows = drawn.subfigures(2, 1, height_ratios=(1.5, 1))
        assert isinstance(rows, np.ndarray)
        agreement, size, samples = rows[0].subplots(1, 3)
        _agreement(agreement, dataset, colors)
        _best_size(size, dataset)
        _sample_agreement(samples, dataset, colors)
        _samples(rows[1], dataset)
    return drawn


def _agreement(axis: Axes, dataset: xr.Dataset, colors: dict) -> None:
    ts = dataset["time"].values
    for name, color in colors.items():
        curves = dataset["denoiser_r2"].sel(model=name)
        axis.plot(ts, curves.median("state").values, color=color, marker=".", label=name)
        low, high = (curves.quantile(q, "state").values for q in (0.25, 0.75))
        axis.fill_between(ts, low, high, color=color, alpha=0.12, linewidth=0)
    axis.set(title="denoised images: agreement with the network", ylabel="squared correlation, median and quartiles")
    _time_axis(axis, ts)
    axis.set_ylim(0, 1.02)
    axis.legend(title="patch side (sites)")


def _best_size(axis: Axes, dataset: xr.Dataset) -> None:
    ts = dataset["time"].values
    axis.plot(ts, dataset["best_patch_size"].values, color="black", marker="o", drawstyle="steps-mid")
    axis.set(title="patch size that agrees best", ylabel="patch side w  (sites)")
    axis.set_ylim(bottom=0)
    _time_axis(axis, ts)


def _time_axis(axis: Axes, ts: np.ndarray) -> None:
    axis.set_xscale("log")
    axis.set_xlim(ts.max(), ts.min())
    axis.set_xlabel("diffusion time t  (noise to the left)")


def _sample_agreement(axis: Axes, dataset: xr.Dataset, colors: dict) -> None:
    names = [*colors, "best"]
    for place, name in enumerate(names):
        values = dataset["sample_r2"].sel(model=name).values
        color = colors.get(name, "black")
        axis.plot(np.full(values.size, place), values, "o", color=color, alpha=0.35, markersize=4)
        axis.plot([place - 0.25, place + 0.25], [np.median(values)] * 2, color=color, linewidth=2.5)
    axis.set_xticks(range(len(names)), names, rotation=30)
    axis.set(title="images from equal noise: agreement", ylabel="squared correlation, each image and median")
    axis.set_ylim(0, 1.02)


def _samples(figure: SubFigure, dataset: xr.Dataset) -> None:
    number = min(dataset.sizes["number"], _SHOWN_SAMPLES)
    axes = figure.subplots(2, number, squeeze=False)
    for row, name in enumerate(("network", "best")):
        images = dataset["sample"].sel(model=name).values
        for column in range(number):
            image(axes[row, column], images[column])
        axes[row, 0].set_ylabel("network" if name == "network" else "local, best w")
    for column, value in enumerate(dataset["sample_r2"].sel(model="best").values[:number]):
        axes[1, column].set_xlabel(f"$r^2$ = {value:.2f}", fontsize=9)
