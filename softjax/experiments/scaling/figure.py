"""Finite-size scaling in six panels."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from softjax.experiments.scaling.estimates import ranges
from softjax.experiments.scaling.words import ORDERED
from softjax.plotting import EXACT, STYLE, Figure

_MARKERS = "osD^vP*X"
_LENGTH_RATIO = 0.90505


def figure(dataset: xr.Dataset) -> Figure:
    """Cumulants and lengths over time for all sizes; susceptibilities, their collapse and the length over the rate."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(13.5, 8.2), layout="constrained")
        samples = dataset.sizes["trajectory"]
        drawn.suptitle(f"Finite-size scaling of the patch model, {samples} trajectories each; bars: one standard error")
        (slow, fast, ratio), (chi, collapse, power) = np.asarray(drawn.subplots(2, 3))
        _cumulant_panel(slow, dataset, 0)
        _cumulant_panel(fast, dataset, -1)
        _ratio_panel(ratio, dataset)
        _moment_panel(chi, dataset)
        _collapse_panel(collapse, dataset)
        _length_panel(power, dataset)
    return drawn


def _sizes(dataset: xr.Dataset) -> list[tuple[int, str, tuple[float, ...]]]:
    """Each side with its marker and color."""
    sides = dataset["side"].values
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(sides)))
    return [(int(side), _MARKERS[row % 8], tuple(colors[row])) for row, side in enumerate(sides)]


def _over_time(axis: Axes, dataset: xr.Dataset, name: str, known: float, label: str) -> None:
    ts = dataset["time"].values
    for row, (side, marker, color) in enumerate(_sizes(dataset)):
        one = dataset.sel(side=side)
        value, error = one[name].values, one[f"{name}_error"].values
        value = np.where(np.isfinite(error), value, np.nan)
        axis.plot(ts, value, color=color, label=f"L = {side}", marker=marker, markersize=3.5, markevery=(row, 4))
        axis.fill_between(ts, value - error, value + error, color=color, alpha=0.18, linewidth=0)
    axis.axhline(known, label=label, **EXACT)
    axis.set_xscale("log")
    axis.set_xlim(ts.max(), ts.min())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("diffusion time t  (noise to the left)")


def _rate(dataset: xr.Dataset, place: int) -> str:
    return rf"$\Lambda$ = {float(dataset['stochasticity'][place]):g}"


def _cumulant_panel(axis: Axes, dataset: xr.Dataset, place: int) -> None:
    _over_time(axis, dataset.isel(stochasticity=place), "binder", ORDERED, f"{ORDERED}: Ising model at $T_c$")
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.set_ylim(-0.55, 0.72)
    axis.set_ylabel("Binder cumulant U")
    axis.set_title(f"order of the field, stochasticity {_rate(dataset, place)}")
    axis.legend(loc="lower left", ncols=2)


def _ratio_panel(axis: Axes, dataset: xr.Dataset) -> None:
    label = f"{_LENGTH_RATIO}: Ising model at $T_c$"
    _over_time(axis, dataset.isel(stochasticity=-1), "length_ratio", _LENGTH_RATIO, label)
    axis.set_ylabel(r"second-moment length over size, $\xi/L$")
    axis.set_title(f"correlation length, {_rate(dataset, -1)} (left out: below its error)")
    axis.legend(loc="center right", bbox_to_anchor=(1, 0.56))


def _moment_panel(axis: Axes, dataset: xr.Dataset) -> None:
    end = dataset.isel(time=-1)
    for side, marker, color in _sizes(dataset):
        one = end.sel(side=side)
        axis.errorbar(
            one["stochasticity"],
            one["susceptibility"],
            one["susceptibility_error"],
            fmt=marker,
            color=color,
            markersize=4.5,
            label=f"L = {side}",
        )
        axis.axhline(side**2, color=color, linewidth=0.7, linestyle=":")
    top = float(end["susceptibility"].max())
    axis.set_ylim(0.6 * float(end["susceptibility"].min()), 3 * top)
    _log_log(axis)
    axis.set_xlabel(r"stochasticity $\Lambda$  (1: the reverse SDE)")
    axis.set_ylabel(r"susceptibility $\chi = N\langle m^2\rangle$")
    axis.set_title(r"at the end; dotted: $L^2$, full order")
    axis.legend(loc="upper left")


def _collapse_panel(axis: Axes, dataset: xr.Dataset) -> None:
    dataset = dataset.sel(range=_best(dataset))
    exponent = float(dataset["collapse_exponent"])
    if not np.isfinite(exponent):
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no collapse: too few quenches", ha="center", transform=axis.transAxes)
        return
    end = dataset.isel(time=-1, stochasticity=ranges(dataset.sizes["stochasticity"])[str(dataset["range"].values)])
    for side, marker, color in _sizes(dataset):
        one = end.sel(side=side)
        scaled = one["stochasticity"] * float(side) ** exponent
        moment, error = one["susceptibility"] / side**2, one["susceptibility_error"] / side**2
        axis.errorbar(scaled, moment, error, fmt=marker, color=color, markersize=4.5, label=f"L = {side}")
    _log_log(axis)
    low, high = float(dataset["collapse_low"]), float(dataset["collapse_high"])
    axis.set_xlabel(rf"$\Lambda\,L^{{{exponent:.2f}}}$   [{low:.2f}, {high:.2f}]")
    axis.set_ylabel(r"$\langle m^2\rangle$ at the end")
    quality, freedom = float(dataset["collapse_quality"]), float(dataset["collapse_dof"])
    rates = rf"$\Lambda$ = {float(end['stochasticity'][0]):g} to {float(end['stochasticity'][-1]):g}"
    axis.set_title(rf"collapse, {rates}: $\chi^2$/dof = {quality:.2f} ({freedom:.0f} dof)")
    axis.legend(loc="upper left")


def _length_panel(axis: Axes, dataset: xr.Dataset) -> None:
    for side, marker, color in _sizes(dataset)[-2:]:
        one = dataset.sel(side=side).isel(time=-1)
        style = {"fmt": marker, "color": color, "markersize": 4.5, "label": f"L = {side}"}
        axis.errorbar(one["stochasticity"], one["length"], one["length_error"], **style)
    largest, rates = dataset.isel(side=-1, time=-1), dataset["stochasticity"].values
    middle, anchor = np.exp(np.mean(np.log(rates))), np.exp(float(np.log(largest["length"]).mean()))
    lines = [("mean field, 1/4", 0.25, ":"), ("Ising model A, 0.315", 0.315, "--"), ("coarsening, 1/2", 0.5, "-.")]
    for name, slope, dashes in lines:
        axis.plot(rates, anchor * (rates / middle) ** slope, color="0.4", linestyle=dashes, linewidth=1.1, label=name)
    _log_log(axis)
    axis.set_title("\n".join(_power(dataset, str(name)) for name in dataset["range"].values), fontsize=9)
    axis.set_xlabel(r"stochasticity $\Lambda$")
    axis.set_ylabel(r"length of the low modes at the end, $\xi$  (sites)")
    axis.legend(loc="upper left")


def _best(dataset: xr.Dataset) -> str:
    """The range with the smallest chi^2 per degree of freedom."""
    quality = dataset["collapse_quality"].values
    return str(dataset["range"].values[int(np.nanargmin(quality)) if np.isfinite(quality).any() else 0])


def _power(dataset: xr.Dataset, name: str) -> str:
    rates = dataset["stochasticity"].values[ranges(dataset.sizes["stochasticity"])[name]]
    one = dataset.sel(range=name).isel(time=-1)
    value, error, quality = (float(one[f"exponent{part}"]) for part in ("", "_error", "_quality"))
    text = rf"$\xi\propto\Lambda^p$, $\Lambda$ = {rates[0]:g} to {rates[-1]:g}: p = {value:.3f} $\pm$ {error:.3f}"
    return text + (rf", $\chi^2$/dof = {quality:.1f}" if np.isfinite(quality) else "")


def _log_log(axis: Axes) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    for side in (axis.xaxis, axis.yaxis):
        low, high = side.get_view_interval()
        if low > 1e-3 and high < 1e5:
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter("{x:g}" if high < 30 * low else NullFormatter())
