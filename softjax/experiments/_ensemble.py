"""What the experiments share: measuring an ensemble of trajectories of one field into a dataset."""

import time
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
from softjax._types import Array, Configuration, PRNGKeyArray, Times
from softjax._version import __version__
from softjax.analysis import equilibrium_correlation_length
from softjax.dynamics import simulate, simulate_ensemble
from softjax.experiments._store import TrajectoryStore
from softjax.experiments.configs import Config
from softjax.fields import AbstractField
from softjax.jacobian import ModeProbe
from softjax.observables import binarize, correlation_length, magnetisation
from softjax.processes import log_grid
from softjax.spectral import FourierModes, fourier_modes

NUM_SNAPSHOTS = 8
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
    "final_state": (("y", "x"), "configuration at t_min", "data"),
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
    """Runs what is missing of the ensemble that `config` describes, into `path` (memory if None), and loads it all.

    `static` holds what is known beforehand of the field (patterns, exact critical times); the drift is probed along
    `pattern` too, if given. `identity` is what the field depends on besides `config`: a store is resumed only where
    both are equal. Raises `FloatingPointError` naming the trajectories that became non-finite, after the
    others of their chunk have been stored.
    """
    require(config.num_trajectories >= 1, f"num_trajectories must be at least 1, got {config.num_trajectories}.")
    require(config.integration.chunk >= 1, f"integration.chunk must be at least 1, got {config.integration.chunk}.")
    described = {type(config).__name__: asdict(config)} | dict(identity or {})
    store = TrajectoryStore(path, config.num_trajectories, described)
    ts, modes = _grid_and_modes(config)
    along = None if pattern is None else ModeProbe(field, _single_mode(pattern))
    observer = Observer(ModeProbe(field, modes), along, config.probe.num_fit_shells)
    todo, chunk = store.todo, min(config.integration.chunk, config.num_trajectories)
    if todo.size:
        start = time.perf_counter()
        members = jnp.zeros(chunk, jnp.int32)
        run: Any = _run_chunk.lower(field, ts, key, members, observer, config).compile()  # pyright: ignore
        compile_time, run_time = time.perf_counter() - start, 0.0
        if not store.ready:
            snapshots = _snapshots(field, ts, jr.fold_in(key, 0), config)
            store.create(_static(static, ts, modes, snapshots, config), _template(observer, ts, config))
        for first in range(0, todo.size, chunk):
            batch = todo[first : first + chunk]
            start = time.perf_counter()
            padded = np.resize(batch, chunk)  # every chunk has the compiled size
            measured = jax.block_until_ready(run(field, ts, key, jnp.asarray(padded, jnp.int32), observer, config))
            run_time += time.perf_counter() - start
            _store_chunk(store, batch, measured)
            if progress:
                progress(int(config.num_trajectories - todo.size + first + batch.size), config.num_trajectories)
        updates = todo.size * config.time.num_steps * config.grid_size**2
        store.annotate(compile_time_s=compile_time, run_time_s=run_time, site_updates_per_second=updates / run_time)
    if progress:
        progress(config.num_trajectories, config.num_trajectories)
    return store.dataset()


@eqx.filter_jit
def _run_chunk(
    field: AbstractField, ts: Times, key: PRNGKeyArray, members: Array, observer: Observer, config: Config
) -> dict[str, Array]:
    trajectories = simulate_ensemble(
        field,
        ts,
        key=key,
        num=members.shape[0],
        members=members,
        shape=(config.grid_size,) * 2,
        observe=observer,
        solver=config.integration.solver,
        engine=config.integration.engine,
    )
    return {**trajectories.observed, "final_state": trajectories.x}


def _store_chunk(store: TrajectoryStore, batch: np.ndarray, measured: dict[str, Array]) -> None:
    arrays = {name: np.asarray(value) for name, value in measured.items()}
    finite = np.all(np.isfinite(arrays["final_state"]), axis=(1, 2))[: batch.size]
    for row, index in enumerate(batch):
        if finite[row]:
            store.write(int(index), {name: value[row] for name, value in arrays.items()})
    if not finite.all():
        raise FloatingPointError(
            f"trajectories {batch[~finite].tolist()} became non-finite and were not stored; the others were. Take more "
            "steps or a larger t_min."
        )


def _grid_and_modes(config: Config) -> tuple[Times, FourierModes]:
    ts = log_grid(config.time.t_max, config.time.t_min, config.time.num_steps)
    return ts, fourier_modes((config.grid_size,) * 2, config.probe.max_shell, config.probe.kind)


def _single_mode(pattern: Configuration) -> FourierModes:
    """A pattern as the only direction of a set of modes."""
    direction = pattern / jnp.linalg.norm(pattern)
    none = jnp.zeros((1, pattern.ndim), jnp.int32)
    return FourierModes(direction[None], jnp.zeros(1, jnp.int32), none, jnp.zeros(1, pattern.dtype))


def _snapshots(field: AbstractField, ts: Times, key: PRNGKeyArray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """States of trajectory 0 at a few times, evenly spaced in log t: the same path, run once more without probes."""
    trajectory = simulate(
        field,
        ts,
        key=key,
        shape=(config.grid_size,) * 2,
        observe=_state,
        solver=config.integration.solver,
        engine=config.integration.engine,
    )
    index = np.rint(np.linspace(0, ts.shape[0] - 1, NUM_SNAPSHOTS)).astype(int)
    return np.asarray(ts)[index], np.asarray(trajectory.observed)[index]


def _state(t: Array, x: Configuration) -> Configuration:
    return x


def _template(observer: Observer, ts: Times, config: Config) -> xr.Dataset:
    """One trajectory's variables, with their shapes, units and descriptions; no values."""
    lattice = (config.grid_size,) * 2
    one = jax.eval_shape(observer, ts[0], jax.ShapeDtypeStruct(lattice, ts.dtype))
    shapes = {name: (ts.shape[0], *value.shape) for name, value in one.items()} | {"final_state": lattice}
    return xr.Dataset(
        {
            name: (_MEASURED[name][0], np.broadcast_to(np.zeros((), ts.dtype), shape), _about(name))
            for name, shape in shapes.items()
        }
    )


def _about(name: str) -> dict[str, str]:
    return {"long_name": _MEASURED[name][1], "units": _MEASURED[name][2]}


def _static(
    static: xr.Dataset, ts: Times, modes: FourierModes, snapshots: tuple[np.ndarray, np.ndarray], config: Config
) -> xr.Dataset:
    coordinates = {
        "time": (("time",), np.asarray(ts), {"long_name": "diffusion time", "units": "1"}),
        "shell": (("shell",), np.arange(modes.num_shells), {"long_name": "Fourier shell", "units": "1"}),
        "wavenumber": (("shell",), np.asarray(modes.wavenumbers), {"units": "rad/site", "coordinate": 1}),
        "direction_shell": (("direction",), np.asarray(modes.shells), {"units": "1", "coordinate": 1}),
        "wavevector": (("direction", "axis"), np.asarray(modes.wavevectors), {"units": "2 pi/L", "coordinate": 1}),
        "snapshot_time": (("snapshot",), snapshots[0], {"units": "1", "coordinate": 1}),
        "snapshot_state": (("snapshot", "y", "x"), snapshots[1], {"long_name": "trajectory 0", "units": "data"}),
    }
    return static.assign(coordinates).assign_attrs(provenance(config.seed))


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
