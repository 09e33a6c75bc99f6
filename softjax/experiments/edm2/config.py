"""Parameters of an EDM2 network's trajectories."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import NO_RESULT, Count, CountOrNone, NoiseGrid, Probe, Seed


@dataclass(frozen=True)
class Config:
    """An EDM2 network along its deterministic sampler: Fig. 2 (App. E)."""

    weights: str | None = None
    """Folder of a network, as `softjax convert` writes it; None takes the small one that ships."""
    num_trajectories: Count = 20
    """Independent trajectories, of the classes `labels` in turn."""
    labels: tuple[int, ...] = ()
    """Classes of a conditional network; empty takes 0, 1, 2 and so on."""
    chunk: CountOrNone = field(default=0, metadata=NO_RESULT)
    """Trajectories side by side in memory; 0 fits them to the device's."""
    seed: Seed = 0
    """Seed of the random key; it fixes every trajectory."""
    noise: NoiseGrid = field(default_factory=NoiseGrid)
    probe: Probe = field(default_factory=Probe)

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(num_trajectories=10, noise=NoiseGrid(num_steps=16), probe=Probe(max_shell=4))
