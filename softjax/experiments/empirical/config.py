"""Parameters of the empirical score of two patterns."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import Count, Ensemble, Lattice, ModePanel, TimeGrid


@dataclass(frozen=True)
class Config(ModePanel, Ensemble, Lattice):
    """The empirical score of two global patterns, y and -y: the middle row of Fig. 4.

    y has random signs on square blocks of sites. It turns unstable at t_c = arcsinh(grid_size^2) / beta, about 9.01 for
    64 x 64 sites, so the time grid starts above that. No single Fourier mode overlaps much with y.
    """

    block_size: Count = 4
    """Side of the blocks of equal sign in the pattern (sites, a divisor of grid_size); grid_size makes it uniform."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=14.0))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(grid_size=32, time=TimeGrid(t_max=14.0, num_steps=200))
