"""State dicts in torch's zip format (`.pth`, `.pt`): a pickle of names, and one uncompressed entry for each storage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softjax.convert._checkpoint import Checkpoint, map_file
from softjax.convert._parameters import CheckpointError
from softjax.convert._pickle import Call, Dialect, as_mapping, kind, read_pickle
from softjax.convert._torch_tensors import (
    DTYPES,
    OPCODES,
    ORDERED_DICT,
    PARAMETER,
    STATE_DICT_NAME,
    TENSOR,
    read_identifier,
    read_tensor,
    require_name,
)
from softjax.convert._zip import zip_entries

_DIALECT = Dialect(
    protocols=frozenset({2}),
    opcodes=OPCODES | {"GLOBAL", "BINPERSID", "REDUCE", "BUILD"},
    names=frozenset({ORDERED_DICT, TENSOR, PARAMETER, *DTYPES}),
    mappings=frozenset({ORDERED_DICT}),
    stateful=frozenset({ORDERED_DICT}),
)
_MAX_SHARING = 4  # bytes of all tensors, in units of the file's size


def read_torch_zip(path: Path | str) -> Checkpoint:
    """The tensors of a state dict that `torch.save` wrote, as views of the file, which is mapped into memory.

    Nothing in the file is executed, and torch is not needed. Raises `FileNotFoundError`, or `CheckpointError` naming
    what was found for a file that is damaged, malicious, compressed, or holds anything but named tensors.
    """
    data = map_file(path)
    entries = zip_entries(data)
    folders = {name.partition("/")[0] for name in entries}
    _require(len(folders) == 1, f"the archive has {len(folders)} folders, wanted one")
    folder = folders.pop()
    _require(f"{folder}/data.pkl" in entries, "the archive holds no data.pkl")
    _require(f"{folder}/constants.pkl" not in entries, "it is a TorchScript program, wanted a state_dict")
    order = entries.get(f"{folder}/byteorder", memoryview(b"little"))
    _require(order == b"little", "its numbers are not little-endian")
    pickle = entries[f"{folder}/data.pkl"]
    value, end = read_pickle(pickle, 0, _DIALECT)
    _require(end == len(pickle), "bytes follow the end of the pickle")

    def storage(value: Any) -> np.ndarray:
        return _read_storage(value, folder, entries)

    tensors = {require_name(k, STATE_DICT_NAME): read_tensor(k, v, storage) for k, v in _state_dict(value).items()}
    total = sum(tensor.nbytes for tensor in tensors.values())
    _require(total <= _MAX_SHARING * len(data), f"its tensors claim {total} bytes of a file of {len(data)}")
    return Checkpoint("torch zip", tensors)


def _state_dict(value: Any) -> Mapping[str, Any]:
    """The entries of a state dict; the metadata that torch's modules leave with theirs is dropped."""
    if isinstance(value, Call) and value.function == ORDERED_DICT and value.arguments == ():
        state = {} if value.state is None else as_mapping(value.state)
        _require(state is not None and state.keys() <= {"_metadata"}, "its state_dict has attributes besides _metadata")
        return value.entries
    entries = as_mapping(value)
    if entries is None:
        raise CheckpointError(f"the torch file is refused: it holds {kind(value)}, wanted a state_dict.")
    return entries


def _read_storage(value: Any, folder: str, entries: Mapping[str, memoryview]) -> np.ndarray:
    """The numbers that a persistent id stands for: one entry of the archive."""
    dtype, key, count = read_identifier(value, 5)
    _require(f"{folder}/data/{key}" in entries, f"the archive has no entry data/{key}")
    data = entries[f"{folder}/data/{key}"]
    fits = count * dtype.itemsize == len(data)
    _require(fits, f"data/{key} claims {count} numbers of {dtype}, and holds {len(data)} bytes")
    return np.frombuffer(data, dtype)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise CheckpointError(f"the torch file is refused: {what}.")
