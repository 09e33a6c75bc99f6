"""Trajectories of a reverse SDE with what every figure shows, as units of the engine."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.analysis import equilibrium_correlation_length
from softjax.dynamics import Trajectory, simulate
from softjax.experiments._shared.config import Ensemble, TimeGrid
from softjax.fields import AbstractField
from softjax.jacobian import ModeProbe, ModeResponse
from softjax.observables import binarize, correlation_length, magnetisation
from softjax.processes import log_grid
from softjax.spectral import FourierModes, fourier_modes
from softjax.sweeps import Unit, measured

NUM_SNAPSHOTS = 8


class Observed(eqx.Module):
    """What is measured at one time of a trajectory."""

    correlation_length: Array = measured(long_name="correlation length of the pattern", units="sites")
    magnetisation: Array = measured(long_name="mean of the field", units="data")
    rayleigh: Array = measured(("shell",), "1/t", "Rayleigh quotient of the reverse drift, shell mean")
    magnitude: Array = measured(("shell",), "1/t", "response magnitude of the reverse drift, shell mean")
    direction_rayleigh: Array = measured(("direction",), "1/t", "Rayleigh quotient of the reverse drift")
    direction_magnitude: Array = measured(("direction",), "1/t", "response magnitude of the reverse drift")
    equilibrium_length: Array = measured(long_name="equilibrium correlation length from the magnitudes", units="sites")
    equilibrium_length_error: Array = measured(long_name="standard error of equilibrium_length", units="sites")
    pattern_rayleigh: Array | None = measured(long_name="Rayleigh quotient along the pattern", units="1/t")
    pattern_magnitude: Array | None = measured(long_name="response magnitude along the pattern", units="1/t")


class Measured(eqx.Module):
    """One trajectory: what was measured on its way, and its end."""

    path: Observed = measured(("time",), allow_nan=True)
    final_state: Array = measured(("y", "x", "channel"), "data", "configuration at the end")


class Observer(eqx.Module):
    """Lengths, mean and mode responses of a state of a reverse SDE."""

    probe: ModeProbe
    pattern_probe: ModeProbe | None
    num_fit_shells: int = eqx.field(static=True)

    def __call__(self, t: Array, x: Configuration) -> Observed:
        """What is measured at one time."""
        along = None if self.pattern_probe is None else self.pattern_probe(t, x)
        return observation(
            self.probe.modes,
            self.probe(t, x),
            self.num_fit_shells,
            correlation_length=correlation_length(binarize(x)),
            magnetisation=magnetisation(x),
            pattern_rayleigh=None if along is None else along.rayleigh[0],
            pattern_magnitude=None if along is None else along.magnitude[0],
        )


def observation(modes: FourierModes, response: ModeResponse, num_fit_shells: int, **others: Any) -> Observed:
    """Mode responses with the equilibrium length that follows from them, beside other observables."""
    fit = equilibrium_correlation_length(modes.wavenumbers, response.magnitude, num_fit_shells)
    return Observed(
        rayleigh=response.rayleigh,
        magnitude=response.magnitude,
        direction_rayleigh=response.direction_rayleigh,
        direction_magnitude=response.direction_magnitude,
        equilibrium_length=fit.length,
        equilibrium_length_error=fit.standard_error,
        **others,
    )


class ReverseTrajectory(Unit):
    """A trajectory of the reverse SDE; member i starts from `jax.random.fold_in(paths, i)`."""

    field: AbstractField
    ts: Times
    observer: Observer
    paths: PRNGKeyArray
    shape: tuple[int, ...] = eqx.field(static=True)
    solver: str = eqx.field(static=True)
    engine: str = eqx.field(static=True)

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Measured:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        trajectory = self.trajectory(member, self.observer)
        return Measured(trajectory.observed, trajectory.x)

    def trajectory(self, member: Int[Array, ""], observe: Any) -> Trajectory:
        """One member, `observe` called at every time."""
        return simulate(
            self.field,
            self.ts,
            key=jr.fold_in(self.paths, member),
            shape=self.shape,
            observe=observe,
            solver=self.solver,
            engine=self.engine,  # pyright: ignore[reportArgumentType]
        )

    @property
    def modes(self) -> FourierModes:
        """The modes whose responses are measured."""
        return self.observer.probe.modes


def reverse_trajectory(
    field: AbstractField, config: Ensemble, side: int, key: PRNGKeyArray, pattern: Configuration | None = None
) -> ReverseTrajectory:
    """The trajectory of a configuration on a square lattice; its drift is probed along `pattern` too, if given."""
    shape = (side, side)
    modes = _modes(shape, config.probe.max_shell, config.probe.kind)
    along = None if pattern is None else ModeProbe(field, _single_mode(pattern))
    return ReverseTrajectory(
        field=field,
        ts=times(config.time),
        observer=Observer(ModeProbe(field, modes), along, config.probe.num_fit_shells),
        paths=key,
        shape=shape,
        solver=config.integration.solver,
        engine=config.integration.engine,
    )


_modes = lru_cache(maxsize=8)(fourier_modes)  # the cells of a sweep share them


def times(grid: TimeGrid) -> Times:
    """The time grid of a configuration."""
    return log_grid(grid.t_max, grid.t_min, grid.num_steps)


def _single_mode(pattern: Configuration) -> FourierModes:
    """A pattern as the only direction of a set of modes."""
    direction = pattern / jnp.linalg.norm(pattern)
    none = jnp.zeros((1, pattern.ndim), jnp.int32)
    return FourierModes(direction[None], jnp.zeros(1, jnp.int32), none, jnp.zeros(1, pattern.dtype))


def labels(unit: Any, **attributes: Any) -> xr.Dataset:
    """Times and modes of a trajectory as coordinates, beside other attributes."""
    modes, ts = unit.modes, np.asarray(unit.ts)
    coordinates = {
        "time": (("time",), ts, {"long_name": "diffusion time", "units": "1"}),
        "shell": (("shell",), np.arange(modes.num_shells), {"long_name": "Fourier shell", "units": "1"}),
        "wavenumber": (("shell",), np.asarray(modes.wavenumbers), {"units": "rad/site"}),
        "direction_shell": (("direction",), np.asarray(modes.shells), {"units": "1"}),
        "wavevector": (("direction", "axis"), np.asarray(modes.wavevectors), {"units": "2 pi/L"}),
    }
    updates = (ts.size - 1) * int(np.prod(unit.shape))
    return xr.Dataset(coords=coordinates, attrs={"updates_per_trajectory": updates, **attributes})


def dictionary(patterns: Array) -> xr.Dataset:
    """The patterns of a field, as figures draw them."""
    return xr.Dataset({"dictionary": (("pattern", "patch_y", "patch_x"), np.asarray(patterns), {"units": "data"})})


def snapshots(config: Any, unit: Any) -> xr.Dataset:
    """States of trajectory 0 at a few times, evenly spaced on the grid: the same path, once more without probes."""
    del config
    states, ts = np.asarray(_states_of_first(unit)), np.asarray(unit.ts)
    index = np.rint(np.linspace(0, ts.size - 1, NUM_SNAPSHOTS)).astype(int)
    pixels = ("y", "x", "channel")[: states.ndim - 1]
    return xr.Dataset(
        {"snapshot_state": (("snapshot", *pixels), states[index], {"long_name": "trajectory 0", "units": "data"})},
        coords={"snapshot_time": (("snapshot",), ts[index], {"units": "1"})},
    )


@eqx.filter_jit
def _states_of_first(unit: Any) -> Array:
    members = jnp.zeros(1, jnp.int32)
    return jax.vmap(lambda member: unit.trajectory(member, lambda t, x: x).observed)(members)[0]
