r"""Trajectories of EDM's deterministic sampler, each of a class, as units of the engine.

The noise level plays the part of the time. Mode responses are those of the flow's drift $(D - x)/\sigma$, along
directions that are equal in all colours; the correlation length is the luminance's second moment.
"""

from collections.abc import Sequence

import jax.random as jr
import numpy as np

from softjax._checks import require
from softjax.experiments._shared.config import NoiseGrid, Probe
from softjax.experiments._shared.networks import edm_network, require_classes
from softjax.experiments._shared.trajectories import ReverseTrajectory, fitted_trajectory
from softjax.processes import karras_grid


def flow_trajectory(
    weights: str | None, num_trajectories: int, labels: Sequence[int], seed: int, noise: NoiseGrid, probe: Probe
) -> ReverseTrajectory:
    """The trajectory of a network in a folder, with as many directions at a time as the memory takes.

    Raises `ValueError` for a network that is no EDM denoiser and for classes that it does not have.
    """
    field, network = edm_network(weights)
    side, channels = network["img_resolution"], network["img_channels"]
    return fitted_trajectory(
        field,
        karras_grid(noise.sigma_max, noise.sigma_min, noise.num_steps, noise.rho)[:-1],
        shape=(side, side, channels),
        channels=channels,
        labels=classes_of_trajectories(labels, network["label_dim"], num_trajectories),
        paths=jr.key(seed),
        probe=probe,
        length="second_moment",
        sampler="heun",
    )


def classes_of_trajectories(labels: Sequence[int], num_classes: int, num_trajectories: int) -> np.ndarray | None:
    """The class of every trajectory, all in turn if none are named; None for an unconditional network."""
    if num_classes == 0:
        require(not labels, f"this network is unconditional, got labels {tuple(labels)}; leave them out.")
        return None
    known = np.asarray(labels or range(num_classes))
    require_classes("labels", known, num_classes)
    return np.resize(known, num_trajectories)
