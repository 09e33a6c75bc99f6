"""Parameters of the clock table."""

from dataclasses import dataclass, field

import tyro

from softjax.experiments._shared.config import AnyTarget, CountOfMany, CountOrNone, Ensemble, PatchModel, TimeGrid


@dataclass(frozen=True)
class Config(Ensemble, PatchModel, AnyTarget):
    """Every critical time of the patch model, or of any denoiser, on one axis (section 8 of docs/theory.md)."""

    target: tyro.conf.Positional[str] = "patch"
    """patch, the model of these parameters; a network's folder, the name of one that ships (fashion-binary,
    fashion-grey, edm2-fashion), or package.module:name, a field or a callable on one configuration."""
    num_trajectories: CountOfMany = 16
    """Independent reverse trajectories."""
    network_steps: CountOrNone = 0
    """Steps of a network's trajectories; 0 takes 400, and 32 on EDM's clock. The patch model has --time."""
    num_clones: CountOfMany = 8
    """Trajectories that are cloned, for the agreement of clones."""
    num_cloning_times: CountOfMany = 12
    """Times at which they are cloned."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))
    """Of the patch model."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, num_cloning_times=8, time=TimeGrid(t_max=8.0, num_steps=200))
