"""The `softjax` command: one subcommand per experiment, its options read off the experiment's configuration; training.

JAX is imported inside commands only, so that `--help` is quick.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import tyro

from softjax.experiments.configs import (
    ClocksConfig,
    EmpiricalConfig,
    FashionConfig,
    LocalityConfig,
    PatchConfig,
    TheoryConfig,
)
from softjax.training.configs import ClassifierTraining, FashionTraining

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
class Locality:
    """The trained U-Net against the optimal local score of its data, patch size by patch size."""

    config: Annotated[LocalityConfig, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=lambda: Output(Path("results/locality")))


@dataclass(frozen=True)
class Train:
    """Trains a network; the weights that ship were made by this command."""

    config: (
        Annotated[FashionTraining, tyro.conf.subcommand("fashion", default=FashionTraining())]
        | Annotated[ClassifierTraining, tyro.conf.subcommand("classifier", default=ClassifierTraining())]
    )
    out: Path = Path("results/train")
    """Folder for the checkpoint and, when done, the network."""
    resume: bool = False
    """Go on from the checkpoint in that folder."""
    data: Path | None = None
    """Folder with the four Fashion-MNIST files; looked for, and downloaded, if not given."""


Experiment = Patch | Empirical | Clocks | Theory | Fashion | Locality
Command = Experiment | Train


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits with 1 and a message on bad input, with 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    quick = "--quick" in arguments  # decides the defaults, hence looked up before parsing
    defaults = {
        "patch": Patch(PatchConfig.quick() if quick else PatchConfig()),
        "empirical": Empirical(EmpiricalConfig.quick() if quick else EmpiricalConfig()),
        "clocks": Clocks(ClocksConfig.quick() if quick else ClocksConfig()),
        "theory": Theory(TheoryConfig.quick() if quick else TheoryConfig()),
        "fashion": Fashion(FashionConfig.quick() if quick else FashionConfig()),
        "locality": Locality(LocalityConfig.quick() if quick else LocalityConfig()),
        "train": Train(FashionTraining()),
    }
    descriptions = {name: type(default).__doc__ or "" for name, default in defaults.items()}
    command = tyro.cli(
        tyro.extras.subcommand_type_from_defaults(defaults, descriptions, prefix_names=False),
        prog="softjax",
        description="The physics of diffusion models: soft modes, correlation lengths, critical times.",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes),
    )
    name = next(name for name, default in defaults.items() if type(default) is type(command))
    try:
        _train(command) if isinstance(command, Train) else _run(name, command)
    except (ValueError, FileExistsError, FileNotFoundError, PermissionError, FloatingPointError) as error:
        sys.exit(f"softjax: {error}")
    except KeyboardInterrupt:
        if isinstance(command, Train):
            print(f"\nInterrupted. {command.out} keeps the last checkpoint, if any; --resume goes on.")
        else:
            print(f"\nInterrupted. {_data(command)} keeps the finished trajectories, if any; the same command goes on.")
        sys.exit(130)


def _run(name: str, command: Experiment) -> None:
    """Computes what is missing, draws the figure, prints and saves the summary."""
    _prepare_jax()
    experiment = import_module(f"softjax.experiments.{name}")
    out = command.output.out
    with _progress_bar() as progress:
        dataset = experiment.run(command.config, _data(command), progress)
    (out / "config.json").write_text(json.dumps(asdict(command.config), indent=2) + "\n")
    rows = experiment.summary(dataset)
    (out / "summary.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    view = {"quantity": command.quantity} if isinstance(command, Patch | Empirical | Fashion) else {}
    figure = experiment.figure(dataset, **view)
    for suffix in ("png", "pdf"):
        figure.savefig(out / f"{name}.{suffix}")
    _print_table(rows, dataset.attrs["device"])
    print(f"Figure {out / name}.png (and .pdf), data {_data(command)}")


def _train(command: Train) -> None:
    """Trains, with a bar over the steps, and says how fast against the device's matrix product."""
    _prepare_jax()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from softjax import training

    start = {FashionTraining: training.train_fashion, ClassifierTraining: training.train_classifier}
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as bar:
        task = bar.add_task("compiling", total=None)

        def report(state: training.Report) -> None:
            bar.update(task, completed=state.step, total=state.num_steps, description=state.text)

        folder = start[type(command.config)](
            command.config, command.out, resume=command.resume, folder=command.data, report=report
        )
    print(f"Network {folder}: weights.safetensors, and network.json with the losses")


def _data(command: Experiment) -> Path:
    return command.output.out / "data.zarr"


def _prepare_jax() -> None:
    """Lets JAX keep its compiled programs for the next run; a user's own settings win."""
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # programs with host callbacks can't be cached
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "softjax" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over trajectories with the time left; yields what is to be called with those done and all of them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("compiling", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total, description="trajectories")


def _print_table(rows: list, device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Summary ({device})", title_justify="left")
    table.add_column("quantity")
    table.add_column("value  [95% interval]", justify="right")
    table.add_column("unit")
    for name, _ in rows[0].also:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, row.text, row.units, *(f"{value:.4g}" for _, value in row.also))
    Console().print(table)
