"""The `softjax` command: runs what was typed, shows progress, and saves the results.

JAX is imported inside commands only, so that `--help` is quick.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from softjax.commands import (
    EDM2,
    Command,
    Convert,
    Empirical,
    Experiment,
    Fashion,
    FetchWeights,
    Locality,
    Patch,
    Pulse,
    Train,
    experiment_name,
    parse,
)
from softjax.experiments.configs import SEEDS, checked
from softjax.training.configs import ClassifierTraining, EDM2Training, FashionTraining

_LOG_SECONDS = 60.0  # between the lines of a training whose output is no terminal


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits with 1 and a message on bad input, with 130 when interrupted."""
    command = None
    try:
        with _lasting_output():
            command = parse(sys.argv[1:] if arguments is None else arguments)
            _carry_out(command)
    except (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        if (message := _explained(error, command)) is None:
            raise
        sys.exit(f"softjax: {message}")


def _carry_out(command: Command) -> None:
    try:
        _prepare(command)
        _tool(command) if isinstance(command, Train | Convert | FetchWeights) else _run(command)
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_what_remains(command)}")
        sys.exit(130)


def _explained(error: Exception, command: Command | None) -> str | None:
    """What happened and what to do, in one line; None for what is a mistake of softjax's own."""
    text = str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return f"the memory is exhausted ({text.partition(chr(10))[0] or 'by Python'}). {_what_saves_memory(command)}"
    if not isinstance(error, RuntimeError):
        return text
    if "home directory" in text:
        return "there is no home folder to keep files in. Set HOME, or XDG_CACHE_HOME, to a folder that you may write."
    return None


def _what_saves_memory(command: Command | None) -> str:
    if isinstance(command, Train):
        return "Take a smaller --optimisation.microbatch."
    if isinstance(command, EDM2 | Pulse):
        return f"Take a smaller --chunk than {command.config.chunk or 'fits'}; 1 takes the least."
    if isinstance(command, Locality):
        return "Take fewer --num-patches, --num-states and --num-samples."
    if command is None or isinstance(command, Convert | FetchWeights):
        return "Close other programs, or take a machine with more."
    config = command.config
    fewer = f"Take a smaller --integration.chunk than {config.integration.chunk}, or fewer --num-trajectories"
    return f"{fewer}; if one at a time is too much, a smaller --grid-size than {config.grid_size}."


def _what_remains(command: Command) -> str:
    if isinstance(command, Train):
        return f"{command.out} keeps the last checkpoint, if any; --resume goes on."
    if isinstance(command, Convert):
        return f"Nothing was written to {command.out}."
    if isinstance(command, FetchWeights):
        return "What has come is kept; the same command goes on."
    return f"{_data(command)} keeps what is finished, if anything; the same command goes on."


def _run(command: Experiment) -> None:
    """Computes what is missing, draws the figure, prints and saves the summary."""
    name = experiment_name(command)
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
    if hasattr(experiment, "findings"):
        print(experiment.findings(dataset, rows))
    print(f"Figure {out / name}.png (and .pdf), data {_data(command)}")


def _tool(command: Train | Convert | FetchWeights) -> None:
    if isinstance(command, Train):
        _train(command)
        return
    from softjax.convert import convert, fetch

    with _byte_bar() as progress:
        if isinstance(command, Convert):
            done = convert(
                command.source,
                command.out,
                head=command.head,
                key=command.key,
                prefix=command.prefix,
                options=command.options,
                progress=progress,
            )
        else:
            done = fetch(command.name, command.folder, progress=progress)
    print(f"Network {done}: weights.safetensors and network.json" if isinstance(command, Convert) else f"File {done}")


def _train(command: Train) -> None:
    """Trains, and says how far, how well and how fast against the device's matrix product: a bar, or lines in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from softjax import training

    start = {
        FashionTraining: training.train_fashion,
        EDM2Training: training.train_edm2,
        ClassifierTraining: training.train_classifier,
    }
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as bar:
        task = bar.add_task("compiling", total=None)
        logged = time.monotonic()

        def report(state: training.Report) -> None:
            nonlocal logged
            bar.update(task, completed=state.step, total=state.num_steps, description=state.text)
            if not bar.console.is_terminal and time.monotonic() - logged >= _LOG_SECONDS:
                print(f"step {state.step} of {state.num_steps}: {state.text}", flush=True)
                logged = time.monotonic()

        folder = start[type(command.config)](
            command.config, command.out, resume=command.resume, folder=command.data, report=report
        )
    print(f"Network {folder}: weights.safetensors, and network.json with the losses")


def _data(command: Experiment) -> Path:
    return command.output.out / "data.zarr"


def _prepare(command: Command) -> None:
    """Refuses numbers out of range while that costs nothing, and makes the surroundings fit to compute in."""
    if isinstance(command, Train):
        SEEDS.check("seed", command.config.seed)
    elif not isinstance(command, Convert | FetchWeights):
        checked(command.config)
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's backend may not be installed here
    for name, nothing in (("XDG_CACHE_HOME", ""), ("COLUMNS", "0")):
        if os.environ.get(name) == nothing:
            del os.environ[name]
    _prepare_jax()
    if isinstance(command, Train):
        _divide_cpu(command.config.optimisation.batch_size)
    if not isinstance(command, FetchWeights):
        _require_device()


def _prepare_jax() -> None:
    """Lets JAX keep its compiled programs for the next run, where it can; a user's own settings win."""
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # programs with host callbacks can't be cached
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "softjax", "jax")
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that can't be written
        return
    if os.access(cache, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)


def _require_device() -> None:
    """Raises `ValueError` where JAX finds nothing to compute on, as when JAX_PLATFORMS names what isn't there."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        why = str(error).partition("\n")[0].partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        raise ValueError(
            f"JAX finds no device for JAX_PLATFORMS={wanted}{f' ({why})' if why else ''}. "
            "Unset it, or set it to cpu or to what is installed."
        ) from error


class _Output(io.FileIO):
    """Standard output that a run outlives: what a closed pipe (`| head`) no longer takes is dropped.

    Other failures, such as a full disk, are raised once, and not again when Python ends.
    """

    failed = False

    def write(self, data: Any, /) -> int | None:
        try:
            return io.FileIO.write(self, data)
        except OSError as error:
            if not self.failed and not isinstance(error, BrokenPipeError):
                self.failed = True
                raise OSError(f"standard output can't be written: {error.strerror}.") from error
            return len(data)


@contextmanager
def _lasting_output() -> Iterator[None]:
    """Standard output that can be closed, a pipe that ends early, or unable to show every character."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # stands for one that is closed, whose number a file opened later would get
    os.close(number)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    given = sys.stdout
    if given is None or (given is sys.__stdout__ and os.name != "nt"):  # Windows has a console of its own kind
        sys.stdout = _text_output(given)
    try:
        yield
    finally:
        lasting, sys.stdout = sys.stdout, given
        lasting.flush()


def _text_output(given: Any) -> io.TextIOWrapper:
    """Like `given`, with a question mark for what its encoding lacks."""
    if given is not None:
        given.flush()
    errors = getattr(given, "errors", "strict")
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=getattr(given, "encoding", "utf-8"),
        errors="replace" if errors in ("strict", "surrogateescape") else errors,
        line_buffering=getattr(given, "line_buffering", False),
        write_through=getattr(given, "write_through", False),
    )


def _divide_cpu(batch_size: int) -> None:
    """Makes JAX see as many CPU devices as the batch can be divided among: faster than threads in every operation."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = max(n for n in range(1, cores + 1) if batch_size % n == 0)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(devices))


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over trajectories with the time left; yields what is to be called with those done and all of them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("compiling", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total, description="trajectories")


@contextmanager
def _byte_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes; yields what is to be called with those done and all of them, 0 if that is not known."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


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
