"""Parameters of a look at any denoiser."""

from dataclasses import dataclass, field
from typing import Literal

from softjax.experiments._shared.config import NO_RESULT, AnyTarget, Count, CountOrNone, Integration, Probe, Seed


@dataclass(frozen=True)
class Config(AnyTarget):
    """Any denoiser: a folder (ours, converted, of diffusers), a network that ships, or package.module:name."""

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
