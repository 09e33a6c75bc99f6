"""Curves that several figures of trained networks share: lengths and mode responses, each with its null."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from softjax.plotting._style import EQUILIBRIUM, NULL, shell_colors


def length_curves(axis: Axes, dataset: xr.Dataset, pattern: str) -> None:
    """The image's correlation length, called `pattern`, and the equilibrium length: single, medians, and the null's."""
    ts = dataset["time"].values
    for name, color, label in (
        ("correlation_length", "black", pattern),
        ("equilibrium_length", EQUILIBRIUM, r"$\xi_{eq}$"),
    ):
        curves = dataset[name].values
        axis.plot(ts, curves.T, color=color, alpha=0.15, linewidth=0.7)
        axis.plot(ts, np.median(curves, axis=0), color=color, label=f"{label}, median")
    if "null_length" in dataset:
        axis.plot(ts, dataset["null_length"].values, color=EQUILIBRIUM, **NULL, label=r"$\xi_{eq}$, Gaussian null")
    axis.set(title="correlation lengths", ylabel=r"$\xi$  (sites)")
    axis.set_ylim(bottom=0)


def shell_curves(axis: Axes, ts: np.ndarray, responses: np.ndarray, null: np.ndarray | None = None) -> None:
    """Responses (times, shells), each shell in its color, and dotted those of the null."""
    for shell, color in shell_colors(responses.shape[1]):
        axis.plot(ts, responses[:, shell], color=color, label=f"n = {shell}")
    if null is not None:
        for shell, color in shell_colors(null.shape[1]):
            axis.plot(ts, null[:, shell], color=color, **NULL, label="Gaussian null" if shell == 0 else None)
