"""The pickles that EDM2's weights are published in: training snapshots and post-hoc EMA reconstructions.

A dict with the network under `ema`: torch modules as records of attributes, each with the source text of its class,
which is dropped unread, and tensors as files of torch's oldest format inside byte strings.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softjax.convert._checkpoint import Checkpoint, map_file
from softjax.convert._edm2 import edm2_config
from softjax.convert._edm2_layout import Module, edm2_modules, edm2_shapes
from softjax.convert._parameters import CheckpointError
from softjax.convert._pickle import Call, Dialect, Global, as_mapping, is_call, kind, read_pickle
from softjax.convert._torch_tensors import (
    OPCODES,
    ORDERED_DICT,
    PARAMETER,
    TENSOR,
    read_identifier,
    read_tensor,
    require_name,
)

_EASY_DICT = Global("dnnlib.util", "EasyDict")
_PERSISTENT = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
_MODULE_DICT = Global("torch.nn.modules.container", "ModuleDict")
_FROM_BYTES = Global("torch.storage", "_load_from_bytes")
_NDARRAY, _DTYPE = Global("numpy", "ndarray"), Global("numpy", "dtype")
_ARRAYS = {Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_BUFFERS = {Global(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
"""How NumPy writes arrays in protocols up to 4, and in protocol 5."""

_OUTER = Dialect(
    protocols=frozenset({4, 5}),
    opcodes=OPCODES - {"BINPUT", "LONG_BINPUT"}
    | frozenset({"FRAME", "SHORT_BINUNICODE", "BINUNICODE8", "MEMOIZE", "STACK_GLOBAL", "EMPTY_SET", "ADDITEMS"})
    | frozenset({"BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"})
    | frozenset({"NEWOBJ", "REDUCE", "BUILD"}),
    names=frozenset({_EASY_DICT, _PERSISTENT, ORDERED_DICT, _MODULE_DICT, PARAMETER, TENSOR, _FROM_BYTES})
    | frozenset({_NDARRAY, _DTYPE} | _ARRAYS | _BUFFERS),
    mappings=frozenset({_EASY_DICT, ORDERED_DICT}),
    stateful=frozenset({_MODULE_DICT, _DTYPE} | _ARRAYS),
)
_PLAIN = Dialect(frozenset({2}), OPCODES)
_STORAGES = frozenset(Global("torch", f"{name}Storage") for name in ("Half", "Float", "Double"))
_INNER = Dialect(frozenset({2}), OPCODES | {"GLOBAL", "BINPERSID"}, _STORAGES)

_MAGIC, _VERSION, _CLASS_VERSION = 0x1950A86A20F9469CFC6C, 1001, 6
_MAX_LIST = 64


def read_edm2_pickle(path: Path | str) -> Checkpoint:
    """The network in a published EDM2 file, its tensors as views of the file, which is mapped into memory.

    Nothing in the file is executed, and neither torch nor EDM2's own code is needed. Raises `FileNotFoundError`, or
    `CheckpointError` naming what was found where for a file that is damaged, malicious or of another network.
    """
    data = map_file(path)
    value, end = read_pickle(data, 0, _OUTER)
    _require(end == len(data), f"{len(data) - end} bytes follow the end of the pickle")
    top = _mapping(value, "the file")
    objects = {name: _persistent(entry, kind(name)) for name, entry in top.items() if is_call(entry, _PERSISTENT)}
    _require("ema" in objects, "it holds no network under 'ema'")
    class_name, state = objects["ema"]
    _require(class_name == "Precond", f"it holds a network of class {kind(class_name)}, wanted EDM2's Precond")
    _require(state.get("_init_args") == (), "the network was not constructed from keyword arguments alone")
    given = _mapping(state.get("_init_kwargs"), "_init_kwargs")
    options = {require_name(name): _flat(value, name) for name, value in given.items()}
    wanted = edm2_modules(edm2_config(options))
    walk = _Walk(wanted)
    walk.module(top["ema"], "")
    missing = [path for path in wanted if path not in walk.visited]
    _require(not missing, f"modules are missing: {', '.join(missing[:8])}")
    _require_shapes(walk.tensors, edm2_shapes(wanted))
    encoder = _encoder(*objects["encoder"]) if "encoder" in objects else None
    return Checkpoint("EDM2 pickle", walk.tensors, class_name, options, encoder)


class _Walk:
    """Collects the tensors of a network's modules, each of which must be what its place in the network asks for."""

    def __init__(self, wanted: Mapping[str, Module]):
        self.wanted = wanted
        self.visited: set[str] = set()
        self.seen: set[int] = set()
        self.tensors: dict[str, np.ndarray] = {}

    def module(self, value: Any, path: str) -> None:
        """Compares one module and everything below it; the depth is bounded by that of the paths that are wanted."""
        _require(path in self.wanted, f"module {path} has no place in a network with these arguments")
        wanted, shown = self.wanted[path], path or "the network"
        self.once(value, shown)
        self.visited.add(path)
        if is_call(value, _MODULE_DICT):
            class_name, state = "ModuleDict", _mapping(value.state, shown)
        else:
            class_name, state = _persistent(value, shown)
        _require(class_name == wanted.class_name, f"{shown} is of class {kind(class_name)}, wanted {wanted.class_name}")
        _require_attributes(state, wanted.attributes, shown)
        prefix = f"{path}." if path else ""
        for group in ("_parameters", "_buffers"):
            for name, entry in _mapping(state.get(group), f"{group} of {shown}").items():
                if entry is not None:
                    full = prefix + require_name(name)
                    self.tensors[full] = read_tensor(full, entry, self.storage)
        for name, child in _mapping(state.get("_modules"), f"_modules of {shown}").items():
            self.module(child, prefix + require_name(name))

    def storage(self, value: Any) -> np.ndarray:
        self.once(value, "a storage")
        return _read_storage(value)

    def once(self, value: Any, what: str) -> None:
        _require(id(value) not in self.seen, f"{what} occurs in two places")
        self.seen.add(id(value))


def _persistent(value: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Class name and attributes of a persistent object; the source text that comes with it is dropped unread."""
    _require(is_call(value, _PERSISTENT) and len(value.arguments) == 1, f"{where} is {kind(value)}, wanted an object")
    meta = _mapping(value.arguments[0], where)
    keys = {"type", "version", "module_src", "class_name", "state"}
    _require(meta.keys() == keys, f"{where} must have the entries {', '.join(sorted(keys))}, and no others")
    _require(meta["type"] == "class", f"{where} is of type {kind(meta['type'])}, wanted 'class'")
    version = meta["version"]
    _require(type(version) is int and version == _CLASS_VERSION, f"{where} has version {kind(version)}, wanted 6")
    for key in ("module_src", "class_name"):
        _require(isinstance(meta[key], str), f"{key} of {where} is {kind(meta[key])}, wanted text")
    return meta["class_name"], _mapping(meta["state"], f"the state of {where}")


def _require_attributes(state: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    ignored = {"training", "use_fp16"}
    for name in ignored & state.keys():
        _require(isinstance(state[name], bool), f"{name} of {where} is {kind(state[name])}, wanted True or False")
    found = {name: value for name, value in state.items() if not name.startswith("_") and name not in ignored}
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        _require(name in wanted, f"{where} has an unknown attribute {kind(name)}")
        _require(name in found, f"{where} has no attribute {name}, wanted {wanted[name]}")
        value = _flat(found[name], f"{name} of {where}")
        same = value == (list(wanted[name]) if isinstance(wanted[name], tuple) else wanted[name])
        _require(same, f"{name} of {where} is {value!r}, but the network's arguments say {wanted[name]}")
    read = {"_parameters", "_buffers", "_modules", "_init_args", "_init_kwargs"}
    for name in state.keys() - found.keys() - ignored - read:
        inert = state[name] is None or isinstance(state[name], bool) or as_mapping(state[name]) == {}
        _require(inert or state[name] in (set(), []), f"{kind(name)} of {where} is not empty")


def _require_shapes(tensors: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is not a tensor of this network" for name in tensors if name not in wanted]
    problems += [
        f"{name} has shape {tensor.shape}, wanted {wanted[name]}"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name]
    ]
    _require(not problems, "; ".join(problems[:8]))


def _read_storage(value: Any) -> np.ndarray:
    """The numbers of a storage: five small pickles, a count, then the raw numbers to the end of the byte string."""
    given = is_call(value, _FROM_BYTES) and len(value.arguments) == 1 and isinstance(value.arguments[0], memoryview)
    _require(given, f"a storage is {kind(value)}, wanted bytes")
    data, parts, at = value.arguments[0], [], 0
    for dialect in (_PLAIN, _PLAIN, _PLAIN, _INNER, _PLAIN):
        part, at = read_pickle(data, at, dialect)
        parts.append(part)
    magic, version, system, storage, keys = parts
    _require(magic == _MAGIC and version == _VERSION, "a storage does not begin as torch's format does")
    little = isinstance(system, dict) and system.get("little_endian") is True
    version = little and system.get("protocol_version")
    _require(version == _VERSION, "a storage is big-endian, or not of version 1001")
    dtype, key, count = read_identifier(storage, 6)
    _require(keys == [key], "a storage's key is not that of its list of keys")
    _require(len(data) - at >= 8, "a storage is cut off")
    again = struct.unpack("<q", data[at : at + 8])[0]
    there = len(data) - at - 8
    agree = count == again and count * dtype.itemsize == there
    _require(agree, f"a storage claims {count} and {again} numbers of {dtype}, and holds {there} bytes")
    return np.frombuffer(data, dtype, count, at + 8)


def _encoder(class_name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """What stands between pixels and the network's images."""
    if class_name == "StandardRGBEncoder":
        return {"class_name": class_name}
    _require(class_name == "StabilityVAEEncoder", f"the encoder is of unknown class {kind(class_name)}")
    name = state.get("vae_name")
    _require(isinstance(name, str) and len(name) < 200, f"vae_name of the encoder is {kind(name)}, wanted text")
    return {"class_name": class_name, "vae_name": name} | {
        key: _read_vector(state.get(key), f"{key} of the encoder") for key in ("scale", "bias")
    }


def _read_vector(value: Any, where: str) -> list[float]:
    """A short one-dimensional NumPy array of floats."""
    shape, dtype, data = _array_parts(value, where)
    codes = {("f4", False, True): "f4", ("f8", False, True): "f8"}
    code = codes.get(dtype.arguments) if is_call(dtype, _DTYPE) and _is_flat(dtype.arguments) else None
    little = code is not None and isinstance(dtype.state, tuple) and dtype.state[:2] == (3, "<")
    _require(little, f"{where} has no little-endian float type")
    fits = type(shape) is tuple and len(shape) == 1 and type(shape[0]) is int and 0 < shape[0] <= _MAX_LIST
    _require(
        fits and isinstance(data, memoryview) and len(data) == shape[0] * np.dtype(code).itemsize,
        f"{where} is no vector of the size it claims",
    )
    return [float(number) for number in np.frombuffer(data, f"<{code}")]


def _array_parts(value: Any, where: str) -> tuple[Any, Any, Any]:
    """Shape, number type and bytes of a NumPy array, in either way of writing one."""
    if isinstance(value, Call) and value.function in _BUFFERS and value.state is None and len(value.arguments) == 4:
        data, dtype, shape, order = value.arguments
        _require(order in ("C", "F"), f"{where} has elements in the order {kind(order)}")
        return shape, dtype, data
    made = isinstance(value, Call) and value.function in _ARRAYS and isinstance(value.state, tuple)
    _require(made and len(value.state or ()) == 5, f"{where} is {kind(value)}, wanted an array")
    state: Any = value.state
    version, shape, dtype, fortran, data = state
    _require(version == 1 and fortran is False, f"{where} is an array of another version or order")
    return shape, dtype, data


def _mapping(value: Any, where: str) -> dict[str, Any]:
    entries = as_mapping(value)
    if entries is None:
        raise CheckpointError(f"{_REFUSED} {where} is {kind(value)}, wanted a dict.")
    return entries


def _flat(value: Any, where: str) -> Any:
    """A plain value, or a short list of plain values."""
    _require(not isinstance(value, str) or len(value) < 200, f"{where} is a long text")
    if isinstance(value, (list, tuple)):
        _require(len(value) <= _MAX_LIST and _is_flat(value), f"{where} is no short list of numbers")
        return list(value)
    _require(_is_flat((value,)), f"{where} is {kind(value)}, wanted a number, text or a list")
    return value


def _is_flat(values: Any) -> bool:
    """Whether all are plain values, none of them an integer of more digits than any network has."""
    return all(
        value is None or isinstance(value, (float, str)) or (isinstance(value, int) and abs(value) < 2**53)
        for value in values
    )


_REFUSED = "this is not a network that can be read:"


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise CheckpointError(f"{_REFUSED} {what}.")
