"""Parameters of the two-pattern patch model."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import Count, Ensemble, TimeGrid


@dataclass(frozen=True)
class Config(Ensemble):
    """The theory of the two-pattern patch model in four pictures, with the simulation beside it."""

    grid_size: Count = 64
    """Side L of the periodic lattice (sites)."""
    patch_size: Count = 3
    """Side w of the patches (sites, odd)."""
    beta: float = 1.0
    """Noise rate of the VP process (per unit of t)."""
    num_trajectories: Count = 32
    """Independent reverse trajectories, to compare with."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, time=TimeGrid(t_max=8.0, num_steps=200))
