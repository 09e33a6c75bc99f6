"""Writes state dicts in torch's zip format from plain arrays, without torch, and archives that are not quite that."""

import io
import struct
import zipfile

import numpy as np
from convert.pickle_emitter import Emitter, Global, Persistent, Reduce

STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    return b"J" + struct.pack("<i", value)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(array, key, offset=0, size=None, stride=None, count=None, kind="storage", storage=None):
    size = array.shape if size is None else size
    stride = [int(np.prod(size[axis + 1 :])) for axis in range(len(size))] if stride is None else stride
    storage = storage or STORAGES[array.dtype.name]
    identifier = b"(" + text(kind) + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cpu")
    identifier += integer(array.size if count is None else count) + b"tQ"
    arguments = identifier + integer(offset) + integers(size) + integers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state_dict_pickle(tensors, metadata=True, **bend):
    """`bend` replaces the opcodes of a tensor by name."""
    body = b"".join(text(name) + bend.get(name, tensor(a, str(i))) for i, (name, a) in enumerate(tensors.items()))
    state = b"}" + text("_metadata") + b"ccollections\nOrderedDict\n)Rsb" if metadata else b""
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + body + b"u" + state + b"."


def archive(entries, compression=zipfile.ZIP_STORED):
    """Bytes of a zip of (name, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def torch_zip(tensors, folder="archive", extra=(), pickle=None, compression=zipfile.ZIP_STORED):
    entries = [("data.pkl", state_dict_pickle(tensors) if pickle is None else pickle), ("version", b"3\n"), *extra]
    entries += [(f"data/{i}", np.ascontiguousarray(a).tobytes()) for i, a in enumerate(tensors.values())]
    return archive([(f"{folder}/{name}", content) for name, content in entries], compression)


def training_file(content, protocol=2):
    """A zip of what a training script saves: arrays in dicts and lists, at any depth, beside plain values."""
    arrays = []
    if protocol == 2:
        pickle = b"\x80\x02" + _plain(content, arrays) + b"."
    else:
        pickle = Emitter(protocol=protocol).bytes(_described(content, arrays))
    return torch_zip({str(i): array for i, array in enumerate(arrays)}, pickle=pickle)


def _plain(value, arrays):
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return tensor(value, str(len(arrays) - 1))
    if isinstance(value, dict):
        return b"}(" + b"".join(_plain(k, arrays) + _plain(v, arrays) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_plain(v, arrays) for v in value) + b"e"
    if isinstance(value, bool) or value is None:
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    codes = {float: lambda: b"G" + struct.pack(">d", value), int: lambda: integer(value), str: lambda: text(value)}
    return codes[type(value)]()


def _described(value, arrays):
    """The tree with arrays as protocols 4 and 5 describe tensors."""
    if isinstance(value, dict):
        return {name: _described(entry, arrays) for name, entry in value.items()}
    if isinstance(value, list):
        return [_described(entry, arrays) for entry in value]
    if not isinstance(value, np.ndarray):
        return value
    arrays.append(value)
    storage = Global("torch", STORAGES[value.dtype.name])
    identifier = Persistent("storage", storage, str(len(arrays) - 1), "cpu", value.size)
    stride = tuple(int(np.prod(value.shape[axis + 1 :])) for axis in range(value.ndim))
    hooks = Reduce(Global("collections", "OrderedDict"))
    return Reduce(Global("torch._utils", "_rebuild_tensor_v2"), identifier, 0, value.shape, stride, False, hooks)
