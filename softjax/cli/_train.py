"""Training a network."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softjax._bar import bar_of
from softjax.cli._command import Command
from softjax.experiments._shared.config import SEEDS
from softjax.training.configs import ClassifierTraining, EDM2Training, FashionTraining

_LOG_SECONDS = 60.0  # between the lines of a training whose output is no terminal


@dataclass(frozen=True)
class Train(Command):
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

    def check(self) -> None:
        """Refuses seeds that would repeat those of others."""
        SEEDS.check("seed", self.config.seed)

    def devices_for(self) -> int:
        """Batches are divided among the cores."""
        return self.config.optimisation.batch_size

    def carry_out(self) -> int:
        """Trains, and says how far, how well and how fast: a bar, or lines in a log."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        from softjax import training

        kinds = {
            FashionTraining: training.train_fashion,
            EDM2Training: training.train_edm2,
            ClassifierTraining: training.train_classifier,
        }
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with bar_of(*columns) as update:
            logged = time.monotonic()

            def report(state: training.Report) -> None:
                nonlocal logged
                if sys.stdout.isatty():
                    update(completed=state.step, total=state.num_steps, description=state.text)
                elif time.monotonic() - logged >= _LOG_SECONDS:
                    print(f"step {state.step} of {state.num_steps}: {state.text}", flush=True)
                    logged = time.monotonic()

            folder = kinds[type(self.config)](
                self.config, self.out.expanduser(), resume=self.resume, folder=self.data, report=report
            )
        print(f"Network {folder}: weights.safetensors, and network.json with the losses")
        return 0

    def what_remains(self) -> str:
        """The last checkpoint."""
        return f"{self.out} keeps the last checkpoint, if any; --resume goes on."

    def what_saves_memory(self) -> str:
        """Fewer activations at once."""
        return "Take a smaller --optimisation.microbatch."
