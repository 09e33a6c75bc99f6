"""Pieces that the experiments' configurations are made of, and the ranges of their numbers. Nothing heavy is imported.

Each field's docstring becomes its help text and states its unit. Defaults are the paper's parameters; where its text
lost a number, softjax's choice. Results do not depend on fields marked with `NO_RESULT`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from numbers import Integral
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro

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
NO_RESULT: dict[str, Any] = {"no_result": True}  # how something is computed, or drawn


def checked(config: AnyConfig) -> AnyConfig:
    """The configuration itself; raises `ValueError` for a number in it that is out of range or not finite.

    What depends on the lattice, the data or a network is checked where that is known.
    """
    _check_numbers(config, "")
    return config


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """All that results depend on, by name: `grid_size`, `time.num_steps`."""
    known: dict[str, Any] = {}
    for one in fields(config):
        value = getattr(config, one.name)
        if is_dataclass(value):
            known |= flat(value, f"{prefix}{one.name}.")
        elif not one.metadata.get("no_result"):
            known[prefix + one.name] = value.item() if hasattr(value, "item") else value
    return known


def view(config: Any) -> dict[str, Any]:
    """How the configuration wants its figure drawn: keywords of the experiment's `figure`."""
    return {one.name: getattr(config, one.name) for one in fields(config) if one.metadata.get("view")}


def changed(config: AnyConfig, values: Mapping[str, Any]) -> AnyConfig:
    """The configuration with other values of some of its fields, by the names of `flat`.

    Whole numbers may be given for others, and the other way round. Raises `ValueError` for unknown names and for values
    of another kind.
    """
    for name, value in values.items():
        config = _with(config, name.split("."), name, value)
    return checked(config)


def _with(config: Any, parts: list[str], name: str, value: Any) -> Any:
    known = {one.name for one in fields(config)}
    if parts[0] not in known:
        raise ValueError(f"there is no parameter {name!r}; there are {', '.join(sorted(known))}.")
    old = getattr(config, parts[0])
    if is_dataclass(old) != (len(parts) > 1):
        raise ValueError(
            f"{name} is a group of parameters: name one of them."
            if len(parts) == 1
            else f"there is no parameter {name!r}."
        )
    new = _with(old, parts[1:], name, value) if len(parts) > 1 else _converted(name, old, value)
    return replace(config, **{parts[0]: new})


def _converted(name: str, old: Any, value: Any) -> Any:
    kind = type(old)
    if old is None or kind is type(value):
        return value
    if kind in (int, float) and type(value) in (int, float) and kind(value) == value:
        return kind(value)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    raise ValueError(f"{name} must be {wanted.get(kind, f'of the kind of {old!r}')}, got {value!r}.")


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
    chunk: Count = field(default=8, metadata=NO_RESULT)
    """Trajectories side by side in memory; finished chunks survive an interruption."""


@dataclass(frozen=True)
class Lattice:
    """The lattice of an analytic model under the VP process."""

    grid_size: Count = 64
    """Side L of the periodic lattice (sites)."""
    beta: float = 1.0
    """Noise rate of the VP process (per unit of t)."""


@dataclass(frozen=True)
class Patches:
    """The dictionary of the analytic patch model."""

    patch_size: Count = 5
    """Side w of the patches (sites, odd)."""
    num_random: CountOrNone = 4
    """Random patterns drawn; with their sign flips and the two uniform ones the dictionary has 2 (num_random + 1)."""
    p_global: float = 0.8
    """Prior probability of the two uniform patterns together."""


@dataclass(frozen=True)
class PatchModel(Patches, Lattice):
    """The lattice and the dictionary of the analytic patch model."""


@dataclass(frozen=True)
class Ensemble:
    """Independent reverse trajectories, and what is measured on them."""

    num_trajectories: Count = 8
    """Independent reverse trajectories."""
    seed: Seed = 0
    """Seed of the random key; it fixes the field, where that is drawn, and every trajectory."""
    time: TimeGrid = field(default_factory=TimeGrid)
    probe: Probe = field(default_factory=Probe)
    integration: Integration = field(default_factory=Integration)


@dataclass(frozen=True)
class ModePanel:
    """How the mode responses are drawn."""

    quantity: Literal["magnitude", "rayleigh"] = field(default="magnitude", metadata=NO_RESULT | {"view": True})
    """What the mode panel shows: the response magnitude, or the Rayleigh quotient with its sign change."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A U-Net trained on Fashion-MNIST."""

    grey: bool = False
    """The network trained on grey images, instead of the one trained on spins -1 and +1."""
    weights: str | None = None
    """Folder of a network of your own, as `softjax train fashion` writes it; None takes the one that ships."""


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
class AnyTarget:
    """What a command is pointed at: a folder, a network that ships, or a name in the user's code."""

    target: tyro.conf.Positional[str] = "edm2-fashion"
    """A network's folder, the name of one that ships (fashion-binary, fashion-grey, edm2-fashion), or
    package.module:name, a field or a callable (t, x) or (t, x, label) on one configuration."""
    process: str = "vp"
    """For a callable: vp (rate 1), edm, flow, ddpm (linear, 1000 steps), or package.module:name of a process."""
    prediction: Literal["noise", "denoiser", "score", "velocity", "flow"] = "noise"
    """For a callable: what it returns."""
    shape: tuple[int, ...] = ()
    """Sides of the lattice, without channels; empty takes what the target says."""
    channels: int | None = None
    """Channels on the last axis, 0 for no such axis; by default what the target says."""
    labels: tuple[int, ...] = ()
    """Classes of a conditional network, taken in turn; empty takes all that it says to have."""
