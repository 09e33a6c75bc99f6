"""The IDX format of MNIST-like data sets: a four-byte magic number, the sizes of the axes, then the values."""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

_UNSIGNED_BYTE = 8  # the only element type of these data sets


class DataError(ValueError):
    """A data file that is damaged, or not the one it should be.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = pathlib.Path(folder, "t10k-images-idx3-ubyte.gz").write_bytes(b"another file")
    ...     try:
    ...         sj.data.load_fashion_mnist("test", folder)
    ...     except sj.data.DataError:
    ...         print("not the published file")
    not the published file
    """


def read_idx(path: Path, shape: tuple[int, ...] | None = None, sha256: str | None = None) -> np.ndarray:
    """The array of bytes in an IDX file, gzipped or not.

    Checks the SHA-256 of the unpacked bytes, where one is given, and the `shape`. Raises `DataError` for anything that
    is not a whole IDX file of bytes with these properties.
    """
    content = _unpack(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is damaged or another file: its contents do not have the checksum {sha256[:16]}….")
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or content[3] == 0:
        raise DataError(f"{path} is no IDX file of bytes: it starts with {content[:4].hex(' ') or 'nothing'}.")
    ndim = content[3]
    if len(content) < 4 + 4 * ndim:
        raise DataError(f"{path} ends within its header.")
    sizes = struct.unpack_from(f">{ndim}I", content, 4)
    found, wanted = len(content) - 4 - 4 * ndim, int(np.prod(sizes, dtype=object))
    if found != wanted:
        raise DataError(f"{path} holds {found} values, its header announces {'x'.join(map(str, sizes))} = {wanted}.")
    if shape is not None and sizes != shape:
        raise DataError(f"{path} has shape {sizes}, expected {shape}.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(sizes)


def _unpack(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be unpacked ({error}); it is cut off or damaged. Get it again.") from error
