"""The trained network beside local scores of its data, and beside chance."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax.experiments.locality.chance import Agreement, Estimate
from softjax.experiments.locality.models import BEST, FIXED, GLOBAL, LOCAL, NETWORK, PCA, WIENER
from softjax.experiments.locality.study import agreements, along, gaps
from softjax.plotting import SHELLS, STYLE, Figure, image

_SHOWN = 12
_COLORS = {BEST: "black", PCA: "#c1272d", WIENER: "#8a5a00", GLOBAL: "#1f77b4"}
_BANDS = {"other": ("0.45", "other noise"), "label": ("#7b3294", "same label"), "mean": ("#008837", "class's mean")}
_ROWS = {NETWORK: "network", BEST: "local", PCA: "PCA-local", WIENER: "Wiener", GLOBAL: "global"}


def figure(dataset: xr.Dataset) -> Figure:
    """Agreement of samples against the width seen, of denoisers and scores against time; below, the samples."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(13, 9.5), layout="constrained")
        sampler = "cosine DDIM" if dataset.attrs["sampler"] == "ddim" else "Euler's flow"
        about = f"{sampler}, {dataset.attrs['num_steps']} steps"
        drawn.suptitle(f"{dataset.attrs['network']} against local scores of its data ({about})", fontsize=12)
        rows = drawn.subfigures(2, 1, height_ratios=(1, 1.25))
        assert isinstance(rows, np.ndarray)
        width, denoisers, gap = rows[0].subplots(1, 3)
        _against_width(width, dataset)
        _denoisers(denoisers, dataset)
        _gap(gap, dataset)
        _samples(rows[1], dataset)
    return drawn


def _against_width(axis: Axes, dataset: xr.Dataset) -> None:
    found, side = agreements(dataset), 2 * dataset.sizes["x"] - 1
    for kind, label, marker in ((LOCAL, "local, equivariant", "o"), (FIXED, "local, at its place", "s")):
        sizes = [int(name.removeprefix(kind)) for name in found if name.startswith(kind)]
        _points(
            axis, sizes, [found[f"{kind}{size}"] for size in sizes], "0.1" if marker == "o" else "0.5", marker, label
        )
    _points(axis, [side], [found[GLOBAL]], _COLORS[GLOBAL], "D", "global")
    for name in (BEST, PCA, WIENER):
        label = "local, best w at each t" if name == BEST else name
        style = "--" if name == BEST else "-."
        axis.axhline(found[name].own.value, color=_COLORS[name], linestyle=style, linewidth=1.2, label=label)
    lines = [found[f"{LOCAL}{size}"] for size in _sizes(dataset)] + [found[GLOBAL]]
    for chance, (color, label) in _BANDS.items():
        _band(axis, [*_sizes(dataset), side], [agreement.chance[chance] for agreement in lines], color, label)
    axis.set_xscale("log")
    fixed = [int(name.removeprefix(FIXED)) for name in found if name.startswith(FIXED)]
    ticks = sorted({*_sizes(dataset), *fixed, side})
    axis.set_xticks(ticks, [*map(str, ticks[:-1]), "all"], minor=False)
    axis.minorticks_off()
    axis.set(title=f"{dataset.sizes['image']} images from equal noise", xlabel="width w that a pixel sees  (sites)")
    axis.set(ylabel="correlation r with the network, mean and 95%", ylim=(0, 1.02))
    axis.legend(fontsize=7.5, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17), title="bands: chance")


def _sizes(dataset: xr.Dataset) -> list[int]:
    return [int(str(name).removeprefix(LOCAL)) for name in dataset["model"].values if str(name).startswith(LOCAL)]


def _points(axis: Axes, x: list[int], found: list[Agreement], color: str, marker: str, label: str) -> None:
    values = np.asarray([one.own.value for one in found])
    ends = np.abs(np.asarray([one.own.interval for one in found]).reshape(-1, 2).T - values)
    axis.errorbar(x, values, ends, color=color, marker=marker, markersize=4.5, capsize=2, linewidth=1.2, label=label)


def _band(axis: Axes, x: list[int], chance: list[Estimate], color: str, label: str) -> None:
    if not np.all(np.isfinite([one.value for one in chance])):
        return
    low, high = np.asarray([one.interval for one in chance]).T
    axis.plot(x, [one.value for one in chance], color=color, linestyle=":", linewidth=1.2)
    axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, label=label)


def _denoisers(axis: Axes, dataset: xr.Dataset) -> None:
    ts = dataset["time"].values
    names = [f"{LOCAL}{size}" for size in _sizes(dataset)]
    colors = dict(zip(names, mpl.colormaps[SHELLS](np.linspace(0, 0.92, len(names))), strict=True))
    for name in (*names, PCA, WIENER, GLOBAL):
        values = [one.own.value for one in along(dataset, name)]
        axis.plot(ts, values, color={**colors, **_COLORS}[name], marker=".", label=name)
    for chance in ("other", "label"):
        color, label = _BANDS[chance]
        values = [one.chance[chance].value for one in along(dataset, BEST)]
        if np.all(np.isfinite(values)):
            axis.plot(ts, values, color=color, linestyle=":", label=f"chance, {label}")
    axis.set(title="denoised test images", ylabel="correlation r with the network's, mean")
    axis.set_ylim(0, 1.02)
    _time_axis(axis, dataset)
    axis.legend(fontsize=7.5, ncols=2, loc="lower right")


def _gap(axis: Axes, dataset: xr.Dataset) -> None:
    ts, found = dataset["time"].values, gaps(dataset)
    axis.plot(ts, [one.value for one in found], color="black", marker="o", markersize=4)
    low, high = np.asarray([one.interval for one in found]).T
    axis.fill_between(ts, low, high, color="0.5", alpha=0.3, linewidth=0)
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set_yscale("symlog", linthresh=1e-3)
    axis.set(
        title="score gap: local minus global (below 0: local is nearer)", ylabel="$\\sigma^2/N$ × squared distance"
    )
    _time_axis(axis, dataset)
    sizes = axis.twinx()
    best = dataset["best_patch_size"].median("class").values
    sizes.plot(ts, best, color="#008837", drawstyle="steps-mid", linewidth=1)
    sizes.set_ylabel("best w  (sites)", color="#008837")
    sizes.set_ylim(0, None)
    sizes.grid(False)


def _time_axis(axis: Axes, dataset: xr.Dataset) -> None:
    ts = dataset["time"].values
    name = "noise level $\\sigma$" if dataset.attrs["clock"] == "sigma" else "diffusion time t"
    axis.set_xscale("log")
    axis.set_xlim(ts.max(), ts.min())
    axis.set_xlabel(f"{name}  (noise to the left)")


def _samples(figure: SubFigure, dataset: xr.Dataset) -> None:
    number = dataset.sizes["image"]
    shown = np.unique(np.linspace(0, number - 1, min(number, _SHOWN)).astype(int))
    axes = figure.subplots(len(_ROWS), shown.size, squeeze=False)
    for row, (name, label) in enumerate(_ROWS.items()):
        images = dataset["sample"].sel(model=name)
        images = images if "label" in images.dims else images.expand_dims("label")
        images = images.transpose("label", "number", "y", "x").values.reshape(number, *images.shape[-2:])
        own = np.diag(dataset["sample_r"].sel(model=name).transpose("image", "other").values)
        for column, index in enumerate(shown):
            image(axes[row, column], images[index])
            if name != NETWORK:
                axes[row, column].set_xlabel(f"r = {own[index]:.2f}", fontsize=8, labelpad=1)
        axes[row, 0].set_ylabel(label)
