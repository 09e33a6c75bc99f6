"""Critical times on one axis, whatever they were measured by, and the order in which they come."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from softjax.experiments._shared.summary import Row
from softjax.processes import AbstractProcess

AGREEMENT_AT_SPECIATION = 0.775
"""Agreement of clones at the speciation time, by which cloning measures it, where chance is one half."""
OTHER_CLOCKS = {"sigma": "clock_sigma", "sigma/alpha": "clock_noise_to_signal", "log SNR": "clock_log_snr"}


def agreement_of_clones(ts: Any, agreement: Any, error: Any) -> xr.Dataset:
    """The agreement of clones and its standard error over `cloning_time`."""
    return xr.Dataset(
        {
            "agreement": (("cloning_time",), np.asarray(agreement), {"units": "1"}),
            "agreement_error": (("cloning_time",), np.asarray(error), {"units": "1"}),
        },
        coords={"cloning_time": np.asarray(ts)},
    )


def cloning_row(name: str, dataset: xr.Dataset, level: float, units: str = "t", of: str = "agreement") -> Row:
    """Where an agreement over cloning_time passes a level; the interval from two standard errors of the agreement."""
    agreement, error = dataset[of].values, dataset[f"{of}_error"].values
    log_t = np.log(dataset["cloning_time"].values)

    def crossing(curve: np.ndarray) -> float:
        above = curve >= level
        if not above.any() or above.all():
            return float("nan")
        i = int(above.argmax())
        if i == 0:
            return float("nan")
        fraction = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
        return float(np.exp(log_t[i - 1] + fraction * (log_t[i] - log_t[i - 1])))

    value = crossing(agreement)
    reason = "" if np.isfinite(value) else f"it does not pass {level:.3g} between these times"
    interval = (crossing(agreement - 2 * error), crossing(agreement + 2 * error))
    return Row(name, value, units, interval, reason=reason)


def on_every_clock(process: AbstractProcess, rows: list[Row]) -> xr.Dataset:
    """Each instant in t with its interval, as sigma, sigma/alpha and log SNR, and its place in the order from noise.

    `clock_first` and `clock_last` are the places that the intervals allow: a clock surely comes later than those whose
    whole interval lies at larger t. A clock without an interval is taken as exact; one that was not found has no place.
    """
    t = np.asarray([row.value for row in rows])
    intervals = np.asarray([row.interval or (np.nan, np.nan) for row in rows])
    low, high = (np.where(np.isfinite(end), end, t) for end in intervals.T)
    found = np.isfinite(t)
    first = np.asarray([1 + np.sum(low[found] > end) for end in high])
    last = np.asarray([found.sum() - np.sum(high[found] < end) for end in low])
    time = jnp.asarray(t)
    columns = {
        "clock_time": (t, "1"),
        "clock_low": (intervals[:, 0], "1"),
        "clock_high": (intervals[:, 1], "1"),
        "clock_sigma": (jax.vmap(process.sigma)(time), "data"),
        "clock_noise_to_signal": (jax.vmap(process.noise_to_signal)(time), "1"),
        "clock_log_snr": (jax.vmap(process.log_snr)(time), "1"),
        "clock_first": (np.where(found, first, np.nan), "1"),
        "clock_last": (np.where(found, last, np.nan), "1"),
    }
    variables = {name: (("clock",), np.asarray(value), {"units": units}) for name, (value, units) in columns.items()}
    reasons = ("clock", [row.reason for row in rows])
    return xr.Dataset(variables, coords={"clock": [row.name for row in rows], "clock_reason": reasons})
