"""Curves that several figures of trained networks share: lengths and mode responses, each with its null."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from softjax.plotting._style import EQUILIBRIUM, NULL, shell_colors


def length_curves(axis: Axes, dataset: xr.Dataset, pattern: str) -> None:
    """The image's correlation length, called `pattern`, and the equilibrium length: single, medians, and the null's.

    * `axis`: of Matplotlib, drawn on;
    * `dataset`: with `correlation_length` and `equilibrium_length` over trajectory and time, in sites, as `probe`
      returns it;
    * `pattern`: what the legend calls the image's correlation length.

    >>> import xarray as xr
    >>> curves = xr.DataArray(np.ones((2, 5)), dims=("trajectory", "time"), coords={"time": [5.0, 4.0, 3.0, 2.0, 1.0]})
    >>> data = xr.Dataset({"correlation_length": curves, "equilibrium_length": 2 * curves})
    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> sj.plotting.length_curves(axis, data, "pattern")
    >>> [label for label in axis.get_legend_handles_labels()[1] if "pattern" in label]
    ['pattern, median']
    """
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
    """Responses (times, shells), each shell in its color, and dotted those of the null.

    * `axis`: of Matplotlib, drawn on;
    * `ts`: (times,), the times;
    * `responses`: (times, shells), drawn as they are;
    * `null`: (times, shells), those of the Gaussian null, dotted; None for none.

    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> sj.plotting.shell_curves(axis, np.asarray([4.0, 2.0, 1.0]), np.ones((3, 2)))
    >>> axis.get_legend_handles_labels()[1]
    ['n = 0', 'n = 1']
    """
    for shell, color in shell_colors(responses.shape[1]):
        axis.plot(ts, responses[:, shell], color=color, label=f"n = {shell}")
    if null is not None:
        for shell, color in shell_colors(null.shape[1]):
            axis.plot(ts, null[:, shell], color=color, **NULL, label="Gaussian null" if shell == 0 else None)
