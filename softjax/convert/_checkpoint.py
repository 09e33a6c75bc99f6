"""What every reader returns, and how every reader looks at a file: mapped, never loaded."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from softjax.convert._parameters import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file of torch's, in torch's names and axes.

    >>> checkpoint = sj.convert.read_checkpoint(sj.convert.shipped("classifier-binary") / "weights.safetensors")
    >>> checkpoint.layout, len(checkpoint.tensors)
    ('safetensors', 26)
    """

    layout: str
    """The kind of file: "EDM2 pickle", "torch zip" or "safetensors"."""
    tensors: Mapping[str, np.ndarray]
    """By name without `prefix`, in the precision of the file; read-only views of it where the format allows that."""
    class_name: str | None = None
    """Class of the network, where the file names it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Constructor arguments of the network, as far as the file gives them."""
    encoder: dict[str, Any] | None = None
    """What stands between pixels and the network's images, where the file says: `class_name`, and for latents
    `vae_name`, `scale` and `bias`."""
    key: str = ""
    """Path of the state dict in the file: "" for the whole file, else its keys, joined by dots."""
    prefix: str = ""
    """What all names begin with in the file."""


def map_file(path: Path | str) -> memoryview:
    """The bytes of a file, read when they are used; raises `FileNotFoundError`, or `CheckpointError` if it is empty."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing, or is no file.")
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise CheckpointError(f"{path} is empty.")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def recognise(path: Path | str) -> str:
    """The kind of file, from its first bytes: a `Checkpoint.layout`, or "index of shards".

    Raises `CheckpointError` saying what it is otherwise.
    """
    with map_file(path) as data:
        head, size = bytes(data[:64]), len(data)
    if head.startswith((b"\x80\x04", b"\x80\x05")):
        return "EDM2 pickle"
    if head.startswith(b"PK\x03\x04"):
        return "torch zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.lstrip().startswith(b"{") and str(path).endswith(".json"):
        return "index of shards"
    raise CheckpointError(
        f"{path} ({size} bytes) is {_guess(head)}. Wanted: an EDM2 network pickle (.pkl), a torch state_dict in zip "
        "format (.pth, .pt), a safetensors file or, for several, their index.json. If it was downloaded, get it again."
    )


def _guess(head: bytes) -> str:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or an error message of a server"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file it points to"
    if head.startswith(b"\x80\x02\x8a\x0a"):
        return "a torch file from before PyTorch 1.6: load it there and torch.save its state_dict again"
    if head.startswith(b"\x80"):
        return f"a pickle of protocol {head[1] if len(head) > 1 else '?'}"
    return f"no checkpoint that is known, it starts with {head[:16]!r}"
