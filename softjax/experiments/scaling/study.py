"""What one quench is, and what many on several lattices say of a transition (theory.md section 9)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.dynamics import simulate
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, nearest
from softjax.experiments.scaling.config import Config
from softjax.experiments.scaling.estimates import ABOUT, derive, ranges
from softjax.experiments.scaling.words import findings
from softjax.fields import AbstractField, PatchDictionary, PatchField
from softjax.processes import VP, log_grid
from softjax.sweeps import Unit, measured

NUM_MODES = 8
"""Wavevectors along the axes, beside 0, whose structure factor is measured, on small lattices fewer."""
FIXED_TIME = 1.0
"""Time at which the length is compared with the stochasticity, beside the end."""
NO_POWER = "there are fewer than two rates, or lengths exceed a quarter of the lattice or are below their errors"
SYMBOL = {"binder": "U", "susceptibility": "chi", "length_ratio": "xi/L"}


class Moments(eqx.Module):
    """What finite-size scaling needs of one state."""

    magnetisation: Array = measured(("time",), "data", "mean of the field")
    structure_factor: Array = measured(("time", "mode"), "data^2", "structure factor at 2 pi n / L, mean over the axes")


def moments(x: Configuration, num_modes: int) -> Moments:
    """Mean, and structure factor at 2 pi n / L along the axes n = 0, 1, ..., of a state (*lattice) of equal sides."""
    axes = range(x.ndim)
    planes = [jnp.mean(x, axis=tuple(other for other in axes if other != axis)) for axis in axes]
    waves = jnp.stack([jnp.fft.rfft(plane)[: num_modes + 1] for plane in planes])
    return Moments(jnp.mean(x), jnp.mean(jnp.abs(waves) ** 2, axis=0) * x.size / x.shape[0] ** 2)


class QuenchTrajectory(Unit):
    """A reverse trajectory at one stochasticity; member i starts from `jax.random.fold_in(paths, i)`."""

    field: AbstractField
    ts: Times
    stochasticity: Array
    paths: PRNGKeyArray
    shape: tuple[int, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True)
    num_modes: int = eqx.field(static=True)

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Moments:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        trajectory = simulate(
            self.field,
            self.ts,
            key=jr.fold_in(self.paths, member),
            shape=self.shape,
            observe=lambda t, x: moments(x, self.num_modes),
            solver="dpmpp_2m",
            stochasticity=self.stochasticity,
        )
        return jax.tree.map(lambda seen: seen[:: self.every], trajectory.observed)


def unit(config: Config, side: int, stochasticity: float) -> QuenchTrajectory:
    """One quench. Lattices and stochasticities have independent noise, which does not depend on the other ones."""
    key_dictionary, key_paths = jr.split(jr.key(config.seed))
    patterns = PatchDictionary.ising(config.patch_size, config.num_random, config.p_global, key=key_dictionary)
    num_steps = config.quench.num_steps(stochasticity)
    of_cell = jr.fold_in(jr.fold_in(key_paths, side), np.float32(stochasticity).view(np.uint32))
    return QuenchTrajectory(
        PatchField(patterns, VP()),
        log_grid(config.quench.t_max, config.quench.t_min, num_steps),
        jnp.asarray(stochasticity, float),
        of_cell,
        shape=(side, side),
        every=num_steps // config.quench.num_times,
        num_modes=min(NUM_MODES, min(config.sides) // 2),
    )


def axes(config: Config) -> dict[str, Any]:
    """Lattices and stochasticities, crossed."""
    for name, values, least in (("sides", config.sides, 2), ("stochasticities", config.stochasticities, 1)):
        require(
            len(values) >= least and min(values) > 0 and all(a < b for a, b in zip(values, values[1:], strict=False)),
            f"{name} must be at least {least} positive increasing numbers, got {values}.",
        )
    return {"side": config.sides, "stochasticity": config.stochasticities}


def known(config: Config, unit: QuenchTrajectory) -> xr.Dataset:
    """The times at which everything is seen."""
    del config
    ts = np.asarray(unit.ts[:: unit.every])
    return xr.Dataset(coords={"time": (("time",), ts, {"long_name": "diffusion time", "units": "1"})})


def at_end(dataset: xr.Dataset, name: str, side: int, stochasticity: float) -> Row:
    """A row of one estimate at the last time, with two standard errors about it."""
    one = dataset.sel(side=side, stochasticity=stochasticity).isel(time=-1)
    units, _ = ABOUT[name]
    label = f"{SYMBOL[name]} at the end, L = {side}, stochasticity {stochasticity:g}"
    return _row(label, float(one[name]), float(one[f"{name}_error"]), units)


def _row(
    name: str,
    value: float,
    error: float,
    units: str,
    also: tuple[tuple[str, float], ...] = (),
    reason: str = "less than its error",
) -> Row:
    interval = (value - 1.96 * error, value + 1.96 * error) if np.isfinite(error) else None
    return Row(name, value, units, interval, also, "" if np.isfinite(error) else reason)


def summary(dataset: xr.Dataset) -> list[Row]:
    """Order and lengths at the end of the fastest and the slowest quench, crossings, exponents, and the cost."""
    sides, rates = dataset["side"].values.tolist(), dataset["stochasticity"].values.tolist()
    rows = [
        at_end(dataset, name, side, rate)
        for rate in dict.fromkeys((rates[0], rates[-1]))
        for name in SYMBOL
        for side in sides
    ]
    rows += [_crossing_row(dataset, pair) for pair in dataset["pair"].values.tolist()]
    places = (len(dataset["time"]) - 1, nearest(dataset["time"], FIXED_TIME))
    rows += [_exponent_row(dataset, name, place) for place in places for name in dataset["range"].values.tolist()]
    rows += [_collapse_row(dataset.sel(range=name), name) for name in dataset["range"].values.tolist()]
    known = dataset.attrs
    costs = [("compile time", known["compile_time_s"]), ("run time", known["run_time_s"])]
    return [*rows, *(Row(name, value, "s") for name, value in costs)]


def _crossing_row(dataset: xr.Dataset, pair: str) -> Row:
    """The crossing at the largest stochasticity."""
    one = dataset.sel(pair=pair).isel(stochasticity=-1)
    name = f"crossing of U, L = {pair}, stochasticity {float(one['stochasticity']):g}"
    value = float(one["crossing"])
    if not np.isfinite(value):
        return Row(name, value, "t", reason="the curves do not cross beyond their errors")
    return Row(name, value, "t", (float(one["crossing_low"]), float(one["crossing_high"])))


def _exponent_row(dataset: xr.Dataset, name: str, place: int) -> Row:
    one = dataset.sel(range=name).isel(time=place)
    when = "at the end" if place == len(dataset["time"]) - 1 else f"at t = {float(one['time']):.3g}"
    also = (("chi2/dof", float(one["exponent_quality"])), ("dof", float(one["exponent_dof"])))
    label = f"power of the stochasticity in xi {when}, {_rates(dataset, name)}"
    return _row(label, float(one["exponent"]), float(one["exponent_error"]), "1", also, NO_POWER)


def _collapse_row(one: xr.Dataset, name: str) -> Row:
    value, low, high, quality, dof = (
        float(one[f"collapse_{part}"]) for part in ("exponent", "low", "high", "quality", "dof")
    )
    label = f"collapse of m^2 at the end, exponent of L, {_rates(one, name)}"
    return Row(label, value, "1", (low, high), (("chi2/dof", quality), ("dof", dof)))


def _rates(dataset: xr.Dataset, name: str) -> str:
    """The stochasticities of a range."""
    rates = dataset["stochasticity"].values[ranges(dataset.sizes["stochasticity"])[str(name)]]
    return f"stochasticity {rates[0]:g} to {rates[-1]:g}"


STUDY = Study(
    "scaling",
    unit,
    summary,
    findings,
    known=known,
    derive=derive,
    axes=axes,
    pack=lambda config: config.chunk,
    saves_memory="Take a smaller --chunk, or smaller --sides.",
)
