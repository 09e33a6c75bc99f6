"""An EDM2 network along its sampler, against the noise level (Fig. 2)."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from softjax.plotting._peak import equilibrium_peak, mark_peak
from softjax.plotting._style import EQUILIBRIUM, FIELD_LIMITS, SHELLS, STYLE

_SHOWN = 10


def edm2_figure(dataset: xr.Dataset) -> Figure:
    """One trajectory and the images; lengths, mode responses, normalised dispersion; noise to the left."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 7.6), layout="constrained")
        figure.suptitle(f"EDM2 network: {dataset.sizes['trajectory']} trajectories of Heun's sampler", fontsize=12)
        rows = figure.subfigures(3, 1, height_ratios=(1.1, 1, 2.6))
        assert isinstance(rows, np.ndarray)
        titles = [rf"$\sigma$ = {sigma:.3g}" for sigma in dataset["snapshot_time"].values]
        scales = np.hypot(1, dataset["snapshot_time"].values)  # noise and data together, so that both are seen
        _pictures(rows[0], "one trajectory, from noise to image", dataset["snapshot_state"].values, titles, scales)
        finals = dataset["final_state"].values[:_SHOWN]
        _pictures(rows[1], "images", finals, [""] * len(finals), np.ones(len(finals)))
        lengths, responses, dispersion = rows[2].subplots(1, 3)
        _lengths(lengths, dataset)
        _responses(responses, dataset)
        _dispersion(dispersion, dataset)
        peak = equilibrium_peak(dataset)
        for axis in (lengths, responses, dispersion):
            axis.set_xscale("log")
            axis.set_xlim(dataset["time"].values.max(), dataset["time"].values.min())
            mark_peak(axis, peak, rf"peak of $\xi_{{eq}}$, 95%: $\sigma$ = {float(peak.location):.3g}")
            axis.set_xlabel(r"noise level $\sigma$  (noise to the left)")
        lengths.legend(loc="best")
        responses.legend(loc="best", ncols=2)
    return figure


def _pictures(figure: SubFigure, title: str, images: np.ndarray, titles: list[str], scales: np.ndarray) -> None:
    figure.suptitle(title, fontsize=10)
    for axis, image, name, scale in zip(
        figure.subplots(1, len(images), squeeze=False)[0], images, titles, scales, strict=True
    ):
        if image.shape[-1] == 3:
            axis.imshow(np.clip(0.5 + 0.5 * image / scale, 0, 1), interpolation="nearest")
        else:
            axis.imshow(image[..., 0] / scale, **FIELD_LIMITS)
        axis.set(xticks=[], yticks=[], title=name)
        axis.title.set_fontsize(9)
        axis.grid(False)


def _lengths(axis: Axes, dataset: xr.Dataset) -> None:
    ts = dataset["time"].values
    for name, color, label in (
        ("correlation_length", "black", r"$\xi$ of the luminance"),
        ("equilibrium_length", EQUILIBRIUM, r"$\xi_{eq}$"),
    ):
        curves = dataset[name].values
        axis.plot(ts, curves.T, color=color, alpha=0.15, linewidth=0.7)
        axis.plot(ts, np.median(curves, axis=0), color=color, label=f"{label}, median")
    axis.set(title="correlation lengths", ylabel=r"$\xi$  (sites)")
    axis.set_ylim(bottom=0)


def _responses(axis: Axes, dataset: xr.Dataset) -> None:
    scaled = (dataset["magnitude"] * dataset["time"]).median("trajectory").values
    for shell, color in _shells(scaled.shape[1]):
        axis.plot(dataset["time"].values, scaled[:, shell], color=color, label=f"n = {shell}")
    axis.set(title="softening of the Fourier shells", ylabel=r"$\sigma\,\|J v_n\|$")
    axis.set_ylim(bottom=0)


def _dispersion(axis: Axes, dataset: xr.Dataset) -> None:
    relative = (dataset["magnitude"] / dataset["magnitude"].sel(shell=0)).median("trajectory").values
    for shell, color in _shells(relative.shape[1]):
        axis.plot(dataset["time"].values, relative[:, shell], color=color, label=f"n = {shell}")
    axis.set(title="normalised dispersion", ylabel=r"$\Lambda_n/\Lambda_0$")


def _shells(number: int) -> list[tuple[int, np.ndarray]]:
    return list(enumerate(mpl.colormaps[SHELLS](np.linspace(0, 0.92, number))))
