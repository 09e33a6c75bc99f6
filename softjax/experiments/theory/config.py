"""Parameters of the two-pattern patch model."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import Count, Ensemble, Lattice, TimeGrid


@dataclass(frozen=True)
class Config(Ensemble, Lattice):
    """The theory of the two-pattern patch model in four pictures, with the simulation beside it."""

    patch_size: Count = 3
    """Side w of the patches (sites, odd)."""
    num_trajectories: Count = 32
    """Independent reverse trajectories, to compare with."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, time=TimeGrid(t_max=8.0, num_steps=200))
