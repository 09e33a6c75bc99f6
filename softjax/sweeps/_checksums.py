"""Checksums of what a result holds: of arrays, of units in them, and of attributes."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def as_json(value: Any) -> Any:
    """What a value is once it has been written as JSON and read back; arrays become lists."""
    return json.loads(json.dumps(value, default=lambda one: np.asarray(one).tolist()))


def of_attributes(root: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    """Of the attributes of the group, which hold the checksums of everything else."""
    return digest(json.dumps([root, dict(attributes)], sort_keys=True).encode())


def of_metadata(path: Path | None, name: str) -> str:
    """Of the shape and names of an array; none in memory."""
    return "" if path is None else digest((path / name / "zarr.json").read_bytes())


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def of_array(values: np.ndarray) -> int:
    """Of all values of an array."""
    return zlib.crc32(_plain_nan(values).tobytes())


def _plain_nan(values: np.ndarray) -> np.ndarray:
    """The values with one kind of NaN: sign and payload of a NaN need not survive a copy."""
    if np.issubdtype(values.dtype, np.inexact) and np.any(missing := np.isnan(values)):
        values = values.copy()
        values[missing] = np.nan
    return np.ascontiguousarray(values)


def of_units(units: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One for each unit, which depends on its number too: what belongs to another is not taken for its own."""
    rows = (np.ascontiguousarray(row).tobytes() for row in _plain_nan(values))
    pairs = zip(units.tolist(), rows, strict=True)
    return np.asarray([zlib.crc32(row, zlib.crc32(unit.to_bytes(8, "little"))) for unit, row in pairs], np.uint32)
