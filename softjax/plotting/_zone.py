"""How far a field is from a local, translation-equivariant one: a row of panels of an experiment's figure."""

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from softjax.plotting._style import shell_colors

_NUM_ZONES = 3


def equivariance_panels(figure: SubFigure, dataset: xr.Dataset) -> None:
    """Leakage of the Fourier shells, reach of the Jacobian, and growth rates over the zone at up to three times.

    A zone of one axis is a curve; of three axes the plane of the last two is shown.
    """
    figure.suptitle("how equivariant and how local the network is", fontsize=10)
    axes = figure.subplots(1, 2 + _NUM_ZONES, width_ratios=[1.5, 1.5] + [1] * _NUM_ZONES)
    ts = dataset["equivariance_time"].values
    leakage = dataset["leakage"].median("state").values
    for shell, color in shell_colors(leakage.shape[1]):
        axes[0].plot(ts, leakage[:, shell], color=color, marker=".", label=f"n = {shell}")
    axes[0].set(title="leakage out of the Fourier pair", ylabel="share of the response", ylim=(0, 1))
    axes[0].legend(ncols=2, fontsize=7)
    axes[1].plot(ts, dataset["effective_radius"].values.T, color="0.3", alpha=0.3, linewidth=0.8)
    axes[1].plot(ts, dataset["effective_radius"].median("state").values, color="black", marker=".")
    axes[1].set(title="reach of the denoiser's Jacobian", ylabel="rms radius  (sites)")
    axes[1].set_ylim(bottom=0)
    for axis in axes[:2]:
        axis.set_xscale("log")
        axis.set_xlim(ts.max(), ts.min())
        axis.set_xlabel("noise level sigma" if dataset.attrs.get("clock") == "sigma" else "diffusion time t")
    _zones(figure, axes[2:], dataset)


def _zones(figure: SubFigure, axes: np.ndarray, dataset: xr.Dataset) -> None:
    """Growth rates, mean over the states, in units of the relaxation rate of free noise, at three times."""
    ts, clock = dataset["equivariance_time"].values, dataset.attrs.get("clock", "t").replace("sigma", r"$\sigma$")
    rates = dataset["zone_rate"].mean("state").values
    around = np.linspace(0, len(ts) - 1, _NUM_ZONES + 2).astype(int)[1:-1]
    scale = Normalize(-1, 1)
    for axis, index in zip(axes, around, strict=True):
        zone = np.fft.fftshift(rates[index])
        axis.set_title(rf"$\sigma^2$ Re $\lambda(k)$ at {clock} = {ts[index]:.2g}")
        axis.set_xlabel(r"$k_x$  (rad/site)")
        axis.set(xticks=[-np.pi, 0, np.pi], xticklabels=[r"$-\pi$", "0", r"$\pi$"])
        if zone.ndim == 1:
            axis.plot(2 * np.pi * np.fft.fftshift(np.fft.fftfreq(zone.size)), zone, color="black")
            continue
        plane = zone[tuple(side // 2 for side in zone.shape[:-2])]  # k = 0 along the others
        axis.imshow(plane, cmap="RdBu_r", norm=scale, extent=(-np.pi, np.pi, np.pi, -np.pi), interpolation="nearest")
        axis.set(yticks=[-np.pi, 0, np.pi], yticklabels=[r"$-\pi$", "0", r"$\pi$"] if axis is axes[0] else [])
        axis.grid(False)
    if rates.ndim > 2:
        figure.colorbar(ScalarMappable(scale, "RdBu_r"), ax=list(axes), shrink=0.75, location="right")
        axes[0].set_ylabel(r"$k_y$  (rad/site)")
