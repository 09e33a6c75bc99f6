"""How far a network is from a local, translation-equivariant field: three panels of an experiment's figure."""

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from softjax.plotting import shell_colors

_NUM_ZONES = 3


def equivariance_panels(figure: SubFigure, dataset: xr.Dataset) -> None:
    """Leakage of the Fourier shells, reach of the Jacobian, and growth rates over the zone at three times."""
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
        axis.set_xlabel("diffusion time t")
    _zones(figure, axes[2:], dataset)


def _zones(figure: SubFigure, axes: np.ndarray, dataset: xr.Dataset) -> None:
    """Growth rates, mean over the states, in units of the relaxation rate of free noise, at three times."""
    ts = dataset["equivariance_time"].values
    rates = dataset["zone_rate"].mean("state").values
    around = np.linspace(0, len(ts) - 1, _NUM_ZONES + 2).astype(int)[1:-1]
    scale = Normalize(-1, 1)
    for axis, index in zip(axes, around, strict=True):
        zone = np.fft.fftshift(rates[index])
        extent = (-np.pi, np.pi, np.pi, -np.pi)
        axis.imshow(zone, cmap="RdBu_r", norm=scale, extent=extent, interpolation="nearest")
        axis.set(
            title=rf"$\sigma^2$ Re $\lambda(k)$ at t = {ts[index]:.2g}",
            xticks=[-np.pi, 0, np.pi],
            yticks=[-np.pi, 0, np.pi],
        )
        axis.set_xticklabels([r"$-\pi$", "0", r"$\pi$"])
        axis.set_yticklabels([r"$-\pi$", "0", r"$\pi$"] if axis is axes[0] else [])
        axis.set_xlabel(r"$k_x$  (rad/site)")
        axis.grid(False)
    figure.colorbar(ScalarMappable(scale, "RdBu_r"), ax=list(axes), shrink=0.75, location="right")
    axes[0].set_ylabel(r"$k_y$  (rad/site)")
