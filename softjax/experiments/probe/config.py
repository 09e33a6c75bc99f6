"""Parameters of a look at any denoiser."""

from dataclasses import dataclass, field
from typing import Literal

import tyro

from softjax.experiments._shared.config import NO_RESULT, Count, CountOrNone, Integration, Probe, Seed


@dataclass(frozen=True)
class Config:
    """Any denoiser: a folder (ours, converted, of diffusers), a network that ships, or package.module:name."""

    target: tyro.conf.Positional[str] = "edm2-fashion"
    """A network's folder, the name of one that ships (fashion-binary, fashion-grey, edm2-fashion), or
    package.module:name, a field or a callable (t, x) or (t, x, label) on one configuration."""
    process: str = "vp"
    """For a callable: vp (rate 1), edm, flow, ddpm (linear, 1000 steps), or package.module:name of a process."""
    prediction: Literal["noise", "denoiser", "score", "velocity", "flow"] = "noise"
    """For a callable: what it returns."""
    shape: tuple[int, ...] = ()
    """Sides of the lattice, without channels; empty takes what the target says."""
    channels: int | None = None
    """Channels on the last axis, 0 for no such axis; by default what the target says."""
    labels: tuple[int, ...] = ()
    """Classes of a conditional network, taken in turn; empty takes all that it says to have."""
    sampler: Literal["auto", "sde", "flow", "heun"] = "auto"
    """What is followed: the reverse SDE, the probability flow, EDM's sampler; auto takes what suits the process."""
    length: Literal["auto", "sign", "first_moment", "second_moment", "exponential_fit"] = "auto"
    """What the correlation length is of: the signs, or the luminance by an estimator; auto takes signs for spins."""
    num_trajectories: Count = 8
    """Independent trajectories."""
    num_steps: CountOrNone = 0
    """Steps of a trajectory; 0 takes 400, and 32 of EDM's sampler."""
    t_max: float = 0.0
    """Where trajectories start, in the process's time; 0 takes what suits the process."""
    t_min: float = 0.0
    """Where they end, positive; 0 takes what suits the process."""
    num_zone_times: CountOrNone = 6
    """Times at which the whole zone is measured: leakage, growth rates, reach; 0 leaves that out."""
    num_states: Count = 2
    """Trajectories on which it is, and on which modes are sought."""
    num_modes: CountOrNone = 4
    """Leading modes where the equilibrium length peaks; 0 leaves them out."""
    seed: Seed = 0
    """Seed of the random key; it fixes every trajectory."""
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)
    chunk: CountOrNone = field(default=0, metadata=NO_RESULT)
    """Trajectories side by side in memory; 0 fits them to the device's."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(num_trajectories=4, num_steps=24, num_zone_times=3, num_states=1, probe=Probe(max_shell=4))
