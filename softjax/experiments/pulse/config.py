"""Parameters of the guidance pulses."""

from dataclasses import dataclass, field
from typing import Literal

from softjax.experiments._shared.config import NO_RESULT, Count, CountOfMany, NoiseGrid, Probe, Seed


@dataclass(frozen=True)
class Config:
    """Guidance in a short window of noise levels (App. F): Fig. 5 and the response curve."""

    weights: str | None = None
    """Folder of a class-conditional EDM network; None takes the small one that ships."""
    guide: str | None = None
    """Folder of the worse network for autoguidance; None takes the one that ships."""
    scorer: str | None = None
    """Folder of the classifier that judges the images; None takes the one that ships, for Fashion-MNIST."""
    guidance: Literal["classifier-free", "autoguidance"] = "classifier-free"
    """By the network itself without its label, or by a worse network with it, the guide."""
    classes: tuple[int, ...] = ()
    """Classes to draw; empty takes the first ten."""
    num_trials: CountOfMany = 40
    """Starts of each class, the same for all conditions."""
    num_unguided: Count = 4
    """Unguided trajectories of each class that give the critical noise level."""
    width: float = 1.0
    """Width of the pulses in ln sigma."""
    strength: float = 4.0
    """Guidance weight inside the pulses; 1 is no guidance."""
    edges: Literal["sharp", "smooth"] = "sharp"
    """Edges of the critical and random pulses (those of the curve are smooth)."""
    num_centers: CountOfMany = 13
    """Centres on the response curve, evenly spaced in ln sigma over the sampled range."""
    chunk: Count = field(default=20, metadata=NO_RESULT)
    """Trials side by side in memory; finished chunks survive an interruption."""
    seed: Seed = 0
    """Seed of the random key; it fixes every start and every random pulse."""
    noise: NoiseGrid = field(default_factory=NoiseGrid)
    probe: Probe = field(default_factory=Probe)

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(num_trials=4, num_unguided=1, num_centers=7, probe=Probe(max_shell=3), noise=NoiseGrid(num_steps=20))
