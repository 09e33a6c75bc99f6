"""Parameters of the experiments. Nothing heavy is imported here: the command line builds its help from this file.

Each field's docstring becomes its help text and states its unit. Defaults are the paper's parameters; where its text
lost a number, softjax's choice.
"""

import math
from dataclasses import dataclass, field, is_dataclass
from numbers import Integral
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

AnyConfig = TypeVar("AnyConfig")


@dataclass(frozen=True)
class WholeNumbers:
    """The whole numbers that a parameter may be."""

    low: int
    high: int | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises `ValueError` for others."""
        number = int(value) if isinstance(value, Integral) else self.low - 1
        if number < self.low or (self.high is not None and number > self.high):
            wanted = f"of at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"
            raise ValueError(f"{name} must be a whole number {wanted}, got {value}.")


SEEDS = WholeNumbers(0, 2**32 - 1)  # JAX takes a seed modulo 2^32 unless x64 is enabled
Seed = Annotated[int, SEEDS]
Count = Annotated[int, WholeNumbers(1)]
CountOfMany = Annotated[int, WholeNumbers(2)]
CountOrNone = Annotated[int, WholeNumbers(0)]


def checked(config: AnyConfig) -> AnyConfig:
    """The configuration itself; raises `ValueError` for a number in it that is out of range or not finite.

    What depends on the lattice, the data or a network is checked where that is known.
    """
    _check_numbers(config, "")
    return config


def _check_numbers(config: Any, prefix: str) -> None:
    for name, kind in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        for limits in get_args(kind)[1:]:
            if isinstance(limits, WholeNumbers):
                limits.check(prefix + name, value)
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{prefix}{name} must be finite, got {value}.")
        if is_dataclass(value):
            _check_numbers(value, f"{prefix}{name}.")
    if isinstance(config, Probe):
        _check_shells(config)


def _check_shells(probe: "Probe") -> None:
    if probe.max_shell < probe.num_fit_shells:
        raise ValueError(
            f"probe.max_shell must be at least probe.num_fit_shells = {probe.num_fit_shells}, the shells in the fit of "
            f"xi_eq, got {probe.max_shell}. Raise --probe.max-shell, or lower --probe.num-fit-shells."
        )


@dataclass(frozen=True)
class TimeGrid:
    """The logarithmic time grid, from noise to data."""

    t_max: float = 6.0
    """Time at which reverse trajectories start (dimensionless)."""
    t_min: float = 1e-3
    """Time at which they end (dimensionless, positive)."""
    num_steps: Count = 400
    """Number of steps in between."""


@dataclass(frozen=True)
class Probe:
    """The Fourier modes along which the reverse drift is linearised."""

    max_shell: int = 6
    """Highest shell n, of wavenumber 2 pi n / grid_size."""
    num_fit_shells: Count = 3
    """Shells 1 to this one enter the fit of the equilibrium correlation length."""
    kind: Literal["axes", "isotropic"] = "axes"
    """Wavevectors along the lattice axes (the paper's), or all whose length rounds to n."""


@dataclass(frozen=True)
class Integration:
    """How trajectories are integrated."""

    solver: Literal["euler", "sea", "shark"] = "euler"
    """Euler-Maruyama (the paper's), or an additive-noise solver of smaller bias."""
    engine: Literal["diffrax", "scan"] = "diffrax"
    """What steps the state: diffrax, or a plain scan (euler and sea)."""
    chunk: Count = 8
    """Trajectories side by side in memory; finished chunks survive an interruption."""


@dataclass(frozen=True)
class PatchConfig:
    """The analytic patch model: Fig. 3 and the top row of Fig. 4."""

    grid_size: Count = 64
    """Side L of the periodic lattice (sites)."""
    patch_size: Count = 5
    """Side w of the patches (sites, odd)."""
    num_random: CountOrNone = 4
    """Random patterns drawn; with their sign flips and the two uniform ones the dictionary has 2 (num_random + 1)."""
    p_global: float = 0.8
    """Prior probability of the two uniform patterns together."""
    beta: float = 1.0
    """Noise rate of the VP process (per unit of t)."""
    num_trajectories: Count = 8
    """Independent reverse trajectories."""
    seed: Seed = 0
    """Seed of the random key; it fixes the dictionary and every trajectory."""
    time: TimeGrid = field(default_factory=TimeGrid)
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)

    @classmethod
    def quick(cls) -> "PatchConfig":
        """A small version for a first look."""
        return cls(grid_size=32, time=TimeGrid(num_steps=200))


@dataclass(frozen=True)
class EmpiricalConfig:
    """The global score of two patterns, y and -y: the middle row of Fig. 4.

    y has random signs on square blocks of sites. It turns unstable at t_c = arcsinh(grid_size^2) / beta, about 9.01 for
    64 x 64 sites, so the time grid starts above that. No single Fourier mode overlaps much with y.
    """

    grid_size: Count = 64
    """Side L of the periodic lattice (sites)."""
    block_size: Count = 4
    """Side of the blocks of equal sign in the pattern (sites, a divisor of grid_size); grid_size makes it uniform."""
    beta: float = 1.0
    """Noise rate of the VP process (per unit of t)."""
    num_trajectories: Count = 8
    """Independent reverse trajectories."""
    seed: Seed = 0
    """Seed of the random key; it fixes the pattern and every trajectory."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=14.0))
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)

    @classmethod
    def quick(cls) -> "EmpiricalConfig":
        """A small version for a first look."""
        return cls(grid_size=32, time=TimeGrid(t_max=14.0, num_steps=200))


@dataclass(frozen=True)
class ClocksConfig(PatchConfig):
    """Every critical time of one patch model on one axis (section 8 of docs/theory.md)."""

    num_trajectories: Count = 16
    """Independent reverse trajectories."""
    num_clones: CountOfMany = 8
    """Trajectories that are cloned, for the agreement of clones."""
    num_cloning_times: Count = 12
    """Times at which they are cloned."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))

    @classmethod
    def quick(cls) -> "ClocksConfig":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, num_cloning_times=8, time=TimeGrid(t_max=8.0, num_steps=200))


@dataclass(frozen=True)
class TheoryConfig:
    """The theory of the two-pattern patch model in four pictures."""

    grid_size: Count = 64
    """Side L of the periodic lattice (sites)."""
    patch_size: Count = 3
    """Side w of the patches (sites, odd)."""
    beta: float = 1.0
    """Noise rate of the VP process (per unit of t)."""
    num_trajectories: Count = 32
    """Independent reverse trajectories, to compare with."""
    seed: Seed = 0
    """Seed of the random key."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)

    @classmethod
    def quick(cls) -> "TheoryConfig":
        """A small version for a first look."""
        return cls(grid_size=32, num_trajectories=8, time=TimeGrid(t_max=8.0, num_steps=200))


@dataclass(frozen=True)
class FashionConfig:
    """A U-Net trained on Fashion-MNIST: the bottom row of Fig. 4 and, with --grey, Fig. 8."""

    grey: bool = False
    """The network trained on grey images, instead of the one trained on spins -1 and +1."""
    weights: str | None = None
    """Folder of a network of your own, as `softjax train fashion` writes it; None takes the one that ships."""
    grid_size: Count = 28
    """Side of the images (pixels), a multiple of 4; the network was trained at 28."""
    num_trajectories: Count = 8
    """Independent reverse trajectories."""
    num_equivariance_times: CountOrNone = 12
    """Times at which the network's equivariance and reach are measured; 0 leaves that out."""
    num_equivariance_states: Count = 4
    """Trajectories on which they are."""
    seed: Seed = 0
    """Seed of the random key; it fixes every trajectory."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(t_max=8.0))
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)

    @classmethod
    def quick(cls) -> "FashionConfig":
        """A small version for a first look."""
        return cls(
            num_trajectories=4,
            num_equivariance_times=6,
            num_equivariance_states=2,
            time=TimeGrid(t_max=8.0, num_steps=100),
            probe=Probe(max_shell=3),
        )


@dataclass(frozen=True)
class NoiseGrid:
    """The noise levels of EDM's sampler, from noise to data."""

    sigma_max: float = 80.0
    """Noise level at which trajectories start (units of the data)."""
    sigma_min: float = 0.002
    """Smallest positive noise level (units of the data); the last step goes from it to 0."""
    num_steps: CountOfMany = 32
    """Number of steps; the denoiser is evaluated 2 num_steps - 1 times."""
    rho: float = 7.0
    """How much the levels crowd towards small noise."""


@dataclass(frozen=True)
class EDM2Config:
    """An EDM2 network along its deterministic sampler: Fig. 2 (App. E)."""

    weights: str | None = None
    """Folder of a network, as `softjax convert` writes it; None takes the small one that ships."""
    num_trajectories: Count = 20
    """Independent trajectories, of the classes `labels` in turn."""
    labels: tuple[int, ...] = ()
    """Classes of a conditional network; empty takes 0, 1, 2 and so on."""
    chunk: CountOrNone = 0
    """Trajectories side by side in memory; 0 fits them to the device's."""
    seed: Seed = 0
    """Seed of the random key; it fixes every trajectory."""
    noise: NoiseGrid = field(default_factory=NoiseGrid)
    probe: Probe = field(default_factory=Probe)

    @classmethod
    def quick(cls) -> "EDM2Config":
        """A small version for a first look."""
        return cls(num_trajectories=10, noise=NoiseGrid(num_steps=16), probe=Probe(max_shell=4))


@dataclass(frozen=True)
class PulseConfig:
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
    num_trials: Count = 40
    """Starts of each class, the same for all conditions."""
    num_unguided: Count = 4
    """Unguided trajectories of each class that give the critical noise level."""
    width: float = 1.0
    """Width of the pulses in ln sigma."""
    strength: float = 4.0
    """Guidance weight inside the pulses; 1 is no guidance."""
    edges: Literal["sharp", "smooth"] = "sharp"
    """Edges of the critical and random pulses (those of the curve are smooth)."""
    num_centers: Count = 13
    """Centres on the response curve, evenly spaced in ln sigma over the sampled range."""
    chunk: Count = 20
    """Trials side by side in memory; finished chunks survive an interruption."""
    seed: Seed = 0
    """Seed of the random key; it fixes every start and every random pulse."""
    noise: NoiseGrid = field(default_factory=NoiseGrid)
    probe: Probe = field(default_factory=Probe)

    @classmethod
    def quick(cls) -> "PulseConfig":
        """A small version for a first look."""
        return cls(num_trials=4, num_unguided=1, num_centers=7, probe=Probe(max_shell=3), noise=NoiseGrid(num_steps=20))


@dataclass(frozen=True)
class LocalityConfig:
    """The trained U-Net against the optimal local score of its data, patch size by patch size."""

    grey: bool = False
    """The network trained on grey images, instead of the one trained on spins -1 and +1."""
    weights: str | None = None
    """Folder of a network of your own, as `softjax train fashion` writes it; None takes the one that ships."""
    data: str | None = None
    """Folder with the four Fashion-MNIST files; looked for, and downloaded, if not given."""
    patch_sizes: tuple[int, ...] = (3, 5, 7, 11, 15)
    """Sides of the patches that the local score sees (pixels, odd)."""
    num_patches: Count = 100_000
    """Patches that it compares with, drawn from the training images."""
    num_images: Count = 2000
    """Training images that they are drawn from."""
    boundary: Literal["zeros", "periodic"] = "zeros"
    """What the local score sees beyond the border; zeros, as the network."""
    num_states: Count = 8
    """Noisy test images, at each time, on which the two are compared."""
    num_times: Count = 12
    """Times, from the grid below, at which they are."""
    num_samples: Count = 8
    """Images drawn by both from the same noise along the probability flow."""
    seed: Seed = 0
    """Seed of the random key."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(num_steps=20))

    @classmethod
    def quick(cls) -> "LocalityConfig":
        """A small version for a first look."""
        return cls(patch_sizes=(3, 7, 15), num_patches=20_000, num_states=4, num_times=8, num_samples=4)


Config = PatchConfig | EmpiricalConfig | TheoryConfig | FashionConfig
