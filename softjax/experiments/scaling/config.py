"""Parameters of the scaling study."""

from dataclasses import dataclass, field

from softjax.experiments._shared.config import NO_RESULT, Count, CountOfMany, CountOrNone, Patches, Seed


@dataclass(frozen=True)
class Quench:
    """The logarithmic time grid. Each stochasticity has its own number of steps, and all are seen at the same times."""

    t_max: float = 6.0
    """Time at which reverse trajectories start (dimensionless)."""
    t_min: float = 0.01
    """Time at which they end (dimensionless, positive)."""
    num_times: CountOfMany = 56
    """Intervals between the times at which something is measured, evenly spaced in log t."""
    min_steps: Count = 112
    """Steps at least, rounded up to a multiple of num_times."""
    steps_per_stochasticity: Count = 28
    """Steps at least, for each unit of the stochasticity: 28 leave the susceptibility about 2% too small, 14 5%."""

    def num_steps(self, stochasticity: float) -> int:
        """Steps at one stochasticity."""
        wanted = max(self.min_steps, self.steps_per_stochasticity * stochasticity)
        return self.num_times * -int(-wanted // self.num_times)


@dataclass(frozen=True)
class Config(Patches):
    """The patch model on lattices of several sizes, quenched at several stochasticities."""

    patch_size: Count = 3
    """Side w of the patches (sites, odd)."""
    num_random: CountOrNone = 0
    """Random patterns drawn; with their sign flips and the two uniform ones the dictionary has 2 (num_random + 1)."""
    p_global: float = 1.0
    """Prior probability of the two uniform patterns together; 1 without random ones."""
    sides: tuple[int, ...] = (16, 32, 64, 128)
    """Sides L of the periodic lattices (sites), increasing; at least two."""
    stochasticities: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    """How fast the state relaxes to the equilibrium of its time: 1 is the reverse SDE. Positive, increasing."""
    num_trajectories: CountOfMany = 256
    """Independent reverse trajectories on each lattice and at each stochasticity."""
    seed: Seed = 0
    """Seed of the random key; it fixes the dictionary and every trajectory."""
    quench: Quench = field(default_factory=Quench)
    chunk: Count = field(default=16, metadata=NO_RESULT)
    """Trajectories side by side in memory; finished chunks survive an interruption."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(sides=(8, 16), stochasticities=(1.0, 2.0, 4.0), num_trajectories=64)
