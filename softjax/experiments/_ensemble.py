"""What the experiments share: measuring an ensemble of trajectories of one field into a dataset."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax._version import __version__
from softjax.analysis import equilibrium_correlation_length
from softjax.dynamics import Trajectory, simulate_ensemble
from softjax.experiments._store import TrajectoryStore
from softjax.experiments.configs import Config, Integration
from softjax.fields import AbstractField
from softjax.jacobian import ModeProbe
from softjax.observables import binarize, correlation_length, magnetisation
from softjax.processes import log_grid
from softjax.spectral import FourierModes, fourier_modes

NUM_SNAPSHOTS = 8
_REMEDY = "Take more steps, or end at a larger time."
Observe = Callable[[Array, Configuration], Any]
Progress = Callable[[int, int], None]
"""Called with the number of finished trajectories and of all of them."""

_MEASURED = {
    "correlation_length": (("time",), "first-moment correlation length of the binarised field", "sites"),
    "magnetisation": (("time",), "mean of the field", "1"),
    "rayleigh": (("time", "shell"), "Rayleigh quotient of the reverse drift, shell mean", "1/t"),
    "magnitude": (("time", "shell"), "response magnitude of the reverse drift, shell mean", "1/t"),
    "direction_rayleigh": (("time", "direction"), "Rayleigh quotient of the reverse drift", "1/t"),
    "direction_magnitude": (("time", "direction"), "response magnitude of the reverse drift", "1/t"),
    "equilibrium_length": (("time",), "equilibrium correlation length from the magnitudes", "sites"),
    "equilibrium_length_error": (("time",), "standard error of the fit of equilibrium_length", "sites"),
    "pattern_rayleigh": (("time",), "Rayleigh quotient along the pattern", "1/t"),
    "pattern_magnitude": (("time",), "response magnitude along the pattern", "1/t"),
    "final_state": (("y", "x", "channel"), "configuration at the end", "data"),
}


class Observer(eqx.Module):
    """What is measured on every grid point of a trajectory."""

    probe: ModeProbe
    pattern_probe: ModeProbe | None
    num_fit_shells: int = eqx.field(static=True)

    def __call__(self, t: Array, x: Configuration) -> dict[str, Array]:
        """One number, or one per shell or direction, for each name in the dataset."""
        response = self.probe(t, x)
        fit = equilibrium_correlation_length(self.probe.modes.wavenumbers, response.magnitude, self.num_fit_shells)
        measured = {
            "correlation_length": correlation_length(binarize(x)),
            "magnetisation": magnetisation(x),
            "rayleigh": response.rayleigh,
            "magnitude": response.magnitude,
            "direction_rayleigh": response.direction_rayleigh,
            "direction_magnitude": response.direction_magnitude,
            "equilibrium_length": fit.length,
            "equilibrium_length_error": fit.standard_error,
        }
        if self.pattern_probe is not None:
            along = self.pattern_probe(t, x)
            measured |= {"pattern_rayleigh": along.rayleigh[0], "pattern_magnitude": along.magnitude[0]}
        return measured


class AbstractEnsemble(eqx.Module):
    """Which trajectories are run, and what is measured on them."""

    ts: eqx.AbstractVar[Times]
    modes: eqx.AbstractVar[FourierModes]
    observer: eqx.AbstractVar[Any]
    shape: eqx.AbstractVar[tuple[int, ...]]

    @abstractmethod
    def trajectories(self, members: Int[Array, " num"], key: PRNGKeyArray, observe: Observe) -> Trajectory:
        """The members of the ensemble with these numbers, `observe` called on every time of `ts`."""


class ReverseSDE(AbstractEnsemble):
    """Trajectories of the reverse SDE on the time grid of a configuration."""

    field: AbstractField
    ts: Times
    modes: FourierModes
    observer: Observer
    shape: tuple[int, ...] = eqx.field(static=True)
    integration: Integration = eqx.field(static=True)

    def trajectories(self, members: Int[Array, " num"], key: PRNGKeyArray, observe: Observe) -> Trajectory:
        """By `simulate_ensemble`."""
        return simulate_ensemble(
            self.field,
            self.ts,
            key=key,
            num=members.shape[0],
            members=members,
            shape=self.shape,
            observe=observe,
            solver=self.integration.solver,
            engine=self.integration.engine,
        )


def measure(
    field: AbstractField,
    config: Config,
    *,
    key: PRNGKeyArray,
    static: xr.Dataset,
    path: Path | None = None,
    progress: Progress | None = None,
    pattern: Configuration | None = None,
    identity: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """`measure_ensemble` for reverse trajectories of `field`, whose drift is probed along `pattern` too, if given."""
    shape = (config.grid_size,) * 2
    modes = fourier_modes(shape, config.probe.max_shell, config.probe.kind)
    along = None if pattern is None else ModeProbe(field, _single_mode(pattern))
    observer = Observer(ModeProbe(field, modes), along, config.probe.num_fit_shells)
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    ensemble = ReverseSDE(
        field=field, ts=ts, modes=modes, observer=observer, shape=shape, integration=config.integration
    )
    return measure_ensemble(
        ensemble,
        config,
        config.integration.chunk,
        key=key,
        static=static,
        path=path,
        progress=progress,
        identity=identity,
    )


def measure_ensemble(
    ensemble: AbstractEnsemble,
    config: Any,
    chunk: int,
    *,
    key: PRNGKeyArray,
    static: xr.Dataset,
    path: Path | None = None,
    progress: Progress | None = None,
    identity: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Runs what is missing of an ensemble of `config.num_trajectories`, into `path` (memory if None), and loads it all.

    `static` holds what is known beforehand of the field (patterns, exact critical times); `chunk` trajectories run side
    by side. `identity` is what the field depends on besides `config`: a store is resumed only where both are equal.
    Raises `FloatingPointError` naming the trajectories that became non-finite, after the others of their chunk have
    been stored.
    """
    num = config.num_trajectories
    require(num >= 1, f"num_trajectories must be at least 1, got {num}.")
    require(chunk >= 1, f"chunk must be at least 1, got {chunk}.")
    store = TrajectoryStore(path, num, {type(config).__name__: asdict(config)} | dict(identity or {}))
    todo, chunk = store.todo, min(chunk, num)
    if todo.size:
        start = time.perf_counter()
        run: Any = _run_chunk.lower(ensemble, jnp.zeros(chunk, jnp.int32), key).compile()  # pyright: ignore
        compile_time, run_time = time.perf_counter() - start, 0.0
        if not store.ready:
            store.create(_static(static, ensemble, _snapshots(ensemble, key), config.seed), _template(ensemble))
        for first in range(0, todo.size, chunk):
            batch = todo[first : first + chunk]
            start = time.perf_counter()
            padded = np.resize(batch, chunk)  # every chunk has the compiled size
            measured = jax.block_until_ready(run(ensemble, jnp.asarray(padded, jnp.int32), key))
            run_time += time.perf_counter() - start
            _store_chunk(store, batch, measured)
            if progress:
                progress(int(num - todo.size + first + batch.size), num)
        updates = todo.size * (ensemble.ts.size - 1) * int(np.prod(ensemble.shape))
        store.annotate(compile_time_s=compile_time, run_time_s=run_time, site_updates_per_second=updates / run_time)
    if progress:
        progress(num, num)
    return store.dataset()


@eqx.filter_jit
def _run_chunk(ensemble: AbstractEnsemble, members: Array, key: PRNGKeyArray) -> dict[str, Array]:
    trajectories = ensemble.trajectories(members, key, ensemble.observer)
    return {**trajectories.observed, "final_state": trajectories.x}


def _store_chunk(store: TrajectoryStore, batch: np.ndarray, measured: dict[str, Array]) -> None:
    arrays = {name: np.asarray(value) for name, value in measured.items()}
    final = arrays["final_state"]
    finite = np.all(np.isfinite(final), axis=tuple(range(1, final.ndim)))[: batch.size]
    for row, index in enumerate(batch):
        if finite[row]:
            store.write(int(index), {name: value[row] for name, value in arrays.items()})
    if not finite.all():
        raise FloatingPointError(
            f"trajectories {batch[~finite].tolist()} became non-finite and were not stored; the others were. {_REMEDY}"
        )


def _single_mode(pattern: Configuration) -> FourierModes:
    """A pattern as the only direction of a set of modes."""
    direction = pattern / jnp.linalg.norm(pattern)
    none = jnp.zeros((1, pattern.ndim), jnp.int32)
    return FourierModes(direction[None], jnp.zeros(1, jnp.int32), none, jnp.zeros(1, pattern.dtype))


def _snapshots(ensemble: AbstractEnsemble, key: PRNGKeyArray) -> tuple[np.ndarray, np.ndarray]:
    """States of trajectory 0 at a few times, evenly spaced on the grid: the same path, once more without probes."""
    states = np.asarray(_states_of_first(ensemble, key))
    if not np.all(np.isfinite(states)):
        raise FloatingPointError(f"trajectory 0 is not finite at all times. {_REMEDY}")
    index = np.rint(np.linspace(0, ensemble.ts.size - 1, NUM_SNAPSHOTS)).astype(int)
    return np.asarray(ensemble.ts)[index], states[index]


@eqx.filter_jit
def _states_of_first(ensemble: AbstractEnsemble, key: PRNGKeyArray) -> Array:
    return ensemble.trajectories(jnp.zeros(1, jnp.int32), key, lambda t, x: x).observed[0]


def _template(ensemble: AbstractEnsemble) -> xr.Dataset:
    """One trajectory's variables, with their shapes, units and descriptions; no values."""
    ts, shape = ensemble.ts, ensemble.shape
    one = jax.eval_shape(ensemble.observer, ts[0], jax.ShapeDtypeStruct(shape, ts.dtype))
    shapes = {name: (ts.shape[0], *value.shape) for name, value in one.items()} | {"final_state": shape}
    return xr.Dataset(
        {
            name: (_MEASURED[name][0][: len(size)], np.broadcast_to(np.zeros((), ts.dtype), size), _about(name))
            for name, size in shapes.items()
        }
    )


def _about(name: str) -> dict[str, str]:
    return {"long_name": _MEASURED[name][1], "units": _MEASURED[name][2]}


def _static(
    static: xr.Dataset, ensemble: AbstractEnsemble, snapshots: tuple[np.ndarray, np.ndarray], seed: int
) -> xr.Dataset:
    modes, pixels = ensemble.modes, ("y", "x", "channel")[: len(ensemble.shape)]
    coordinates = {
        "time": (("time",), np.asarray(ensemble.ts), {"long_name": "diffusion time", "units": "1"}),
        "shell": (("shell",), np.arange(modes.num_shells), {"long_name": "Fourier shell", "units": "1"}),
        "wavenumber": (("shell",), np.asarray(modes.wavenumbers), {"units": "rad/site", "coordinate": 1}),
        "direction_shell": (("direction",), np.asarray(modes.shells), {"units": "1", "coordinate": 1}),
        "wavevector": (("direction", "axis"), np.asarray(modes.wavevectors), {"units": "2 pi/L", "coordinate": 1}),
        "snapshot_time": (("snapshot",), snapshots[0], {"units": "1", "coordinate": 1}),
        "snapshot_state": (("snapshot", *pixels), snapshots[1], {"long_name": "trajectory 0", "units": "data"}),
    }
    return static.assign(coordinates).assign_attrs(provenance(seed))


def provenance(seed: int) -> dict[str, Any]:
    """Where a result comes from: version, precision, device, random numbers, time."""
    device = jax.devices()[0]
    return {
        "softjax_version": __version__,
        "jax_version": jax.__version__,
        "device": f"{device.platform}: {device.device_kind} x {jax.device_count()}",
        "float_type": str(jnp.result_type(float)),
        "key": f"jax.random.key({seed}), {jr.key_impl(jr.key(seed))}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
