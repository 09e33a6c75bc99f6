"""The theory of the patch model in four panels."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LogNorm

from softjax.plotting import EXACT, STYLE, Figure, rate_panel


def figure(dataset: xr.Dataset) -> Figure:
    """Dispersion surface, growth rate of the uniform mode, pitchfork and structure factor of a theory dataset."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(11.5, 8), layout="constrained")
        side = dataset.sizes["patch_x"]
        critical = dataset.attrs["critical_time"]
        about = f"Two-pattern patch model, {side} x {side} patches, {dataset.sizes['x']}² sites"
        drawn.suptitle(f"{about};  dashed: $t_c$ = {critical:.4g}, exact at x = 0", fontsize=12)
        (dispersion, rates), (fork, structure) = np.asarray(drawn.subplots(2, 2))
        _dispersion_panel(drawn, dispersion, dataset)
        rate_panel(rates, dataset)
        _fork_panel(fork, dataset)
        _structure_panel(drawn, structure, dataset)
        end = min(0.4 * critical, dataset["time"].values[_shown(dataset)].min())
        for axis in (dispersion, rates, fork, structure):
            axis.set_xlim(dataset["time"].values.max(), end)
            axis.set_xlabel("diffusion time t  (noise to the left)")
            axis.axvline(critical, **EXACT)
    return drawn


def _plane(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    k = 2 * np.pi * np.arange(dataset.sizes["wavevector_index"]) / dataset.sizes["x"]
    return dataset["time"].values, k


def _shown(dataset: xr.Dataset) -> np.ndarray:
    """Times down to well below the critical one; all where those are too few to draw a surface over."""
    ts = dataset["time"].values
    shown = ts >= 0.4 * dataset.attrs["critical_time"]
    return shown if shown.sum() >= 3 else np.ones_like(shown)


def _dispersion_panel(figure: Figure, axis: Axes, dataset: xr.Dataset) -> None:
    ts, k = _plane(dataset)
    shown = _shown(dataset)
    values = dataset["dispersion"].values[shown].T
    mesh = axis.pcolormesh(ts[shown], k, values, cmap="RdBu_r", norm=CenteredNorm(halfrange=1), shading="gouraud")
    axis.contour(ts[shown], k, values, levels=[0], colors="black", linewidths=1.4)
    figure.colorbar(mesh, ax=axis, label=r"$\lambda(k, t)$  (1/t)", extend="both")
    axis.set_ylabel("wavenumber k along an axis (rad/site)")
    axis.set_title("dispersion relation at x = 0, zero line in black")
    axis.grid(False)


def _fork_panel(axis: Axes, dataset: xr.Dataset) -> None:
    ts, stable = dataset["time"].values, dataset["equilibrium"].values
    after = ts <= dataset.attrs["critical_time"]
    for sign in (1, -1):
        axis.plot(ts, sign * stable, color="black", label="stable" if sign > 0 else None)
        near = sign * dataset["near_onset"].values
        axis.plot(ts, near, color="#c1272d", linestyle="--", label=r"$\sqrt{\lambda/g}$" if sign > 0 else None)
    axis.plot(ts[after], np.zeros(after.sum()), color="black", linestyle=":", label="unstable")
    axis.set_ylim(-1.1 * stable.max(), 1.1 * stable.max())
    axis.set_ylabel("mean-field state m")
    axis.set_title("pitchfork of the uniform state")
    axis.legend(loc="upper left")


def _structure_panel(figure: Figure, axis: Axes, dataset: xr.Dataset) -> None:
    ts, k = _plane(dataset)
    shown = _shown(dataset)
    values = dataset["structure_factor"].values[shown].T
    mesh = axis.pcolormesh(ts[shown], k, values, cmap="magma", norm=LogNorm(), shading="gouraud")
    bar = figure.colorbar(mesh, ax=axis, label="S(k, t), Hartree")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}")
    axis.set_ylabel("wavenumber k along an axis (rad/site)")
    axis.set_title("structure factor in time")
    axis.grid(False)
