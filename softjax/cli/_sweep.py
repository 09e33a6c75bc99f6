"""Sweeps of experiments over their parameters, and how far they are."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from softjax.cli._command import MORE_MEMORY, Command
from softjax.cli._experiment import Format, draw, drawn, require_formats, save
from softjax.cli._output import list_failed, progress_bar, whole
from softjax.experiments._shared.config import checked

Config = TypeVar("Config", bound=Any)


@dataclass(frozen=True)
class Sweep(Command, Generic[Config]):
    """An experiment over values of its parameters: one dataset, and a figure of a number of the summary.

    Options may stand in a TOML file, `softjax sweep FILE.toml`: `experiment`, a table `axes`, and any option by name.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    out: Path = Path("results/sweep")
    """Folder for the figure, the data (zarr), the table (CSV) and sweep.json."""
    formats: tuple[Format, ...] = ("png", "pdf")
    """Files that the figure is saved as."""
    axis: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUES: a,b,c, or START:STOP:NUMBER, or log:START:STOP:NUMBER; NAME=.../NAME=... change together. Repeat it
    to cross axes; names are those of the options (p_global, time.num_steps)."""
    members: int | None = None
    """Trajectories in each cell; the experiment's own number if not given."""
    row: str | None = None
    """Beginning of the name of the number to draw; by default the first one measured."""
    explain: bool = False
    """Say what it would take, and compute nothing."""
    shard: str | None = None
    """I/N: only every N-th block, from the I-th (0 to N - 1) on, as in a job array."""
    pack: int | None = None
    """Units side by side in memory; chosen by softjax if not given."""
    workers: int = 0
    """Processes of Dask distributed on this machine that share the work; 0 for none."""
    scheduler: str | None = None
    """Address of a scheduler of Dask distributed whose workers share the work."""
    quick: bool = False
    """Start from a small version of the experiment."""
    repair: bool = False
    """Compute anew what is damaged or has failed."""

    @property
    def name(self) -> str:
        """Of the experiment, whose folder the configuration comes from."""
        return type(self.config).__module__.split(".")[-2]

    @property
    def data(self) -> Path:
        """Where the results are."""
        return self.out.expanduser() / "data.zarr"

    def check(self) -> None:
        """Refuses numbers out of range and axes that make no sense."""
        checked(self.config)
        self.shards()
        require_formats(self.formats)

    def shards(self) -> tuple[int, int] | None:
        """Which part of the work is this process's."""
        if self.shard is None:
            return None
        first, _, number = self.shard.partition("/")
        if not (first.isdigit() and number.isdigit() and int(first) < int(number)):
            raise ValueError(f"--shard must be I/N with 0 <= I < N, got {self.shard!r}.")
        return int(first), int(number)

    def devices_for(self) -> int | None:
        """Packs are divided among the cores."""
        return None if self.workers or self.scheduler else 2**20

    def carry_out(self) -> int:
        """Computes what is missing, then the table and the figure."""
        from softjax.experiments._shared.table import drawn_row, table
        from softjax.plotting import sweep_figure
        from softjax.sweeps import run

        study = import_module(f"softjax.experiments.{self.name}").STUDY
        sweep = study.sweep(self.config, _axes(self.axis), members=self.members)
        if self.explain:
            print(sweep.explain(self.pack))
            return 0
        with progress_bar() as progress, self._client() as client:
            dataset = run(
                sweep,
                self.data,
                progress=progress,
                pack=self.pack,
                shard=self.shards(),
                client=client,
                repair=self.repair,
                failures="keep",
            )
        if unfinished := dataset.attrs.get("unfinished", 0):
            print(f"{self.data} lacks {unfinished} units, which other shards compute; softjax status {self.out}")
            return 0
        print("computing the summary of every cell", flush=True)
        rows = table(study, self.config, sweep, dataset)
        save(self.out.expanduser() / "sweep.json", {"experiment": self.name, **asdict(self.config), "axes": self.axis})
        whole(self.out.expanduser() / "table.csv", lambda partial: rows.to_dataframe().to_csv(partial))
        row = drawn_row(rows, self.row)
        draw(sweep_figure(rows, row), self.out.expanduser() / "sweep", self.formats)
        print(f"Drawn is {row}; --row draws another number of the table.")
        print(f"{drawn(self.out / 'sweep', self.formats)}table {self.out / 'table.csv'}, data {self.data}")
        return list_failed(dataset.attrs.get("failed", []))

    def _client(self) -> Any:
        from contextlib import nullcontext

        from softjax.sweeps import local_cluster

        return local_cluster(self.workers, self.scheduler) if self.workers or self.scheduler else nullcontext()

    def what_remains(self) -> str:
        """Every finished block."""
        return f"{self.data} keeps what is finished, if anything; the same command goes on."

    def what_saves_memory(self) -> str:
        """Smaller units."""
        return "Take a smaller --pack; if one unit at a time is too much, a smaller --grid-size."


def _axes(typed: Sequence[str]) -> dict[Any, list[Any]]:
    """The axes by their names."""
    from softjax.sweeps import parse_axis

    axes = [parse_axis(text) for text in typed]
    names = [name for name, _ in axes]
    if repeated := {str(name) for name in names if names.count(name) > 1}:
        raise ValueError(f"--axis names {', '.join(sorted(repeated))} twice: give all values of an axis at once.")
    return dict(axes)


@dataclass(frozen=True)
class Status(Command):
    """How far a result is: units done, failed and to do, and who works on it."""

    out: tyro.conf.Positional[Path]
    """The folder that a command was given with --out, or the data.zarr in it."""
    uses_devices = False

    def carry_out(self) -> int:
        """Prints it."""
        from softjax.sweeps import status

        known = status(self.out)
        print(known)
        return 1 if known.failed else 0

    def what_remains(self) -> str:
        """Nothing is written."""
        return "Nothing was changed."

    def what_saves_memory(self) -> str:
        """Nothing in the options."""
        return MORE_MEMORY


def from_file(arguments: list[str]) -> list[str]:
    """What was typed, with the options of a sweep's TOML file in place of its name.

    Raises `ValueError` for a file that can't be read or says no experiment.
    """
    if len(arguments) < 2 or arguments[0] != "sweep" or not arguments[1].endswith(".toml"):
        return arguments
    path = Path(arguments[1]).expanduser()
    try:
        known = tomllib.loads(path.read_text())
        experiment = known.pop("experiment")
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}): is it the TOML file that you mean?") from error
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{path} is no TOML file that names an experiment: {error}.") from error
    axes = [f"--axis={name}={_typed(values)}" for name, values in _dotted(known.pop("axes", {}))]
    return ["sweep", experiment, *axes, *_options(known), *arguments[2:]]


def _dotted(known: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, those of inner tables with dots."""
    for name, value in known.items():
        yield from _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


def _options(known: dict[str, Any]) -> list[str]:
    options = []
    for name, value in _dotted(known):
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            options.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            options += [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]
    return options


def _typed(values: Any) -> str:
    """The values of an axis as they are typed."""
    return values if isinstance(values, str) else ",".join(str(value) for value in values)
