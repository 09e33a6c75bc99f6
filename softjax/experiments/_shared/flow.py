r"""Trajectories of EDM's deterministic sampler, each of a class, as units of the engine.

The noise level plays the part of the time. Mode responses are those of the flow's drift $(D - x)/\sigma$, along
directions that are equal in all colours; the correlation length is the luminance's second moment.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import require
from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.dynamics import Trajectory, heun, reverse_drift
from softjax.experiments._shared.config import NoiseGrid, Probe
from softjax.experiments._shared.networks import edm_network, require_classes
from softjax.experiments._shared.trajectories import Measured, Observed, observation
from softjax.fields import NetworkField
from softjax.jacobian import mode_response
from softjax.observables import correlation_length, luminance
from softjax.processes import karras_grid
from softjax.spectral import FourierModes, fourier_modes
from softjax.sweeps import Unit, bytes_of_one, memory_budget

LOWEST_PEAK = 0.1
"""Peaks are looked for above this noise level: below, the image is finished and the response that of its pixels."""


class FlowObserver(eqx.Module):
    """Lengths, mean and mode responses of a state of EDM's flow."""

    modes: FourierModes
    num_fit_shells: int = eqx.field(static=True)
    directions_at_a_time: int | None = eqx.field(static=True)

    def __call__(self, field: NetworkField, t: Array, x: Configuration) -> Observed:
        """What is measured at one noise level."""
        channels, batch = x.shape[-1], self.directions_at_a_time
        grey = luminance(x) if channels == 3 else jnp.mean(x, axis=-1)
        return observation(
            self.modes,
            mode_response(lambda x: reverse_drift(field, t, x), x, self.modes, batch_size=batch, channels=channels),
            self.num_fit_shells,
            correlation_length=correlation_length(grey, "second_moment"),
            magnetisation=jnp.mean(grey),
            pattern_rayleigh=None,
            pattern_magnitude=None,
        )


class FlowTrajectory(Unit):
    """A trajectory of EDM's sampler; `ts` are the positive noise levels, `labels` the class of each member."""

    field: NetworkField
    ts: Times
    observer: FlowObserver
    labels: Int[Array, " trajectories"] | None
    paths: PRNGKeyArray
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Measured:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        field = self.field_of(member)
        trajectory = self.trajectory(member, lambda t, x: self.observer(field, t, x))
        return Measured(trajectory.observed, trajectory.x)

    def field_of(self, member: Int[Array, ""]) -> NetworkField:
        """The field of a member's class."""
        return self.field if self.labels is None else self.field.with_label(self.labels[member])

    def trajectory(self, member: Int[Array, ""], observe: Any) -> Trajectory:
        """One member down to zero noise, `observe` called at every positive level."""
        ts, key = jnp.append(self.ts, 0), jr.fold_in(self.paths, member)
        return heun(self.field_of(member), ts, key=key, shape=self.shape, observe=observe)

    @property
    def modes(self) -> FourierModes:
        """The modes whose responses are measured."""
        return self.observer.modes


def flow_trajectory(
    weights: str | None, num_trajectories: int, labels: Sequence[int], seed: int, noise: NoiseGrid, probe: Probe
) -> FlowTrajectory:
    """The trajectory of a network in a folder, with as many directions at a time as the memory takes.

    What one trajectory needs is what the compiler says; directions are halved until it fits. Raises `ValueError` for a
    network that is no EDM denoiser and for classes that it does not have.
    """
    field, network = edm_network(weights)
    side, channels = network["img_resolution"], network["img_channels"]
    modes = fourier_modes((side, side), probe.max_shell, probe.kind)
    classes = _classes(labels, network["label_dim"], num_trajectories)

    def plan(directions_at_a_time: int | None) -> FlowTrajectory:
        return FlowTrajectory(
            field=field,
            ts=karras_grid(noise.sigma_max, noise.sigma_min, noise.num_steps, noise.rho)[:-1],
            observer=FlowObserver(modes, probe.num_fit_shells, directions_at_a_time),
            labels=None if classes is None else jnp.asarray(classes),
            paths=jr.key(seed),
            shape=(side, side, channels),
        )

    batch: int | None = None
    while batch != 1 and bytes_of_one(plan(batch), jr.key(seed)) > memory_budget():
        batch = (batch or modes.shells.size) // 2
    return plan(batch)


def _classes(labels: Sequence[int], num_classes: int, num_trajectories: int) -> np.ndarray | None:
    """The class of every trajectory, None for an unconditional network."""
    if num_classes == 0:
        require(not labels, f"this network is unconditional, got labels {tuple(labels)}; leave them out.")
        return None
    known = np.asarray(labels or range(num_classes))
    require_classes("labels", known, num_classes)
    return np.resize(known, num_trajectories)
