"""Zip archives of uncompressed entries, as torch writes them: the bytes of each entry, without a copy.

Python's `zipfile` would decompress, and would build objects for as many entries as a file claims.
"""

import struct

from softjax.convert._parameters import CheckpointError
from softjax.convert._pickle import kind

_MAX_ENTRIES = 100_000
_ENTRY = "<4s4xHH8xIIHHH8xI"
_LONG = 0xFFFFFFFF  # stands for a number that is in the zip64 field


def zip_entries(data: memoryview) -> dict[str, memoryview]:
    """Views of every entry by name. Raises `CheckpointError` for a damaged, compressed or commented archive."""
    count, at, end = _directory(data)
    _require(count <= _MAX_ENTRIES, f"it has {count} entries, the most that is read is {_MAX_ENTRIES}")
    entries: dict[str, memoryview] = {}
    for _ in range(count):
        signature, flags, method, packed, size, *lengths, start = _unpack(_ENTRY, data, at)
        _require(signature == b"PK\x01\x02", "its directory is damaged")
        at += struct.calcsize(_ENTRY)
        name = _text(_view(data, at, lengths[0]))
        extra = _view(data, at + lengths[0], lengths[1])
        size, packed, start = _long_numbers(extra, size, packed, start)
        plain = method == 0 and not flags & 1 and size == packed
        _require(plain, f"the entry {kind(name)} is compressed or encrypted; torch.save writes neither")
        _require(name not in entries, f"the entry {kind(name)} is there twice")
        entries[name] = _content(data, name, start, size)
        at += sum(lengths)
    _require(at == end, "its directory has another size than it says")
    return entries


def _directory(data: memoryview) -> tuple[int, int, int]:
    """Number of entries, start and end of the directory, from the record at the end of the file."""
    at = len(data) - 22
    _require(at >= 0 and data[at : at + 4] == b"PK\x05\x06", "it is cut off: its end is not there")
    count, size, start = _unpack("<10xHII2x", data, at)
    if at >= 20 and data[at - 20 : at - 16] == b"PK\x06\x07":
        (at,) = _unpack("<8xQ4x", data, at - 20)
        signature, count, size, start = _unpack("<4s28xQQQ", data, at)
        _require(signature == b"PK\x06\x06", "its zip64 record is damaged")
    _require(start + size <= at, "its directory lies outside of it")
    return count, start, start + size


def _long_numbers(extra: memoryview, *numbers: int) -> list[int]:
    """Sizes and places beyond 4 GB, which stand in the extra field with identifier 1, in this order."""
    while len(extra) >= 4:
        identifier, length = struct.unpack("<HH", extra[:4])
        if identifier == 1:
            field = extra[4 : 4 + length]
            long = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            return [next(long, number) if number == _LONG else number for number in numbers]
        extra = extra[4 + length :]
    return list(numbers)


def _content(data: memoryview, name: str, start: int, size: int) -> memoryview:
    signature, name_length, extra_length = _unpack("<4s22xHH", data, start)
    _require(signature == b"PK\x03\x04", f"the entry {kind(name)} is not where the directory says")
    return _view(data, start + 30 + name_length + extra_length, size)


def _text(raw: memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("the archive is refused: the name of an entry is not UTF-8.") from error


def _unpack(code: str, data: memoryview, at: int) -> tuple:
    return struct.unpack(code, _view(data, at, struct.calcsize(code)))


def _view(data: memoryview, at: int, size: int) -> memoryview:
    _require(at + size <= len(data), "it is cut off, or points beyond its end")
    return data[at : at + size]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise CheckpointError(f"the archive is refused: {what}.")
