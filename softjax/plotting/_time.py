"""One time axis for all panels of a row: spaced by the log signal-to-noise ratio, labelled by the time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

_NOISY = (14.0, 12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
_ROUND = (*_NOISY, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
_MOST_TICKS = 8


def vp_time_axis(axis: Axes, dataset: xr.Dataset) -> None:
    r"""Times of a VP process of the dataset's `beta` (1 without), noise to the left.

    Distances are those of $\ln(\alpha^2/\sigma^2) = -\ln(e^{\beta t} - 1)$: even in t where there is noise, in ln t
    where there is data, so that neither end squeezes the transition.
    """
    beta, ts = float(dataset.attrs.get("beta", 1.0)), dataset["time"].values.astype(float)

    def log_nsr(t: Any) -> Any:
        return np.log(np.expm1(np.maximum(beta * np.asarray(t, float), 1e-12)))

    def time(value: Any) -> Any:
        return np.logaddexp(0, np.asarray(value, float)) / beta

    axis.set_xscale("function", functions=(log_nsr, time))
    axis.set_xlim(ts.max(), ts.min())
    axis.xaxis.set_major_locator(FixedLocator(_ticks(ts, log_nsr)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("time t, spaced by log SNR  (noise to the left)")


def _ticks(ts: np.ndarray, scale: Callable[[Any], Any]) -> list[float]:
    """Round times that are far enough apart."""
    ends = scale(np.asarray([ts.max(), ts.min()]))
    least, chosen = (ends[0] - ends[1]) / _MOST_TICKS, []
    for tick in _ROUND:
        if ts.min() * 0.999 <= tick <= ts.max() * 1.001 and (not chosen or scale(chosen[-1]) - scale(tick) >= least):
            chosen.append(tick)
    return chosen
