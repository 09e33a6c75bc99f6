"""The Gaussian null of a data-driven field: what softens without any pattern, and what the field has beyond that."""

from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array, Time
from softjax.analysis import Excess, equilibrium_correlation_length, excess
from softjax.convert import load_covariance
from softjax.experiments._shared.summary import Row, nearest, peak_window
from softjax.experiments._shared.trajectories import ReverseTrajectory
from softjax.fields import AbstractGaussianField, CovarianceField
from softjax.processes import AbstractProcess
from softjax.theory import gaussian_responses

NULL_ROWS = ("peak of xi_eq of the null", "peak minus the null's", "xi_eq minus the null's at the peak")


def rate_of_noise(process: AbstractProcess, t: Time) -> Array:
    """Growth rate a - w / sigma^2 of every wave where the denoiser does not depend on the state: of noise alone."""
    return process.damping(t) - process.drift_weight(t) / process.sigma(t) ** 2


def stored_null(unit: ReverseTrajectory, folder: Path) -> xr.Dataset:
    """The null of the data in a network's folder; nothing where it is not there, or of another size."""
    found = load_covariance(folder, unit.field.process)
    if found is None or found[0].vectors.shape[1:] != unit.shape:
        return xr.Dataset()
    return null(unit, found[0], f"covariance of {found[1]}")


def null(unit: ReverseTrajectory, field: AbstractGaussianField, about: str) -> xr.Dataset:
    """Responses and equilibrium lengths of a Gaussian field at the times of a trajectory, the same at every state."""
    magnitude = gaussian_responses(field, unit.ts, unit.modes, unit.channels).magnitude
    lengths = equilibrium_correlation_length(unit.modes.wavenumbers, magnitude, unit.observer.num_fit_shells).length
    over, named = ("time",), "of the Gaussian null"
    return xr.Dataset(
        {
            "null_magnitude": (
                (*over, "shell"),
                np.asarray(magnitude),
                {"units": "1/t", "long_name": f"response {named}"},
            ),
            "null_length": (over, np.asarray(lengths), {"units": "sites", "long_name": f"equilibrium length {named}"}),
        },
        attrs={"null": about, "num_fit_shells": unit.observer.num_fit_shells},
    )


def sampled_null(unit: ReverseTrajectory, states: np.ndarray) -> xr.Dataset:
    """The null of the covariance of a few states (samples, *shape), shrunk after Ledoit and Wolf."""
    if len(states) < 2:
        return xr.Dataset()
    field = CovarianceField.from_samples(states, unit.field.process, channels=unit.channels)
    return null(unit, field, f"covariance of its own {len(states)} samples, shrunk")


def excess_of(dataset: xr.Dataset) -> Excess:
    """What the trajectories of a dataset have beyond its null; the same data give the same intervals."""
    ts, magnitudes, null, wavenumbers = (
        jnp.asarray(dataset[name].values) for name in ("time", "magnitude", "null_magnitude", "wavenumber")
    )
    shells = int(dataset.attrs["num_fit_shells"])
    return excess(ts, magnitudes, null, wavenumbers, shells, key=jr.key(0), window=peak_window(dataset))


def null_rows(dataset: xr.Dataset) -> list[Row]:
    """Where the null peaks, and what the field has beyond it; nothing without a null."""
    if "null_magnitude" not in dataset:
        return []
    found, clock = excess_of(dataset), dataset.attrs.get("clock", "t")
    reasons = found.null_point.reason, found.reason
    rows = [Row(NULL_ROWS[0], float(found.null_point.location), clock, reason=reasons[0])]
    rows.append(Row(NULL_ROWS[1], float(found.shift), clock, _interval(found.shift_interval), reason=reasons[1]))
    location = float(found.point.location)
    if np.isfinite(location):
        at = nearest(dataset["time"], location)
        rows.append(Row(NULL_ROWS[2], float(found.length_excess[at]), "sites", _interval(found.length_interval[at])))
    return rows


def null_findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What survives the null, in words."""
    by_name = {row.name: row for row in rows}
    if NULL_ROWS[0] not in by_name:
        return "No Gaussian null is known for these data: a peak alone says nothing about patterns."
    there, shift, height = (by_name.get(name) for name in NULL_ROWS)
    about = f"The Gaussian null ({dataset.attrs['null']}), which has no patterns,"
    if there is None or not np.isfinite(there.value):
        return f"{about} has no peak."
    words = f"{about} peaks at {there.units} = {there.text}."
    if shift is None or shift.interval is None or not np.isfinite(shift.value):
        return words
    low, high = shift.interval
    verdict = "explains where the peak is" if low <= 0 <= high else "does not explain where the peak is"
    words = f"{words} It {verdict} (difference {shift.text})"
    if height is None or height.interval is None:
        return f"{words}."
    low, high = height.interval
    verdict = "as high as" if low <= 0 <= high else ("higher than" if low > 0 else "lower than")
    return f"{words}; there xi_eq is {verdict} the null's (difference {height.text} sites)."


def _interval(ends: Array) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])
