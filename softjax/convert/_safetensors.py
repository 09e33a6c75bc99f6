"""The safetensors format, both ways, with one tensor in memory at a time where that is possible."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from softjax.convert._checkpoint import Checkpoint, map_file
from softjax.convert._parameters import CheckpointError
from softjax.convert._torch_tensors import STATE_DICT_NAME, require_name

_CODES = {"float16": "F16", "float32": "F32", "float64": "F64"}


def read_safetensors(path: Path | str) -> Checkpoint:
    """The tensors of a safetensors file; raises `FileNotFoundError`, or `CheckpointError` for a damaged file."""
    map_file(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}") from error
    return Checkpoint("safetensors", {require_name(name, STATE_DICT_NAME): v for name, v in tensors.items()})


def write_safetensors(
    path: Path | str,
    tensors: Mapping[str, np.ndarray],
    dtype: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes tensors as float16, float32 or float64; `progress` gets the bytes written so far, and in all."""
    size, header, total = np.dtype(dtype).itemsize, {}, 0
    for name, value in tensors.items():
        end = total + value.size * size
        header[name] = {"dtype": _CODES[dtype], "shape": value.shape, "data_offsets": (total, end)}
        total = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, value in tensors.items():
            file.write(np.ascontiguousarray(value, np.dtype(dtype).newbyteorder("<")).data)
            if progress:
                progress(header[name]["data_offsets"][1], total)
