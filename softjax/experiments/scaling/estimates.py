"""What follows from all quenches: estimates with errors, crossings, exponents, the collapse."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax.analysis import data_collapse, finite_size, power_law, size_crossing, structure_length
from softjax.analysis._scaling import binder
from softjax.experiments.scaling.config import Config

DEGREE = 4
"""Of the polynomial that the collapse is fitted with."""
LONGEST = 0.25
"""Times the side: longer lengths are the lattice's."""
ABOUT = {
    "binder": ("1", "Binder cumulant of the mean"),
    "susceptibility": ("data^2", "susceptibility, sites times mean square of the mean"),
    "connected_susceptibility": ("data^2", "susceptibility less the squared mean modulus"),
    "length_ratio": ("1", "second-moment correlation length over L"),
    "length": ("sites", "correlation length from the low modes"),
}
"""Unit and description of each estimate."""


def derive(config: Config, unit: Any, dataset: xr.Dataset) -> xr.Dataset:
    """Estimates with standard errors over (side, stochasticity, time), and what follows from them.

    `binder`, `susceptibility`, `connected_susceptibility`, `length_ratio` (of the first mode) and `length` (of the low
    modes, in sites), each with `_error`; `crossing` (pair, stochasticity) of the Binder cumulants of neighbouring sizes
    with `crossing_low`, `crossing_high` and `crossing_binder`; `exponent` (range, time) of the largest lattice's length
    in the stochasticity, with `exponent_error`, `exponent_quality`, `exponent_dof`; and the collapse (range) of the
    second moment at the end. `range` says over which stochasticities.
    """
    del config, unit
    estimates = estimates_of(dataset)
    return xr.merge([estimates, _crossings(dataset), _exponents(estimates), _collapse(estimates)])


def estimates_of(dataset: xr.Dataset) -> xr.Dataset:
    """The estimates of every lattice, stochasticity and time, with jackknife errors over trajectories."""
    of_cell = ("side", "stochasticity", "time")
    columns: dict[str, list[np.ndarray]] = {}
    for side in dataset["side"].values:
        m, factors = (
            jnp.asarray(dataset[name].sel(side=side).transpose("trajectory", ...).values)
            for name in ("magnetisation", "structure_factor")
        )
        found = finite_size(m, factors[..., 1], int(side))
        made = {
            "binder": found.binder,
            "susceptibility": found.susceptibility,
            "connected_susceptibility": found.connected_susceptibility,
            "length_ratio": found.length_ratio,
            "length": structure_length(factors, int(side)),
        }
        for name, one in made.items():
            columns.setdefault(name, []).append(np.asarray(one.value))
            columns.setdefault(f"{name}_error", []).append(np.asarray(one.standard_error))
    return xr.Dataset(
        {name: (of_cell, np.stack(parts), _about(name)) for name, parts in columns.items()}, dataset.coords
    ).drop_vars("done", errors="ignore")


def _about(name: str) -> dict[str, str]:
    units, words = ABOUT[name.removesuffix("_error")]
    return {"units": units, "long_name": f"standard error: {words}" if name.endswith("_error") else words}


def _crossings(dataset: xr.Dataset) -> xr.Dataset:
    """Where the Binder cumulants of neighbouring sizes cross, at every stochasticity."""
    sides, stochasticities = dataset["side"].values, dataset["stochasticity"].values
    found = np.full((4, len(sides) - 1, len(stochasticities)), np.nan)
    ts = jnp.asarray(dataset["time"].values)
    for column, stochasticity in enumerate(stochasticities):
        m = dataset["magnetisation"].sel(stochasticity=stochasticity).transpose("side", "trajectory", "time").values
        powers = jnp.stack([jnp.asarray(m) ** 2, jnp.asarray(m) ** 4], axis=-1)
        for pair in range(len(sides) - 1):
            key = jr.fold_in(jr.key(pair), column)
            one = size_crossing(ts, powers[pair], powers[pair + 1], binder, key=key, num_bootstrap=400)
            found[:, pair, column] = (one.location, *one.interval, one.height)
    names = ("crossing", "crossing_low", "crossing_high", "crossing_binder")
    at = {"pair": [f"{a}, {b}" for a, b in zip(sides, sides[1:], strict=False)], "stochasticity": stochasticities}
    values = {name: (("pair", "stochasticity"), one, {"units": "1"}) for name, one in zip(names, found, strict=True)}
    return xr.Dataset(values, at)


def ranges(count: int) -> dict[str, slice]:
    """Which of so many increasing stochasticities a law is fitted to: all, and from seven on both halves."""
    halves = {"lower half": slice(0, count // 2 + 1), "upper half": slice(count // 2, count)}
    return {"all": slice(0, count)} | (halves if count >= 7 else {})


def _exponents(estimates: xr.Dataset) -> xr.Dataset:
    """Powers of the stochasticity with which the largest lattice's length grows, at every time."""
    largest = estimates.isel(side=-1)
    parts = ranges(largest.sizes["stochasticity"])
    found = np.full((4, len(parts), largest.sizes["time"]), np.nan)
    for row, part in enumerate(parts.values()):
        one = largest.isel(stochasticity=part)
        for place in range(largest.sizes["time"] if one.sizes["stochasticity"] > 1 else 0):
            length, error = (one[name].isel(time=place).values for name in ("length", "length_error"))
            if np.all(np.isfinite(error)) and np.all(error > 0) and np.all(length < LONGEST * int(largest["side"])):
                law = power_law(*map(jnp.asarray, (one["stochasticity"].values, length, error)))
                quality, dof = law.chi_squared_per_dof, length.size - 2
                found[:, row, place] = law.exponent, law.standard_error, quality, dof
    names = ("exponent", "exponent_error", "exponent_quality", "exponent_dof")
    values = {name: (("range", "time"), one, {"units": "1"}) for name, one in zip(names, found, strict=True)}
    return xr.Dataset(values, {"range": list(parts)})


def _collapse(estimates: xr.Dataset) -> xr.Dataset:
    """The exponent with which the second moment at the end, of all sizes, is one function of rate times L^exponent."""
    end = estimates.isel(time=-1).transpose("side", "stochasticity")
    parts = ranges(end.sizes["stochasticity"])
    found = np.full((5, len(parts)), np.nan)
    sides = end["side"].values.astype(float)
    for row, part in enumerate(parts.values()):
        one = end.isel(stochasticity=part)
        relative = (one["susceptibility_error"] / one["susceptibility"]).values
        moment = np.log(one["susceptibility"].values / sides[:, None] ** 2)
        if one.sizes["stochasticity"] < 2 or relative.size < DEGREE + 3:
            continue
        made = data_collapse(
            jnp.asarray(one["stochasticity"].values),
            jnp.asarray(moment),
            jnp.asarray(relative),
            jnp.asarray(sides),
            key=jr.key(0),
            critical=0.0,
            logarithmic=True,
            degree=DEGREE,
        )
        found[:, row] = (made.exponent, *made.exponent_interval, made.chi_squared_per_dof, made.dof)
    names = ("collapse_exponent", "collapse_low", "collapse_high", "collapse_quality", "collapse_dof")
    values = {name: (("range",), one, {"units": "1"}) for name, one in zip(names, found, strict=True)}
    return xr.Dataset(values, {"range": list(parts)})
