"""How local and how translation-equivariant a field is, and its softest modes, on states of its trajectories."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from softjax._types import Array, Configuration, PRNGKeyArray, Times
from softjax.dynamics import reverse_drift
from softjax.experiments._shared.trajectories import ReverseTrajectory, evenly, labelled_field
from softjax.jacobian import dispersion, effective_radius, leading_modes, mode_leakage
from softjax.spectral import FourierModes, fourier_modes, spectral_content

_NUM_PROBES = 16


def equivariance(
    unit: ReverseTrajectory, states: Array, *, num_times: int, max_shell: int, key: PRNGKeyArray
) -> xr.Dataset:
    """Leakage, whole-zone growth rates and reach at a few times, evenly in log SNR, of the first trajectories.

    `states` are theirs at every time, (states, times, *shape). Over the dimensions state and equivariance_time:
    `leakage`, share of the response outside the Fourier pair, per shell; `zone_rate`, sigma^2 Re lambda over the whole
    zone; `effective_radius` of the denoiser's Jacobian.
    """
    index = evenly(unit, num_times)
    members = jnp.arange(len(states))
    lattice = unit.shape[:-1] if unit.channels else unit.shape
    modes = fourier_modes(lattice, max_shell, channels=0)
    leakage, rate, radius = map(np.asarray, _equivariance(unit, members, unit.ts[index], states[:, index], modes, key))
    over, zone = ("state", "equivariance_time"), tuple(f"k{name}" for name in unit.dims[: len(lattice)])
    return xr.Dataset(
        {
            "leakage": ((*over, "shell"), leakage, {"units": "1", "long_name": "response outside the Fourier pair"}),
            "zone_rate": ((*over, *zone), rate, {"units": "1", "long_name": "sigma^2 Re lambda(k), FFT order"}),
            "effective_radius": (over, radius, {"units": "sites", "long_name": "reach of the denoiser's Jacobian"}),
        },
        coords={"equivariance_time": np.asarray(unit.ts)[index]},
    )


def soft_modes(unit: ReverseTrajectory, states: Array, *, at: int, num: int, key: PRNGKeyArray) -> xr.Dataset:
    r"""The modes of the drift's Jacobian that grow fastest, at the `at`-th time, of the first trajectories.

    `states` are theirs at every time, (states, times, *shape). Over the dimensions state and rank: `leading_rate`, the
    eigenvalue of the symmetric part of J (that of J where the drift is a gradient), 1/t; `leading_residual`;
    `leading_mode`, of unit norm; `leading_content`, its power in every isotropic Fourier shell.
    """
    members = jnp.arange(len(states))
    found = _leading(unit, members, unit.ts[at], states[:, at], num, key)
    values, residuals, vectors, content = map(np.asarray, found)
    over = ("state", "rank")
    return xr.Dataset(
        {
            "leading_rate": (over, values, {"units": "1/t", "long_name": "leading growth rates of the drift"}),
            "leading_residual": (over, residuals, {"units": "1/t", "long_name": "their residuals"}),
            "leading_mode": ((*over, *unit.dims), vectors, {"units": "1", "long_name": "leading modes, of unit norm"}),
            "leading_content": ((*over, "wave_shell"), content, {"units": "1", "long_name": "power in each shell"}),
        },
        attrs={"leading_time": float(unit.ts[at])},
    )


@eqx.filter_jit
def _equivariance(
    unit: ReverseTrajectory, members: Array, ts: Times, states: Array, modes: FourierModes, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    channels = unit.channels

    def of_state(member: Array, xs: Array) -> tuple[Array, Array, Array]:
        label = None if unit.labels is None else unit.labels[member]
        field = labelled_field(unit.field, label)

        def probe(t: Array, x: Configuration) -> tuple[Array, Array, Array]:
            def drift(x: Configuration) -> Configuration:
                return reverse_drift(field, t, x)

            rate, _ = dispersion(drift, x, key=key, num_probes=_NUM_PROBES, channels=channels)
            radius, _ = effective_radius(
                lambda x: field.denoise(t, x), x, key=key, num_probes=_NUM_PROBES, channels=channels
            )
            leakage = mode_leakage(drift, x, modes, channels).leakage
            return leakage, field.process.sigma(t) ** 2 * rate.real, radius

        return jax.lax.map(lambda tx: probe(*tx), (ts, xs))

    return jax.vmap(of_state)(members, states)


@eqx.filter_jit
def _leading(
    unit: ReverseTrajectory, members: Array, t: Array, states: Array, num: int, key: PRNGKeyArray
) -> tuple[Array, Array, Array, Array]:
    def of_state(member: Array, x: Configuration) -> tuple[Array, Array, Array, Array]:
        field = labelled_field(unit.field, None if unit.labels is None else unit.labels[member])
        found = leading_modes(lambda x: reverse_drift(field, t, x), x, num=num, key=key, symmetric=True)
        content = jax.vmap(lambda v: spectral_content(v, unit.channels))(found.vectors)
        return found.values, found.residuals, found.vectors, content

    return jax.lax.map(lambda pair: of_state(*pair), (members, states))
