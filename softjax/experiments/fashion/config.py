"""Parameters of the trained U-Net."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import (
    Count,
    CountOrNone,
    Ensemble,
    ModePanel,
    Probe,
    TimeGrid,
    TrainedNetwork,
)


@dataclass(frozen=True)
class Config(ModePanel, Ensemble, TrainedNetwork):
    """A U-Net trained on Fashion-MNIST: the bottom row of Fig. 4 and, with --grey, Fig. 8."""

    grid_size: Count = 28
    """Side of the images (pixels), a multiple of 4; the network was trained at 28."""
    num_equivariance_times: CountOrNone = 12
    """Times at which the network's equivariance and reach are measured; 0 leaves that out."""
    num_equivariance_states: Count = 4
    """Trajectories on which they are."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(
            num_trajectories=4,
            num_equivariance_times=6,
            num_equivariance_states=2,
            time=TimeGrid(t_max=8.0, num_steps=100),
            probe=Probe(max_shell=3),
        )
