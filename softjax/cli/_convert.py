"""Torch checkpoints: turning them into networks, and downloading them."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from softjax.cli._command import MORE_MEMORY, Command
from softjax.cli._output import byte_bar


@dataclass(frozen=True)
class Convert(Command):
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

    def carry_out(self) -> int:
        """Writes the folder."""
        from softjax.convert import convert

        with byte_bar() as progress:
            done = convert(
                self.source.expanduser(),
                self.out.expanduser(),
                head=self.head,
                key=self.key,
                prefix=self.prefix,
                options=self.options,
                progress=progress,
            )
        print(f"Network {done}: weights.safetensors and network.json")
        return 0

    def what_remains(self) -> str:
        """The folder is written whole or not at all."""
        return f"Nothing was written to {self.out}."

    def what_saves_memory(self) -> str:
        """Nothing in the options."""
        return MORE_MEMORY


@dataclass(frozen=True)
class FetchWeights(Command):
    """Downloads a published file by name, going on where an earlier download stopped."""

    name: tyro.conf.Positional[str]
    """Such as edm2-img64-s-1073741-0.075 or dinov2_vitb14_pretrain; a wrong one lists them all."""
    folder: Path | None = None
    """Where to put it; softjax's cache if not given."""

    uses_devices = False

    def carry_out(self) -> int:
        """Downloads what is missing."""
        from softjax.convert import fetch

        with byte_bar() as progress:
            done = fetch(self.name, self.folder, progress=progress)
        print(f"File {done}")
        return 0

    def what_remains(self) -> str:
        """What has come."""
        return "What has come is kept; the same command goes on."

    def what_saves_memory(self) -> str:
        """Nothing in the options."""
        return MORE_MEMORY
