"""Parameters of the patch model."""

from dataclasses import dataclass

from softjax.experiments._shared.config import Ensemble, ModePanel, PatchModel, TimeGrid


@dataclass(frozen=True)
class Config(ModePanel, Ensemble, PatchModel):
    """The analytic patch model: Fig. 3 and the top row of Fig. 4."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, time=TimeGrid(num_steps=200))
