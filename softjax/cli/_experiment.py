"""Running one experiment: its trajectories, its figure, its table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from softjax.cli._command import Command
from softjax.cli._output import print_table, progress_bar, whole
from softjax.experiments._shared.config import checked, view

Config = TypeVar("Config", bound=Any)
Format = Literal["png", "pdf", "svg"]


@dataclass(frozen=True)
class Output:
    """Where results go."""

    out: Path
    """Folder for the figure, the data (zarr), config.json and summary.json."""
    formats: tuple[Format, ...] = ("png", "pdf")
    """Files that the figure is saved as."""
    quick: bool = False
    """Start from a small version, for a first look; the other options still apply."""
    repair: bool = False
    """Compute anew what is damaged or has failed in an earlier result."""


@dataclass(frozen=True)
class Experiment(Command, Generic[Config]):
    """One of the folders in `softjax.experiments`."""

    name: tyro.conf.Suppress[str]
    config: Annotated[Config, tyro.conf.arg(name="")]
    output: Annotated[Output, tyro.conf.arg(name="")]

    def check(self) -> None:
        """Refuses numbers out of range."""
        checked(self.config)
        require_formats(self.output.formats)

    def devices_for(self) -> int | None:
        """Trajectories are divided among the cores."""
        return getattr(self.config, "num_trajectories", None)

    def carry_out(self) -> int:
        """Computes what is missing, draws the figure, prints and saves the summary."""
        experiment = import_module(f"softjax.experiments.{self.name}")
        out = self.output.out.expanduser()
        with progress_bar() as progress:
            dataset = experiment.run(self.config, out / "data.zarr", progress, repair=self.output.repair)
        rows = experiment.summary(dataset)
        save(out / "config.json", asdict(self.config))
        save(out / "summary.json", [asdict(row) for row in rows])
        draw(experiment.figure(dataset, **view(self.config)), out / self.name, self.output.formats)
        print_table(rows, dataset.attrs["device"])
        print(experiment.findings(dataset, rows))
        print(f"{drawn(out / self.name, self.output.formats)}data {out / 'data.zarr'}")
        return 0

    def what_remains(self) -> str:
        """Every finished trajectory."""
        return f"{self.output.out / 'data.zarr'} keeps what is finished, if anything; the same command goes on."

    def what_saves_memory(self) -> str:
        """Said by the experiment."""
        return import_module(f"softjax.experiments.{self.name}.study").STUDY.saves_memory


def save(path: Path, content: Any) -> None:
    """Writes JSON; a run that is killed, or another at the same time, leaves a whole file."""
    whole(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


def require_formats(formats: Sequence[Format]) -> None:
    """Refuses an empty list, which would compute everything and draw nothing."""
    if not formats:
        raise ValueError("--formats needs at least one of png, pdf, svg.")


def draw(figure: Any, path: Path, formats: Sequence[Format]) -> None:
    """Saves a figure beside its data; its parts are laid out once."""
    for kind in formats:
        whole(path.with_name(f"{path.name}.{kind}"), lambda partial, kind=kind: figure.savefig(partial, format=kind))
        figure.set_layout_engine("none")


def drawn(path: Path, formats: Sequence[Format]) -> str:
    """Where the figure is, in words."""
    others = f" (and {', '.join('.' + kind for kind in formats[1:])})" if formats[1:] else ""
    return f"Figure {path}.{formats[0]}{others}, "
