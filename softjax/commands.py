"""What can be typed after `softjax`: one dataclass per command, its options read off the experiment's configuration.

Nothing heavy is imported here, so that `--help` is quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from softjax.experiments.configs import (
    ClocksConfig,
    EDM2Config,
    EmpiricalConfig,
    FashionConfig,
    LocalityConfig,
    PatchConfig,
    PulseConfig,
    TheoryConfig,
)
from softjax.training.configs import ClassifierTraining, EDM2Training, FashionTraining

Quantity = Literal["magnitude", "rayleigh"]


@dataclass(frozen=True)
class Output:
    """Where results go."""

    out: Path
    """Folder for the figure (PNG, PDF), the data (zarr), config.json and summary.json."""
    quick: bool = False
    """Start from a small version, for a first look; the other options still apply."""


@dataclass(frozen=True)
class Patch:
    """The analytic patch model: Fig. 3 and the top row of Fig. 4."""

    config: Annotated[PatchConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/patch")))
    quantity: Quantity = "magnitude"
    """What the mode panel shows: the response magnitude, or the Rayleigh quotient with its sign change."""


@dataclass(frozen=True)
class Empirical:
    """The empirical score of two global patterns: the middle row of Fig. 4."""

    config: Annotated[EmpiricalConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/empirical")))
    quantity: Quantity = "magnitude"
    """What the mode panel shows: the response magnitude, or the Rayleigh quotient with its sign change."""


@dataclass(frozen=True)
class Clocks:
    """Every critical time of one patch model on one axis."""

    config: Annotated[ClocksConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/clocks")))


@dataclass(frozen=True)
class Theory:
    """The theory of the two-pattern patch model in four pictures, with the simulation beside it."""

    config: Annotated[TheoryConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/theory")))


@dataclass(frozen=True)
class Fashion:
    """A U-Net trained on Fashion-MNIST: the bottom row of Fig. 4 and, with --grey, Fig. 8."""

    config: Annotated[FashionConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/fashion")))
    quantity: Quantity = "magnitude"
    """What the mode panel shows: the response magnitude, or the Rayleigh quotient with its sign change."""


@dataclass(frozen=True)
class EDM2:
    """An EDM2 network along its deterministic sampler: Fig. 2 (App. E)."""

    config: Annotated[EDM2Config, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/edm2")))


@dataclass(frozen=True)
class Pulse:
    """Guidance in a short window of noise levels, critical or random: Fig. 5 (App. F), and the response curve."""

    config: Annotated[PulseConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/pulse")))


@dataclass(frozen=True)
class Locality:
    """The trained U-Net against the optimal local score of its data, patch size by patch size."""

    config: Annotated[LocalityConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/locality")))


@dataclass(frozen=True)
class Train:
    """Trains a network; the weights that ship were made by this command."""

    config: (
        Annotated[FashionTraining, tyro.conf.subcommand("fashion", default=FashionTraining())]
        | Annotated[EDM2Training, tyro.conf.subcommand("edm2", default=EDM2Training())]
        | Annotated[ClassifierTraining, tyro.conf.subcommand("classifier", default=ClassifierTraining())]
    )
    out: Path = Path("results/train")
    """Folder for the checkpoint and, when done, the network."""
    resume: bool = False
    """Go on from the checkpoint in that folder."""
    data: Path | None = None
    """Folder with the four Fashion-MNIST files; looked for, and downloaded, if not given."""


@dataclass(frozen=True)
class Convert:
    """Turns a torch checkpoint of EDM2 or DINOv2 into a network's folder, without torch, without running its code."""

    source: tyro.conf.Positional[Path]
    """A published EDM2 pickle, or a state dict (torch's zip format or safetensors, whole or in parts)."""
    out: tyro.conf.Positional[Path]
    """The folder to write; new, empty, or holding this same conversion."""
    head: Path | None = None
    """File of DINOv2's linear head, where that is stored apart."""
    key: str | None = None
    """Which state dict of a torch file to take, such as ema, where it holds several; below several keys, with dots."""
    prefix: str | None = None
    """Take only the tensors whose names begin with this, such as ema. where there are several networks."""
    channels_per_head: int | None = None
    """Channels of an attention head of EDM2, which a bare state dict doesn't say; 64 if not given."""
    num_heads: int | None = None
    """Attention heads of DINOv2; by default heads are 64 wide."""

    @property
    def options(self) -> dict[str, int]:
        """What was given of the network's options, as `softjax.convert.convert` takes them."""
        given = {"channels_per_head": self.channels_per_head, "num_heads": self.num_heads}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class FetchWeights:
    """Downloads a published file by name, going on where an earlier download stopped."""

    name: tyro.conf.Positional[str]
    """Such as edm2-img64-s-1073741-0.075 or dinov2_vitb14_pretrain; a wrong one lists them all."""
    folder: Path | None = None
    """Where to put it; softjax's cache if not given."""


Experiment = Patch | Empirical | Clocks | Theory | Fashion | Locality | EDM2 | Pulse
Command = Experiment | Train | Convert | FetchWeights

_EXPERIMENTS: dict[str, tuple[Any, Any]] = {
    "patch": (Patch, PatchConfig),
    "empirical": (Empirical, EmpiricalConfig),
    "clocks": (Clocks, ClocksConfig),
    "theory": (Theory, TheoryConfig),
    "fashion": (Fashion, FashionConfig),
    "locality": (Locality, LocalityConfig),
    "edm2": (EDM2, EDM2Config),
    "pulse": (Pulse, PulseConfig),
}
_TOOLS: dict[str, Any] = {"train": Train, "convert": Convert, "fetch-weights": FetchWeights}


def parse(arguments: list[str]) -> Command:
    """The command that was typed; exits with a message where it makes no sense."""
    quick = "--quick" in arguments  # decides the defaults, hence looked up before parsing
    choices = [Annotated[tool, tyro.conf.subcommand(name, prefix_name=False)] for name, tool in _TOOLS.items()]
    for name, (command, config) in reversed(_EXPERIMENTS.items()):
        default = command(config.quick() if quick else config())
        choices.insert(0, Annotated[command, tyro.conf.subcommand(name, default=default, prefix_name=False)])
    any_of: Any = Union[tuple(choices)]  # noqa: UP007
    return tyro.cli(
        any_of,
        prog="softjax",
        description="The physics of diffusion models: soft modes, correlation lengths, critical times.",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes),
    )


def experiment_name(command: Experiment) -> str:
    """Name of the command, and of the module in `softjax.experiments` that runs it."""
    return next(name for name, (kind, _) in _EXPERIMENTS.items() if kind is type(command))
