"""The safetensors format, both ways, with one tensor in memory at a time where that is possible."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from softjax.convert._checkpoint import Checkpoint, map_file
from softjax.convert._parameters import CheckpointError
from softjax.convert._torch_tensors import CAST, STATE_DICT_NAME, require_name

_READ = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
_NAMES = {"F8": "float8", "F4": "float4", "F6": "float6"}
_CODES = {"float16": "F16", "float32": "F32", "float64": "F64"}


def read_safetensors(path: Path | str) -> Checkpoint:
    """The tensors of a safetensors file.

    Raises `FileNotFoundError`, or `CheckpointError` for a damaged file and for numbers of 8 bits and fewer.
    """
    map_file(path)
    try:
        with safe_open(path, "numpy") as file:
            names = [require_name(name, STATE_DICT_NAME) for name in file.keys()]  # noqa: SIM118
            codes = {name: file.get_slice(name).get_dtype() for name in names}
            for name, code in codes.items():
                if code not in _READ:
                    found = f"{_NAMES.get(code[:2], code)} numbers ({code})"
                    raise CheckpointError(f"{path}: tensor {name} is refused: it holds {found}: {CAST}.")
            return Checkpoint("safetensors", {name: file.get_tensor(name) for name in names})
    except CheckpointError:
        raise
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}") from error


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
