"""Safetensors in several files: an index, `*.safetensors.index.json`, says which tensor is in which of them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softjax.convert._checkpoint import Checkpoint
from softjax.convert._parameters import CheckpointError, short
from softjax.convert._safetensors import read_safetensors

_SUFFIX = ".safetensors.index.json"
_MAX_INDEX = 2**26
_SHARD = re.compile(r".+-\d{5}-of-(\d{5})\.safetensors")


def locate(path: Path) -> Path:
    """The file to read: the index of a folder or of a shard, the only safetensors file of a folder, or `path` itself.

    Raises `CheckpointError` for a folder that holds no such file, or several, and for a shard without its index.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return path
    for index in _files(path.parent, _SUFFIX):
        if path.name in _named_shards(index):
            return index
    match = _SHARD.fullmatch(path.name)
    if match and int(match[1]) > 1:
        raise CheckpointError(f"{path} is one of {int(match[1])} files: put its index, *{_SUFFIX}, beside it.")
    return path


def read_index(path: Path) -> dict[str, str]:
    """The file name of the shard of each tensor. Raises `CheckpointError` for an index that is damaged.

    Shards must be in the folder of the index: a name with a path in it is refused.
    """
    if path.stat().st_size > _MAX_INDEX:
        raise CheckpointError(f"{path} is larger than an index of shards can be, {_MAX_INDEX} bytes.")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}, {error}.") from error
    shards: Any = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(
            f"{path} is no index of shards: it must be an object with a weight_map that is not empty."
        )
    for tensor, shard in shards.items():
        if not isinstance(shard, str) or not re.fullmatch(r"[^/\\:\x00]{1,200}\.safetensors", shard):
            raise CheckpointError(
                f"{path} says that {short(tensor)} is in {short(shard)}, which is no safetensors file beside it."
            )
    return shards


def read_sharded(path: Path) -> Checkpoint:
    """The tensors of all shards of an index; raises `CheckpointError` naming a shard or tensor that is missing."""
    wanted: dict[str, set[str]] = {}
    for tensor, shard in read_index(path).items():
        wanted.setdefault(shard, set()).add(tensor)
    for shard in wanted:
        if not (path.parent / shard).is_file():
            raise CheckpointError(f"{path} names the shard {shard}, which is missing: get it, into the same folder.")
    tensors: dict[str, np.ndarray] = {}
    for shard, names in wanted.items():
        found = read_safetensors(path.parent / shard).tensors
        _require_same(path, shard, names, found)
        tensors |= found
    return Checkpoint("safetensors", tensors)


def _require_same(path: Path, shard: str, wanted: set[str], found: Mapping[str, np.ndarray]) -> None:
    if missing := sorted(wanted - found.keys()):
        raise CheckpointError(f"{path}: the tensor {short(missing[0])} is missing in its shard {shard}.")
    if others := sorted(found.keys() - wanted):
        raise CheckpointError(
            f"{path}: the shard {shard} holds {short(others[0])}, which the index does not place there."
        )


def _in_folder(folder: Path) -> Path:
    found = _files(folder, _SUFFIX) or _files(folder, ".safetensors")
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found[:8]) or "no safetensors file"
    raise CheckpointError(f"{folder} is a folder with {names}: give one file, or a folder with one index of shards.")


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if path.is_file())


def _named_shards(index: Path) -> set[str]:
    """The shards of an index that stands beside a file, or none if it can't be read: it may belong to others."""
    try:
        return set(read_index(index).values())
    except CheckpointError:
        return set()
