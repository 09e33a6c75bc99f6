"""Parameters of the clock table."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import Count, CountOfMany, Ensemble, PatchModel, TimeGrid


@dataclass(frozen=True)
class Config(Ensemble, PatchModel):
    """Every critical time of one patch model on one axis (section 8 of docs/theory.md)."""

    num_trajectories: Count = 16
    """Independent reverse trajectories."""
    num_clones: CountOfMany = 8
    """Trajectories that are cloned, for the agreement of clones."""
    num_cloning_times: Count = 12
    """Times at which they are cloned."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, num_cloning_times=8, time=TimeGrid(t_max=8.0, num_steps=200))
