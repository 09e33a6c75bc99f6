"""What a trained denoiser does on its way: what grows, and which analytic score it is near."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array, PRNGKeyArray, Times
from softjax.experiments._shared.networks import images_of_network
from softjax.experiments._shared.score_gap import score_gap_at
from softjax.experiments._shared.target import Target
from softjax.experiments._shared.trajectories import ReverseTrajectory, states_of
from softjax.experiments.clocks.clones import coarse_grid, spread_indices
from softjax.fields import AbstractField, EmpiricalField, LocalField
from softjax.jacobian import lyapunov

_NUM_STATES = 4  # trajectories on which tangents and scores are looked at
_NUM_GAPS, _WIDTH, _LOCAL_IMAGES, _NUM_PATCHES = 12, 7, 2000, 20_000  # times, and the local score that is compared


def leading_growth(unit: ReverseTrajectory, target: Target, key: PRNGKeyArray) -> xr.Dataset:
    """Growth rate of the leading tangent per unit of log SNR, (tangent_of, growth_time), of the first trajectories."""
    ts = coarse_grid(target)
    rate = np.diff(_tangent_growth(unit, ts, key)) / np.diff(np.asarray(jax.vmap(unit.field.process.log_snr)(ts)))
    about = {"units": "1", "long_name": "growth rate of the leading tangent per unit of log SNR"}
    known = {"growth_time": np.asarray(ts)[:-1]}
    return xr.Dataset({"tangent_rate": (("tangent_of", "growth_time"), rate, about)}, coords=known)


def local_or_global(unit: ReverseTrajectory, target: Target) -> xr.Dataset:
    """How much nearer to the local than to the memorising score the network's is, (gap_of, gap_time).

    On the ways of the first trajectories; both scores know the training images, of the trajectory's class if it has
    one. Negative where the local score is nearer. Empty, and saying so, where the images are not on this machine.
    """
    assert target.folder is not None
    try:
        images, labels = images_of_network(target.folder)[0]
    except FileNotFoundError:
        return xr.Dataset(attrs={"images_missing": 1})
    at = spread_indices(unit, unit.ts, _NUM_GAPS)
    states = states_of(unit, jnp.arange(_NUM_STATES))[:, jnp.asarray(at)]
    states = states[..., 0] if unit.channels else states
    gaps = []
    for member in range(_NUM_STATES):
        known = images if unit.labels is None else images[labels == int(unit.labels[member])]
        process, key = unit.field.process, jr.key(0)
        local = LocalField(known[:_LOCAL_IMAGES], _WIDTH, process, "zeros", _NUM_PATCHES, key=key)
        network = unit.field_of(jnp.asarray(member))
        gaps.append(_gap(network, local, EmpiricalField(known, process), unit.ts[jnp.asarray(at)], states[member]))
    text = f"distance to the local score (w = {_WIDTH}) less that to the memorising one, sigma^2/N"
    gap = (("gap_of", "gap_time"), np.stack(gaps), {"units": "1", "long_name": text})
    return xr.Dataset({"score_gap": gap}, coords={"gap_time": np.asarray(unit.ts)[at]})


@eqx.filter_jit
def _gap(network: AbstractField, local: AbstractField, memorising: AbstractField, ts: Times, states: Array) -> Array:
    """Of one state at each time, (times,)."""
    return score_gap_at(network, local, memorising, ts, states[:, None])[:, 0]


@eqx.filter_jit
def _tangent_growth(unit: ReverseTrajectory, ts: Times, key: PRNGKeyArray) -> Any:
    """Growth of the leading tangent since the start, (members, times)."""

    def one(member: Array) -> Array:
        grown = lyapunov(
            unit.field_of(member),
            ts,
            key=jr.fold_in(key, member),
            num=1,
            shape=unit.shape,
            kind="flow" if unit.field.process.has_edm_clock() else "sde",
            channels=unit.channels,
        )
        return grown.growth[:, 0]

    return jax.lax.map(one, jnp.arange(_NUM_STATES))
