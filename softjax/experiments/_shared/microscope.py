"""The soft-mode microscope: what one looks at in any field, along its trajectories and over the whole zone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import lattice_of, public, require, require_decreasing
from softjax._types import Array, Int, PRNGKeyArray, Times
from softjax.experiments._shared.config import Probe
from softjax.experiments._shared.networks import LOWEST_PEAK
from softjax.experiments._shared.null import null, rate_of_noise, sampled_null
from softjax.experiments._shared.summary import equilibrium_peak, softest
from softjax.experiments._shared.trajectories import (
    LengthOf,
    ReverseTrajectory,
    Sampler,
    class_labels,
    fitted_trajectory,
    labels,
    snapshots,
    states_of,
)
from softjax.experiments._shared.zone import equivariance, soft_modes
from softjax.fields import AbstractField, AbstractGaussianField, channels_of
from softjax.processes import AbstractProcess
from softjax.sweeps import Sweep, run

LOWEST_LEVEL = 0.3
"""Peaks are looked for above this noise-to-signal ratio: below, the response is that of the finished pixels."""
_MOST_SHELLS, _FIT_SHELLS = 6, 3


def suggested_sampler(field: AbstractField) -> Sampler:
    """Heun's on EDM's clock, the probability flow for a network of velocities of a flow, else the reverse SDE."""
    if field.process.has_edm_clock():
        return "heun"
    return "flow" if getattr(field, "prediction", "") == "flow" else "sde"


def lowest_peak_time(process: AbstractProcess) -> float:
    """The time below which no peak is looked for."""
    return LOWEST_PEAK if process.has_edm_clock() else float(process.from_noise_to_signal(LOWEST_LEVEL))


def described(unit: ReverseTrajectory, lowest: float, **attributes: Any) -> xr.Dataset:
    """What is known of a trajectory beforehand: times, modes, classes, and the responses that noise alone would have.

    `free_response` is |a - w / sigma^2|, the rate of a field whose denoiser does not depend on the state.
    """
    process, ts = unit.field.process, unit.ts
    free, level = jax.vmap(lambda t: (jnp.abs(rate_of_noise(process, t)), process.sigma(t)))(ts)
    clock = "sigma" if process.has_edm_clock() else "t"
    about = labels(unit, lowest_peak_time=lowest, clock=clock, channels=unit.channels, **attributes)
    about = about.assign(
        free_response=(("time",), np.asarray(free), {"units": "1/t", "long_name": "response of noise alone"}),
        noise_scale=(("time",), np.asarray(level), {"units": "data", "long_name": "noise scale"}),
    )
    return about.assign_coords(class_labels(unit))


def looked_at(
    unit: ReverseTrajectory,
    dataset: xr.Dataset,
    *,
    num_zone_times: int,
    num_states: int,
    num_modes: int,
    max_shell: int,
    key: PRNGKeyArray,
) -> xr.Dataset:
    """The zone along the first trajectories, and their softest modes where the equilibrium length peaks.

    Without a peak these are taken where the length is largest. A number of 0 leaves its part out. Where no null is
    known, that of the trajectories' own ends is added.
    """
    key_zone, key_modes = jr.split(key)
    found = [] if "null_magnitude" in dataset else [sampled_null(unit, dataset["final_state"].values)]
    if num_zone_times or num_modes:
        states = states_of(unit, jnp.arange(num_states))
        if num_zone_times:
            found.append(equivariance(unit, states, num_times=num_zone_times, max_shell=max_shell, key=key_zone))
        if num_modes:
            at = softest(dataset, float(equilibrium_peak(dataset).location))
            found.append(soft_modes(unit, states, at=at, num=num_modes, key=key_modes))
    return xr.merge(found, combine_attrs="no_conflicts") if found else xr.Dataset()


def _known(unit: ReverseTrajectory, lowest: float, field: AbstractGaussianField | None) -> xr.Dataset:
    about = described(unit, lowest).merge(snapshots(None, unit))
    if field is None:
        return about
    return about.merge(null(unit, field, "of the field given"), combine_attrs="no_conflicts")


def _in_turn(labels: Int[Array, " labels"], num: int) -> np.ndarray:
    """The class of every trajectory."""
    known = np.asarray(labels)
    require(known.ndim == 1 and known.size > 0, f"labels must be a list of classes, got {known.tolist()}.")
    require(bool(np.all(known >= 0)), f"labels must not be negative, got {known.tolist()}.")
    return np.resize(known, num)


@public
def probe(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    shape: Sequence[int],
    num: int = 8,
    channels: int | None = None,
    labels: Int[Array, " labels"] | None = None,
    sampler: Literal["auto", "sde", "flow", "heun"] = "auto",
    length: LengthOf = "second_moment",
    max_shell: int | None = None,
    num_zone_times: int = 6,
    num_states: int = 2,
    num_modes: int = 4,
    null_field: AbstractGaussianField | None = None,
    solver: Literal["euler", "sea", "shark"] = "euler",
    path: Path | str | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
) -> xr.Dataset:
    r"""Looks at a field: its trajectories, where their low modes soften, how local and equivariant it is.

    * `field`: any field, with a network or without;
    * `ts`: (times,), decreasing and positive, in the units of its process;
    * `key`: trajectory i starts from a key of its own, whatever `num`;
    * `shape`: of one configuration, (*lattice), or (*lattice, channels) with the channels said;
    * `num`: trajectories;
    * `channels`: how many the last axis holds, 0 or None for none; by default what the field says;
    * `labels`: classes of a conditional network, taken in turn;
    * `sampler`: "sde", "flow" or "heun"; "auto" takes Heun's for EDM's clock, the flow for networks of velocities, else
      the reverse SDE;
    * `length`: what the correlation length is measured of, "sign" (of the signs) or an estimator of
      `correlation_length` on the luminance;
    * `max_shell`: the last Fourier shell that is probed; 6, or what the lattice has;
    * `num_zone_times`, `num_states`: where the whole zone is measured, how many times and trajectories; 0 for none;
    * `num_modes`: leading modes at the peak; 0 for none;
    * `null_field`: the Gaussian of the data, `CovarianceField.from_samples(images, field.process)`, against which the
      responses are held; by default one of the trajectories' own ends;
    * `solver`: of "sde" and "flow", as for `simulate`;
    * `path`: folder of the results, resumed if it exists; in memory if None;
    * `progress`: True for a bar, or a function of the finished trajectories and of all.

    Returns a Dataset over trajectory, time and shell: `correlation_length`, `equilibrium_length` with its error,
    `magnitude` and `rayleigh` of every shell and direction, `final_state`; `leakage`, `zone_rate` and
    `effective_radius` over state and equivariance_time; `null_magnitude` and `null_length` of the null;
    `leading_rate`, `leading_mode` and `leading_content` where the equilibrium length peaks; `snapshot_state`. Units and
    descriptions are in their attributes.

    Raises `ValueError` for what does not fit the field, and as `softjax.sweeps.run`.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> data = sj.probe(field, [3.0, 2.0, 1.0], key=jr.key(0), shape=(4, 4), num=2, num_zone_times=0, num_modes=0)
    >>> data["magnitude"].dims, data["final_state"].shape
    (('trajectory', 'time', 'shell'), (2, 4, 4))
    """
    require_decreasing("ts", ts)
    known = channels_of(field, channels)
    lattice = lattice_of("shape", shape, known)
    shells = min(_MOST_SHELLS, min((side for side in lattice if side > 1), default=1) // 2)
    shells = shells if max_shell is None else max_shell
    require(shells >= 2, f"a probe needs two shells at least for the fit of xi_eq, the lattice {lattice} has {shells}.")
    paths, rest = jr.split(key)
    unit = fitted_trajectory(
        field,
        ts,
        shape=tuple(shape),
        channels=known or 0,
        labels=None if labels is None else _in_turn(labels, num),
        paths=paths,
        probe=Probe(max_shell=shells, num_fit_shells=min(_FIT_SHELLS, shells)),
        length=length,
        sampler=suggested_sampler(field) if sampler == "auto" else sampler,
        solver=solver,
    )
    sizes = {"num_zone_times": num_zone_times, "num_states": min(num_states, num), "num_modes": num_modes}
    lowest = lowest_peak_time(field.process)
    sweep = Sweep(
        lambda: unit,
        key=key,
        members=num,
        dim="trajectory",
        known=lambda unit: _known(unit, lowest, null_field),
    )
    return run(
        sweep,
        path,
        progress=progress,
        derive=lambda dataset: looked_at(unit, dataset, **sizes, max_shell=shells, key=rest),
    )
