"""How far a field is from a local, translation-equivariant one: a row of panels of an experiment's figure."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from softjax.plotting._style import shell_colors
from softjax.plotting._time import vp_time_axis

_NUM_ZONES = 3
_SCALE = Normalize(-1, 1)
_OVER_NOISE = r"Re $\lambda(k)$ / |that of noise|"
_ENDS = [r"$-\pi$", "0", r"$\pi$"]


def equivariance_panels(figure: SubFigure, dataset: xr.Dataset) -> None:
    """Leakage of the Fourier shells, reach of the Jacobian, and growth rates over the zone at up to three times.

    * `figure`: of Matplotlib, or a part of one, drawn on;
    * `dataset`: with `leakage`, `effective_radius` and `zone_rate` over `equivariance_time`, as `probe` returns it.

    A zone of one axis is a curve; of three axes the plane of the last two is shown.

    >>> import xarray as xr
    >>> leakage = xr.DataArray(np.full((1, 2, 3), 0.1), dims=("state", "equivariance_time", "shell"))
    >>> zone = xr.DataArray(np.zeros((1, 2, 4, 4)), dims=("state", "equivariance_time", "ky", "kx"))
    >>> known = {"leakage": leakage, "zone_rate": zone, "effective_radius": 1 + 0 * leakage[..., 0]}
    >>> data = xr.Dataset(known, {"equivariance_time": [2.0, 1.0]})
    >>> figure = sj.plotting.Figure(layout="constrained").subfigures()
    >>> sj.plotting.equivariance_panels(figure, data)
    >>> len(figure.axes) > 3
    True
    """
    figure.suptitle("how equivariant and how local the network is", fontsize=10)
    ts = dataset["equivariance_time"].values
    shown = (
        np.arange(ts.size) if ts.size <= _NUM_ZONES else np.linspace(0, ts.size - 1, _NUM_ZONES + 2).astype(int)[1:-1]
    )
    axes = figure.subplots(1, 2 + shown.size, width_ratios=[1.5, 1.5] + [1] * shown.size)
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
        if "beta" in dataset.attrs:
            vp_time_axis(axis, dataset)
            continue
        axis.set_xscale("log")
        axis.set_xlim(ts.max(), ts.min())
        axis.set_xlabel(r"noise level $\sigma$" if dataset.attrs.get("clock") == "sigma" else "diffusion time t")
    _zones(figure, axes[2:], dataset, shown)


def _zones(figure: SubFigure, axes: np.ndarray, dataset: xr.Dataset, shown: np.ndarray) -> None:
    """Growth rates at some times, mean over the states, times sigma^2 or, where it is known, over noise's magnitude."""
    ts, clock = dataset["equivariance_time"].values, dataset.attrs.get("clock", "t").replace("sigma", r"$\sigma$")
    rates, name = dataset["zone_rate"].mean("state"), r"$\sigma^2$ Re $\lambda(k)$"
    if "free_response" in dataset:
        noise = (dataset["noise_scale"] ** 2 * dataset["free_response"]).sel(time=ts, method="nearest").values
        rates, name = rates / xr.DataArray(noise, dims="equivariance_time"), _OVER_NOISE
    rates = rates.transpose("equivariance_time", ...).values
    for axis, index in zip(axes, shown, strict=True):
        zone = np.fft.fftshift(rates[index])
        axis.set_title(f"{clock} = {ts[index]:.2g}")
        axis.set_xlabel(r"$k_x$  (rad/site)")
        axis.set(xticks=[-np.pi, 0, np.pi], xticklabels=_ENDS)
        if zone.ndim == 1:
            axis.plot(2 * np.pi * np.fft.fftshift(np.fft.fftfreq(zone.size)), zone, color="black")
            axis.set_ylabel(name if axis is axes[0] else "")
            continue
        plane = zone[tuple(side // 2 for side in zone.shape[:-2])]  # k = 0 along the others
        _zone(axis, plane, axis is axes[0])
    if rates.ndim > 2:
        bar = figure.colorbar(ScalarMappable(_SCALE, "RdBu_r"), ax=list(axes), shrink=0.75, location="right")
        bar.set_label(name)
        axes[0].set_ylabel(r"$k_y$  (rad/site)")


def zone_strip(figure: SubFigure, axes: np.ndarray, rates: np.ndarray) -> None:
    """Growth rates of every wave, one panel for each state.

    * `figure`: of which the panels are part;
    * `axes`: the panels;
    * `rates`: (panels, n_y, n_x), in FFT order, over the magnitude of those of noise: -1 for noise, 0 where a wave is
      marginal, positive where it grows.
    """
    for axis, zone in zip(axes, rates, strict=True):
        _zone(axis, np.fft.fftshift(zone), axis is axes[0])
        axis.set(xticks=[-np.pi, 0, np.pi], xticklabels=_ENDS)
    axes[0].set_ylabel(r"$k_y$  (rad/site)")
    axes[0].set_xlabel(r"$k_x$  (rad/site)")
    bar = figure.colorbar(ScalarMappable(_SCALE, "RdBu_r"), ax=list(axes), location="right", pad=0.01)
    bar.set_label(_OVER_NOISE, fontsize=8.5)


def _zone(axis: Axes, plane: np.ndarray, first: bool) -> None:
    """Rates of a plane of the zone, k = 0 in the middle."""
    extent = (-np.pi, np.pi, -np.pi, np.pi)
    axis.imshow(plane, cmap="RdBu_r", norm=_SCALE, extent=extent, origin="lower", interpolation="nearest")
    axis.set(yticks=[-np.pi, 0, np.pi], yticklabels=_ENDS if first else [])
    axis.grid(False)
