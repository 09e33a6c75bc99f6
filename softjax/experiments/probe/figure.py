"""A denoiser under the microscope: its images, lengths, softening, locality, and leading modes."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from softjax.experiments._shared.summary import equilibrium_peak
from softjax.experiments.probe.study import leading_rates, softness
from softjax.plotting import (
    STYLE,
    Figure,
    equivariance_panels,
    image,
    legend_above,
    length_curves,
    mark_peak,
    shell_curves,
)

_SHOWN = 10


def figure(dataset: xr.Dataset) -> Figure:
    """One trajectory and the ends of some; lengths and softening; the zone; leading modes. Noise stands to the left."""
    parts = [(1.1, _trajectory), (1.0, _ends), (2.6, _curves)]
    parts += [(2.2, equivariance_panels)] if "effective_radius" in dataset else []
    parts += [(1.7, _modes)] if "leading_rate" in dataset else []
    with mpl.rc_context(STYLE):
        heights = [height for height, _ in parts]
        drawn = Figure(figsize=(13, 1.7 * sum(heights)), layout="constrained")
        known = dataset.attrs
        by = {"sde": "of the reverse SDE", "flow": "of the probability flow", "heun": "of Heun's sampler"}
        target = known.get("target", "field").rstrip("/").rpartition("/")[-1]
        about = f"{target}: {dataset.sizes['trajectory']} trajectories"
        drawn.suptitle(f"{about} {by.get(known.get('sampler', ''), '')}".strip(), fontsize=12)
        rows = drawn.subfigures(len(parts), 1, height_ratios=heights)
        assert isinstance(rows, np.ndarray)
        for row, (_, draw) in zip(rows, parts, strict=True):
            draw(row, dataset)
    return drawn


def _clock(dataset: xr.Dataset) -> str:
    return r"$\sigma$" if dataset.attrs["clock"] == "sigma" else "t"


def _trajectory(figure: SubFigure, dataset: xr.Dataset) -> None:
    times, scale = dataset["snapshot_time"].values, dataset["noise_scale"]
    figure.suptitle("one trajectory, from noise to data", fontsize=10)
    states = dataset["snapshot_state"].values
    for axis, time, state in zip(figure.subplots(1, len(times)), times, states, strict=True):
        level = float(scale.sel(time=time, method="nearest"))
        _picture(axis, state, bool(dataset.attrs["channels"]), level if dataset.attrs["clock"] == "sigma" else 0.0)
        axis.set_title(f"{_clock(dataset)} = {time:.3g}", fontsize=9)


def _ends(figure: SubFigure, dataset: xr.Dataset) -> None:
    ends = dataset["final_state"].values[:_SHOWN]
    figure.suptitle("where trajectories end", fontsize=10)
    axes = figure.subplots(1, max(len(ends), _SHOWN), squeeze=False)[0]
    for axis in axes[len(ends) :]:
        axis.set_axis_off()
    for axis, state in zip(axes, ends, strict=False):
        _picture(axis, state, bool(dataset.attrs["channels"]))


def _picture(axis: Axes, state: np.ndarray, channels: bool, level: float = 0.0) -> None:
    """A state: a curve on one axis, an image on two, the middle plane of more; several channels as their mean."""
    colours = channels and state.ndim == 3 and state.shape[-1] == 3
    state = state if colours or not channels else state.mean(axis=-1)
    if state.ndim == 1:
        axis.plot(state / np.hypot(1, level), color="black", linewidth=0.8)
        axis.set(xticks=[], yticks=[])
        return
    planes = state.ndim - (3 if colours else 2)
    image(axis, state[tuple(side // 2 for side in state.shape[:planes])], level)


def _curves(figure: SubFigure, dataset: xr.Dataset) -> None:
    lengths, responses = figure.subplots(1, 2)
    ts, peak = dataset["time"].values, equilibrium_peak(dataset)
    length_curves(lengths, dataset, r"$\xi$")
    soft = softness(dataset).values
    null = (dataset["null_magnitude"] / dataset["free_response"]).values if "null_magnitude" in dataset else None
    shell_curves(responses, ts, soft, null)
    responses.axhline(1, color="0.25", linewidth=0.8)
    above = ts >= dataset.attrs["lowest_peak_time"]
    if np.any(above):
        responses.set_ylim(0, 1.15 * max(1, float(soft[above].max())))
    responses.set(title="softening of the Fourier shells, median", ylabel=r"$\|J v_n\|$ / that of noise")
    for axis in (lengths, responses):
        axis.set_xscale("log")
        axis.set_xlim(ts.max(), ts.min())
        axis.set_xlabel(f"{'noise level' if dataset.attrs['clock'] == 'sigma' else 'time'} {_clock(dataset)}")
        if np.isfinite(float(peak.location)):
            mark_peak(axis, peak, r"peak of $\xi_{eq}$, 95%")
    legend_above(lengths)
    responses.legend(loc="lower left", ncols=3)


def _modes(figure: SubFigure, dataset: xr.Dataset) -> None:
    """The leading modes of the first trajectory, and the power of all in the Fourier shells."""
    time, rates = dataset.attrs["leading_time"], leading_rates(dataset).values[0]
    title = f"leading modes of the drift's Jacobian at {_clock(dataset)} = {time:.3g}  (-1: noise, 0: marginal)"
    figure.suptitle(title, fontsize=10)
    modes, count = dataset["leading_mode"].values[0], min(len(rates), 6)
    axes = figure.subplots(1, count + 1, width_ratios=[1] * count + [2])
    for axis, mode, rate in zip(axes[:-1], modes, rates, strict=False):
        _picture(axis, mode / np.abs(mode).max(), bool(dataset.attrs["channels"]))
        axis.set_title(rf"$\lambda$ / |noise| = {rate:.2g}", fontsize=9)
    content = dataset["leading_content"].mean("state").values
    for rank, row in enumerate(content[:count]):
        axes[-1].plot(row, marker=".", color=mpl.colormaps["viridis"](rank / max(count, 2)), label=f"mode {rank}")
    axes[-1].set(title="their power", xlabel="Fourier shell", ylabel="share", ylim=(0, None))
    axes[-1].legend(fontsize=7)
