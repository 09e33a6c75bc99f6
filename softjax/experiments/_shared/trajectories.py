"""Trajectories from noise to data with what every figure shows, as units of the engine."""

from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.analysis import equilibrium_correlation_length
from softjax.dynamics import Trajectory, heun, reverse_drift, simulate
from softjax.experiments._shared.config import Ensemble, Probe, TimeGrid
from softjax.fields import AbstractField
from softjax.jacobian import ModeProbe, ModeResponse, mode_response
from softjax.observables import binarize, correlation_length, luminance, magnetisation
from softjax.processes import log_grid
from softjax.spectral import FourierModes, fourier_modes
from softjax.sweeps import Unit, bytes_of_one, measured, memory_budget, variable

NUM_SNAPSHOTS = 8
Sampler = Literal["sde", "flow", "heun"]
LengthOf = Literal["sign", "first_moment", "second_moment", "exponential_fit"]
"""What the pattern's length is measured of: the signs of a configuration, or its values by an estimator."""


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
    final_state: Any = measured()


class Observer(eqx.Module):
    """Lengths, mean and mode responses of a state."""

    probe: ModeProbe
    pattern_probe: ModeProbe | None
    num_fit_shells: int = eqx.field(static=True)
    length: LengthOf = eqx.field(static=True, default="sign")
    directions_at_a_time: int | None = eqx.field(static=True, default=None)

    def __call__(self, t: Array, x: Configuration, label: Array | None = None) -> Observed:
        """What is measured at one time, of the class `label` if there are classes."""
        along = None if self.pattern_probe is None else self.pattern_probe(t, x)
        grey = brightness(x, self.probe.channels)
        return observation(
            self.probe.modes,
            self._respond(t, x, label),
            self.num_fit_shells,
            correlation_length=length_of(grey, self.length),
            magnetisation=magnetisation(grey),
            pattern_rayleigh=None if along is None else along.rayleigh[0],
            pattern_magnitude=None if along is None else along.magnitude[0],
        )

    def _respond(self, t: Array, x: Configuration, label: Array | None) -> ModeResponse:
        if label is None and self.directions_at_a_time is None:
            return self.probe(t, x)
        field = labelled_field(self.probe.field, label)
        return mode_response(
            lambda x: reverse_drift(field, t, x),
            x,
            self.probe.modes,
            batch_size=self.directions_at_a_time,
            channels=self.probe.channels,
            channel=self.probe.channel,
        )


def brightness(x: Configuration, channels: int | None) -> Configuration:
    """One number for each site: the luminance of three channels, the mean of any others."""
    if not channels:
        return x
    return luminance(x) if channels == 3 else jnp.mean(x, axis=-1)


def length_of(grey: Configuration, length: LengthOf) -> Array:
    """The correlation length of a lattice: of its signs by the first moment, as the paper's, or of its values."""
    if length == "sign":
        return correlation_length(binarize(grey), channels=0)
    return correlation_length(grey, length, channels=0)


def labelled_field(field: AbstractField, label: Array | None) -> AbstractField:
    """The field of a class, where there are classes."""
    return field if label is None else field.with_label(label)  # pyright: ignore[reportAttributeAccessIssue]


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
    """A trajectory from noise to data; member i starts from `jax.random.fold_in(paths, i)`, and has class `labels[i]`.

    `sampler` says what is followed: "sde", the reverse SDE; "flow", the probability flow; "heun", EDM's sampler, which
    goes on to zero noise from the last time.
    """

    observer: Observer
    ts: Times
    labels: Int[Array, " trajectories"] | None
    paths: PRNGKeyArray
    shape: tuple[int, ...] = eqx.field(static=True)
    sampler: Sampler = eqx.field(static=True, default="sde")
    solver: str = eqx.field(static=True, default="euler")
    engine: str = eqx.field(static=True, default="diffrax")

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Measured:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        label = None if self.labels is None else self.labels[member]
        observe = self.observer if label is None else lambda t, x: self.observer(t, x, label)
        trajectory = self.trajectory(member, observe)
        end = variable("final_state", trajectory.x, self.dims, "data", "configuration at the end")
        return Measured(trajectory.observed, end)

    def field_of(self, member: Int[Array, ""]) -> AbstractField:
        """The field of a member's class."""
        return self.field if self.labels is None else labelled_field(self.field, self.labels[member])

    def trajectory(self, member: Int[Array, ""], observe: Any) -> Trajectory:
        """One member, `observe` called at every time; with "heun", at every positive noise level."""
        field, key = self.field_of(member), jr.fold_in(self.paths, member)
        if self.sampler == "heun":
            return heun(field, jnp.append(self.ts, 0), key=key, shape=self.shape, observe=observe)
        return simulate(
            field,
            self.ts,
            key=key,
            shape=self.shape,
            observe=observe,
            kind=self.sampler,
            solver=self.solver,
            engine=self.engine,  # pyright: ignore[reportArgumentType]
        )

    @property
    def field(self) -> AbstractField:
        """The field that is followed and probed."""
        return self.observer.probe.field

    @property
    def modes(self) -> FourierModes:
        """The modes whose responses are measured."""
        return self.observer.probe.modes

    @property
    def channels(self) -> int:
        """How many channels the last axis holds, 0 for none."""
        return self.observer.probe.channels or 0

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of a configuration's dimensions."""
        return dims_of(self.shape, self.channels)


def dims_of(shape: tuple[int, ...], channels: int) -> tuple[str, ...]:
    """Names of the dimensions of a configuration with so many channels, 0 for none."""
    ndim = len(shape) - bool(channels)
    lattice = ("z", "y", "x")[-ndim:] if ndim <= 3 else tuple(f"axis_{axis}" for axis in range(ndim))
    return (*lattice, *(("channel",) if channels else ()))


def reverse_trajectory(
    field: AbstractField, config: Ensemble, side: int, key: PRNGKeyArray, pattern: Configuration | None = None
) -> ReverseTrajectory:
    """The trajectory of a configuration on a square lattice; its drift is probed along `pattern` too, if given."""
    shape = (side, side)
    modes = _modes(shape, config.probe.max_shell, config.probe.kind)
    along = None if pattern is None else ModeProbe(field, _single_mode(pattern))
    return ReverseTrajectory(
        observer=Observer(ModeProbe(field, modes), along, config.probe.num_fit_shells),
        ts=times(config.time),
        labels=None,
        paths=key,
        shape=shape,
        solver=config.integration.solver,
        engine=config.integration.engine,
    )


def fitted_trajectory(
    field: AbstractField,
    ts: Times,
    *,
    shape: tuple[int, ...],
    channels: int,
    labels: np.ndarray | None,
    paths: PRNGKeyArray,
    probe: Probe,
    length: LengthOf,
    sampler: Sampler,
    solver: str = "euler",
    engine: str = "diffrax",
) -> ReverseTrajectory:
    """A trajectory of any field, probed along as many directions at a time as the memory takes.

    What they need is what the compiler says of one measurement; directions are halved until it fits. Raises
    `ValueError` for Heun's sampler on another clock than EDM's.
    """
    require(labels is None or hasattr(field, "with_label"), f"{type(field).__name__} has no classes: leave labels out.")
    name = type(field.process).__name__
    require(
        sampler != "heun" or field.process.has_edm_clock(), f"heun is the sampler of an EDM process, not of {name}."
    )
    lattice = shape[:-1] if channels else shape
    modes = _modes(lattice, probe.max_shell, probe.kind, 0)
    responses = ModeProbe(field, modes, channels)
    classes = None if labels is None else jnp.asarray(labels)

    def observer(directions_at_a_time: int | None) -> Observer:
        return Observer(responses, None, probe.num_fit_shells, length, directions_at_a_time)

    batch: int | None = None
    while batch != 1 and bytes_of_one(_Measurement(observer(batch), ts, classes, shape), paths) > memory_budget():
        batch = (batch or modes.shells.size) // 2
    return ReverseTrajectory(
        observer=observer(batch),
        ts=ts,
        labels=classes,
        paths=paths,
        shape=shape,
        sampler=sampler,
        solver=solver,
        engine=engine,
    )


class _Measurement(Unit):
    """What is measured of one state, for the memory that it takes."""

    observer: Observer
    ts: Times
    labels: Int[Array, " trajectories"] | None
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Observed:
        x = jr.normal(jr.fold_in(key, member), self.shape, self.ts.dtype)
        return self.observer(self.ts[0], x, None if self.labels is None else self.labels[member])


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
    level = attributes.get("clock") == "sigma"
    clock = {"long_name": "noise level", "units": "data"} if level else {"long_name": "diffusion time", "units": "1"}
    coordinates = {
        "time": (("time",), ts, clock),
        "shell": (("shell",), np.arange(modes.num_shells), {"long_name": "Fourier shell", "units": "1"}),
        "wavenumber": (("shell",), np.asarray(modes.wavenumbers), {"units": "rad/site"}),
        "direction_shell": (("direction",), np.asarray(modes.shells), {"units": "1"}),
        "wavevector": (("direction", "axis"), np.asarray(modes.wavevectors), {"units": "2 pi/L"}),
    }
    updates = (ts.size - 1) * int(np.prod(unit.shape))
    return xr.Dataset(coords=coordinates, attrs={"updates_per_trajectory": updates, **attributes})


def class_labels(unit: ReverseTrajectory) -> dict[str, Any]:
    """The class of every trajectory as a coordinate; nothing where there are no classes."""
    return {} if unit.labels is None else {"label": (("trajectory",), np.asarray(unit.labels), {"units": "1"})}


def dictionary(patterns: Array) -> xr.Dataset:
    """The patterns of a field, as figures draw them."""
    return xr.Dataset({"dictionary": (("pattern", "patch_y", "patch_x"), np.asarray(patterns), {"units": "data"})})


def snapshots(config: Any, unit: Any) -> xr.Dataset:
    """States of trajectory 0 at a few times, evenly spaced in log SNR: the same path, once more without probes."""
    del config
    states, ts = np.asarray(states_of(unit, jnp.zeros(1, jnp.int32))[0]), np.asarray(unit.ts)
    index = evenly(unit, NUM_SNAPSHOTS)
    return xr.Dataset(
        {"snapshot_state": (("snapshot", *unit.dims), states[index], {"long_name": "trajectory 0", "units": "data"})},
        coords={"snapshot_time": (("snapshot",), ts[index], {"units": "1"})},
    )


def evenly(unit: Any, num: int) -> np.ndarray:
    """Places on the grid, evenly spaced in log SNR from its start to its end; fewer than `num` on a short grid."""
    log_snr = np.clip(jax.vmap(unit.field.process.log_snr)(unit.ts), -100, 100)  # infinite where no signal is left
    wanted = np.linspace(log_snr[0], log_snr[-1], num)
    return np.unique(np.argmin(np.abs(log_snr[:, None] - wanted), axis=0))


def states_of(unit: Any, members: Array) -> Array:
    """States of some trajectories at every time, (members, times, *shape); by the engine that compiles fastest."""
    if getattr(unit, "engine", None) == "diffrax" and unit.solver in ("euler", "sea"):
        unit = replace(unit, engine="scan")  # the same path
    return _states_of(unit, members)


@eqx.filter_jit
def _states_of(unit: Any, members: Array) -> Array:
    return jax.vmap(lambda member: unit.trajectory(member, lambda t, x: x).observed)(members)
