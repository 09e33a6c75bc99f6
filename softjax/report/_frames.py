"""The denoising trajectory, frame by frame: the state, and beside it the mode spectrum and the correlation length."""

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softjax.plotting import EQUILIBRIUM, STYLE
from softjax.report._drawn import drawing, picture

_TIMES = ("snapshot_time", "snapshot_sigma")
_BETWEEN = 8
"""Instants from one picture to the next; states are stored at a few times, what is measured at all."""


class Frame(NamedTuple):
    """One instant: what it is called, what is said of it, and which picture is nearest."""

    label: str
    text: str
    shows: int


class Film(NamedTuple):
    """Frames from noise to data.

    `pictures` are the stored states, each as its title and images (caption, data URI); `curves` is a figure of which
    the page shows the part of one frame, None where nothing is measured on the way.
    """

    frames: list[Frame]
    pictures: list[tuple[str, list[tuple[str, str]]]]
    curves: Markup | None


def film(dataset: xr.Dataset, symbol: str) -> Film | None:
    """The trajectory that is stored as pictures; None where there is none. `symbol` is that of the time: t, sigma."""
    times = [name for name in _TIMES if name in dataset.coords]
    states = dataset.get("snapshot_state")
    if not times or states is None or not {"snapshot", "y", "x"} <= {*map(str, states.dims)}:
        return None
    instants = dataset[times[0]].values
    symbol = "sigma" if times[0] == "snapshot_sigma" else symbol
    titles = [f"{symbol} = {instant:.3g}" for instant in instants]
    pictures = [(title, _pictures(states.isel(snapshot=place))) for place, title in enumerate(titles)]
    measured = _measured(dataset, instants)
    if measured is None:
        return Film([Frame(title, "", place) for place, title in enumerate(titles)], pictures, None)
    frames = [
        Frame(f"{symbol} = {dataset['time'].values[at]:.3g}", _said(dataset, measured, at), shows)
        for at, shows in zip(measured.places.tolist(), measured.shows.tolist(), strict=True)
    ]
    return Film(frames, pictures, _curves(dataset, measured, symbol))


class _Measured(NamedTuple):
    """Of the trajectory in the pictures: lengths (time,), modes (time, shell).

    `places` are those of the frames in the time grid, `shows` the nearest picture of each.
    """

    places: np.ndarray
    shows: np.ndarray
    lengths: np.ndarray
    modes: np.ndarray


def _measured(dataset: xr.Dataset, instants: np.ndarray) -> _Measured | None:
    wanted = {"correlation_length": ("trajectory", "time"), "magnitude": ("trajectory", "time", "shell")}
    if any(name not in dataset or dataset[name].dims != dims for name, dims in wanted.items()):
        return None
    if 0 not in dataset["trajectory"].values:  # it has failed
        return None
    first = dataset.sel(trajectory=0)
    pictures = np.abs(first["time"].values[None] - instants[:, None]).argmin(1)
    between = np.interp(np.arange((pictures.size - 1) * _BETWEEN + 1) / _BETWEEN, np.arange(pictures.size), pictures)
    places = np.unique(np.rint(between).astype(int))
    shows = np.abs(places[:, None] - pictures[None]).argmin(1)
    return _Measured(places, shows, first["correlation_length"].values, first["magnitude"].values)


def _pictures(states: xr.DataArray) -> list[tuple[str, str]]:
    """A state, or one for each value of further dimensions."""
    outer = [str(dim) for dim in states.dims if dim not in ("y", "x", "channel")]
    found = []
    for place in np.ndindex(*(states.sizes[dim] for dim in outer)):
        one = states.isel(dict(zip(outer, place, strict=True)))
        labels = [
            str(one[dim].values) if dim in one.coords else f"{dim} {i}" for dim, i in zip(outer, place, strict=True)
        ]
        found.append((", ".join(labels), picture(one.values)))
    return found


def _said(dataset: xr.Dataset, measured: _Measured, at: int) -> str:
    modes, unit = measured.modes[at], dataset["magnitude"].attrs.get("units", "1")
    return (
        f"xi = {measured.lengths[at]:.3g} sites; response |J v| of shell 0: {modes[0]:.3g}, "
        f"of shell {modes.size - 1}: {modes[-1]:.3g} ({unit})"
    )


def _curves(dataset: xr.Dataset, measured: _Measured, symbol: str) -> Markup:
    """Spectrum and correlation length, with a part for each frame of which the page shows one."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        spectrum, length = figure.subplots(1, 2)
        _spectrum(spectrum, dataset, measured)
        _length(length, dataset, measured, symbol)
    return drawing(
        figure, "curves", "Mode spectrum and correlation length at the chosen instant; its numbers stand above."
    )


def _spectrum(axis: Axes, dataset: xr.Dataset, measured: _Measured) -> None:
    """Responses relative to that of the highest shell: their scale grows like one over the time."""
    k = dataset["wavenumber"].values if "wavenumber" in dataset.coords else np.arange(measured.modes.shape[1])
    median = dataset["magnitude"].median("trajectory").values
    highest = 0.0
    for frame, at in enumerate(measured.places):
        for row, (modes, width) in enumerate(((median[at], 6), (measured.modes[at], 1.6))):
            relative = modes / modes[-1]
            color, label = (("0.75", "median of all"), (EQUILIBRIUM, "this trajectory"))[row]
            label = label if frame == 0 else None
            (line,) = axis.plot(k, relative, "o-", color=color, markersize=3 + width, linewidth=width, label=label)
            line.set_gid(f"frame-{frame}-spectrum-{row}")
            highest = max(highest, float(np.nanmax(relative, initial=0)))
    axis.set_ylim(0, 1.1 * min(max(highest, 1), 4))
    axis.set(xlabel="wavenumber k (rad/site)", ylabel=r"$\|J v_k\|$, relative to the highest shell")
    axis.set_title("mode spectrum")
    axis.legend(loc="lower right")


def _length(axis: Axes, dataset: xr.Dataset, measured: _Measured, symbol: str) -> None:
    times = dataset["time"].values
    axis.plot(times, measured.lengths, color="black", label=r"$\xi$, this trajectory")
    if "equilibrium_length" in dataset:
        middle = dataset["equilibrium_length"].median("trajectory").values
        axis.plot(times, middle, color=EQUILIBRIUM, linestyle="--", label=r"$\xi_{eq}$, median of all")
    for frame, at in enumerate(measured.places.tolist()):
        axis.axvline(float(times[at]), color="0.35", linewidth=1).set_gid(f"frame-{frame}-line")
        (dot,) = axis.plot(times[at], measured.lengths[at], "o", color="black", markersize=7, clip_on=False)
        dot.set_gid(f"frame-{frame}-dot")
    if np.all(times > 0):
        axis.set_xscale("log")
    axis.set_xlim(times.max(), times.min())
    axis.set_ylim(bottom=0)
    name = r"noise level $\sigma$" if symbol == "sigma" else "diffusion time t"
    axis.set(xlabel=f"{name}  (noise to the left)", ylabel=r"$\xi$  (sites)")
    axis.set_title("correlation length")
    axis.legend(loc="best")
