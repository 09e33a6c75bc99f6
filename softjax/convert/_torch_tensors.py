"""Torch's way of pickling a tensor, in every file format: a storage of numbers, an offset, a size and strides."""

import re
from collections.abc import Callable
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from softjax.convert._parameters import CheckpointError, short
from softjax.convert._pickle import Global, Persistent, as_mapping, is_call, kind

_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
_TUPLES = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_LISTS = ("EMPTY_LIST", "APPEND", "APPENDS")
_DICTS = ("EMPTY_DICT", "SETITEM", "SETITEMS")
_MEMO = ("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET")
_OTHERS = ("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE")
OPCODES = frozenset((*_INTEGERS, *_TUPLES, *_LISTS, *_DICTS, *_MEMO, *_OTHERS))
"""What plain values are written with, in the protocol that torch uses."""

ORDERED_DICT = Global("collections", "OrderedDict")
TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
NARROW_TENSOR = Global("torch._utils", "_rebuild_tensor_v3")
"""Of numbers that have no storage class: float8, float4 and unsigned integers."""
PARAMETER = Global("torch._utils", "_rebuild_parameter")

STATE_DICT_NAME = r"\w[\w.]*"
"""Pattern of the names of tensors in a state dict."""

CAST = "save it as float16, bfloat16 or float32"
"""What to do about numbers that are not read."""
_CONTIGUOUS = "save it contiguous"

DTYPES = {
    Global("torch", f"{name}Storage"): np.dtype(dtype)
    for name, dtype in {
        "Half": "<f2",
        "Float": "<f4",
        "Double": "<f8",
        "BFloat16": jnp.bfloat16,
        "Long": "<i8",
        "Int": "<i4",
        "Short": "<i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "?",
    }.items()
}
"""Number type of each storage class."""
_NARROW = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2")
NARROW_NAMES = frozenset(
    {NARROW_TENSOR, Global("torch.storage", "UntypedStorage")}
    | {Global("torch", name) for name in (*_NARROW, "uint16", "uint32", "uint64")}
)
"""What tensors of such numbers are written with. They are named in the refusal, never read."""


def read_tensor(name: str, value: Any, read_storage: Callable[[Any], np.ndarray]) -> np.ndarray:
    """The tensor or parameter that `value` describes, as a view of its storage, read by `read_storage`.

    Raises `CheckpointError` for anything but a tensor that lies within its storage and fills what it spans there:
    contiguous, transposed or channels-last.
    """
    if is_call(value, PARAMETER, 3):
        _require(name, as_mapping(value.arguments[2]) == {}, "it is a parameter with hooks")
        value = value.arguments[0]
    if is_call(value, NARROW_TENSOR) and len(value.arguments) > 6:
        _require(name, False, f"it holds {_bare_name(value.arguments[6])} numbers: {CAST}")
    _require(name, is_call(value, TENSOR, 6, 7), f"it is {kind(value)}, wanted a tensor")
    storage, offset, size, stride, _, hooks, *metadata = value.arguments
    _require(name, as_mapping(hooks) == {}, "it has hooks")
    _require(name, all(m is None or as_mapping(m) == {} for m in metadata), "it has metadata")
    return _view(name, read_storage(storage), offset, size, stride)


def is_tensor(value: Any) -> bool:
    """Whether a value describes a tensor or a parameter, of whatever kind."""
    return any(is_call(value, function) for function in (TENSOR, PARAMETER, NARROW_TENSOR))


def read_identifier(value: Any, num_parts: int) -> tuple[np.dtype, str, int]:
    """Number type, key and count of a storage, from its persistent id; zip files have 5 parts, older ones a sixth."""
    parts = value.identifier if isinstance(value, Persistent) else None
    if not isinstance(parts, tuple) or len(parts) != num_parts:
        raise CheckpointError(f"a storage is refused: it is described by {kind(value)}.")
    what, storage, key, location, count, *view = parts
    good = (
        what == "storage"
        and isinstance(storage, Global)
        and storage in DTYPES
        and isinstance(key, str)
        and re.fullmatch(r"[0-9]{1,40}", key)
        and isinstance(location, str)
        and type(count) is int
        and count >= 0
        and view in ([], [None])
    )
    if not good:
        raise CheckpointError(f"a storage is refused: its description holds {', '.join(map(kind, parts))}.")
    return DTYPES[storage], key, count


def require_name(name: str, pattern: str = r"\w+") -> str:
    """Refuses names of modules and tensors that are not plain words."""
    if not re.fullmatch(pattern, name, re.ASCII) or len(name) > 500:
        raise CheckpointError(f"a tensor or module is called {ascii(name[:60])}, which is no such name.")
    return name


def _view(name: str, storage: np.ndarray, offset: Any, size: Any, stride: Any) -> np.ndarray:
    sizes_are_tuples = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 4
    _require(name, sizes_are_tuples, "its size and strides are not two tuples of one length, at most 4")
    numbers = (offset, *size, *stride)
    _require(name, all(type(n) is int and n >= 0 for n in numbers), "its offset, size or strides are not all counts")
    _require(name, 0 not in size, "it has no elements")
    order = sorted(range(len(size)), key=lambda axis: (-stride[axis], -size[axis]))
    order = [axis for axis in order if size[axis] == 1] + [axis for axis in order if size[axis] > 1]
    lengths = [size[axis] for axis in order]
    dense = all(
        n == 1 or stride[axis] == prod(lengths[i + 1 :]) for i, (axis, n) in enumerate(zip(order, lengths, strict=True))
    )
    _require(name, dense, f"its strides {short(stride)} leave or repeat numbers at size {short(size)}: {_CONTIGUOUS}")
    count = prod(size)
    inside = offset + count <= len(storage)
    _require(name, inside, f"it takes {short(count)} numbers from {short(offset)} on, its storage holds {len(storage)}")
    return storage[offset : offset + count].reshape(lengths).transpose(sorted(range(len(order)), key=order.__getitem__))


def _bare_name(dtype: Any) -> str:
    return dtype.name if isinstance(dtype, Global) else kind(dtype)


def _require(name: str, condition: bool, found: str) -> None:
    if not condition:
        raise CheckpointError(f"tensor {name} is refused: {found}.")
