"""State dicts in torch's zip format (`.pth`, `.pt`): a pickle of names, and one uncompressed entry for each storage.

A file may hold one state dict, or dicts of them beside plain values, as training scripts save them.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softjax.convert._checkpoint import Checkpoint, map_file
from softjax.convert._parameters import CheckpointError, short
from softjax.convert._pickle import Call, Dialect, as_mapping, kind, read_pickle
from softjax.convert._torch_tensors import (
    DTYPES,
    NARROW_NAMES,
    OPCODES,
    ORDERED_DICT,
    PARAMETER,
    STATE_DICT_NAME,
    TENSOR,
    is_tensor,
    read_identifier,
    read_tensor,
    require_name,
)
from softjax.convert._wrapping import choose_state_dict
from softjax.convert._zip import zip_entries

_NEWER = {"FRAME", "SHORT_BINUNICODE", "BINUNICODE8", "MEMOIZE", "STACK_GLOBAL"}  # protocols 4 and 5
_DIALECT = Dialect(
    protocols=frozenset({2, 3, 4, 5}),
    opcodes=OPCODES | _NEWER | {"BINFLOAT", "GLOBAL", "BINPERSID", "REDUCE", "BUILD"},
    names=frozenset({ORDERED_DICT, TENSOR, PARAMETER, *DTYPES}) | NARROW_NAMES,
    mappings=frozenset({ORDERED_DICT}),
    stateful=frozenset({ORDERED_DICT}),
    keys=(str, int),  # optimisers number their parameters
)
_MAX_SHARING = 4  # bytes of all tensors, in units of the file's size
_MAX_NESTING, _MAX_KEY = 4, 200


def read_torch_zip(path: Path | str, key: str | None = None, prefix: str | None = None) -> Checkpoint:
    """The tensors of a state dict that `torch.save` wrote, as views of the file, which is mapped into memory.

    `key` is the path of the state dict in a file of several, such as "ema" or "checkpoint.ema"; without it, the only
    one with the tensors of a known network (below `prefix`, if given) is taken. Plain values are dropped.
    Nothing in the file is executed, and torch is not needed. Raises `FileNotFoundError`, or `CheckpointError` naming
    what was found for a file that is damaged, malicious, compressed, or holds anything but tensors and plain values.
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

    state_dicts = _state_dicts(value)
    chosen = choose_state_dict(state_dicts, key, prefix)
    tensors = {require_name(k, STATE_DICT_NAME): read_tensor(k, v, storage) for k, v in state_dicts[chosen].items()}
    total = sum(tensor.nbytes for tensor in tensors.values())
    _require(total <= _MAX_SHARING * len(data), f"its tensors claim {total} bytes of a file of {len(data)}")
    return Checkpoint("torch zip", tensors, key=chosen)


def _state_dicts(value: Any) -> dict[str, dict[str, Any]]:
    """The tensors of each dict that holds any, by the keys that lead there, joined by dots; "" is the file's own."""
    top = _entries(value)
    if top is None:
        raise CheckpointError(f"the torch file is refused: it holds {kind(value)}, wanted a state_dict.")
    found, waiting, seen = {}, deque([("", 0, top)]), {id(top)}
    while waiting:
        path, level, entries = waiting.popleft()
        named = {name: entry for name, entry in entries.items() if isinstance(name, str)}
        if tensors := {name: entry for name, entry in named.items() if is_tensor(entry)}:
            found[path] = tensors
        for name, entry in named.items():
            inner = _entries(entry) if level < _MAX_NESTING and len(name) <= _MAX_KEY else None
            if inner and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append((f"{path}.{name}" if path else name, level + 1, inner))
    _require(bool(found), f"it holds no tensors, its entries are {', '.join(map(short, list(top)[:8])) or 'none'}")
    return found


def _entries(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a dict, if it is one; the metadata that torch's modules leave with theirs is dropped."""
    if isinstance(value, Call) and value.function == ORDERED_DICT and value.arguments == ():
        state = {} if value.state is None else as_mapping(value.state)
        _require(state is not None and state.keys() <= {"_metadata"}, "its state_dict has attributes besides _metadata")
        return value.entries
    return as_mapping(value)


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
