"""Growth rate of the uniform mode, measured and in theory."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes


def rate_panel(axis: Axes, dataset: xr.Dataset) -> None:
    """Growth rate of the uniform mode: mean field, Hartree, and measured with a band of two standard errors.

    * `axis`: of Matplotlib, drawn on;
    * `dataset`: with `rayleigh`, `mean_field_rate` and `hartree_rate` over time, per unit of t.

    >>> import xarray as xr
    >>> ts, zeros = np.asarray([4.0, 2.0, 1.0]), np.zeros(3)
    >>> rates = {"rayleigh": (("trajectory", "time", "shell"), np.zeros((2, 3, 1)))}
    >>> rates |= {"mean_field_rate": ("time", zeros), "hartree_rate": ("time", zeros)}
    >>> data = xr.Dataset(rates, {"time": ts, "shell": [0]})
    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> sj.plotting.rate_panel(axis, data)
    >>> axis.get_title()
    'the uniform mode'
    """
    ts, rates = dataset["time"].values, dataset["rayleigh"].sel(shell=0).values
    mean = rates.mean(0)
    axis.plot(ts, dataset["mean_field_rate"], color="0.4", linestyle=":", label="mean field, x = 0")
    axis.plot(ts, dataset["hartree_rate"], color="#c1272d", linestyle="--", label="Hartree")
    axis.plot(ts, mean, color="black", label="measured, mean of the Rayleigh quotient")
    if len(rates) > 1:
        error = rates.std(0, ddof=1) / np.sqrt(len(rates))
        axis.fill_between(ts, mean - 2 * error, mean + 2 * error, color="black", alpha=0.2, linewidth=0)
    axis.axhline(0, color="0.25", linewidth=0.8)
    axis.set_ylim(-0.55, max(0.3, 1.3 * mean[ts > 1].max(initial=0)))
    axis.set_ylabel(r"growth rate $\lambda_0$  (1/t)")
    axis.set_title("the uniform mode")
    axis.legend(loc="best")
