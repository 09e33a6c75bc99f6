import gzip
import struct

import numpy as np
import pytest

from softjax.data import DataError
from softjax.data._idx import read_idx

VALUES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def idx(values=VALUES, magic=0x0803, sizes=None):
    return struct.pack(f">I{values.ndim}I", magic, *(sizes or values.shape)) + values.tobytes()


PACKED = gzip.compress(idx(), mtime=0)  # names of tests must not depend on the time


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images-idx3-ubyte.gz"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_arrays_come_back(path, pack):
    path.write_bytes(pack(idx()))
    np.testing.assert_array_equal(read_idx(path, (5, 4, 3)), VALUES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PACKED[:-9], "can't be unpacked.*cut off or damaged"),
        (PACKED[:30] + b"\xff" * 9 + PACKED[39:], "can't be unpacked"),
        (b"", "is no IDX file of bytes: it starts with nothing"),
        (idx(magic=0x0D03), "is no IDX file of bytes: it starts with 00 00 0d 03"),
        (idx(magic=0x0800), "is no IDX file of bytes"),
        (b"PNG" + idx(), "is no IDX file of bytes: it starts with 50 4e 47 00"),
        (idx()[:10], "ends within its header"),
        (idx()[:-1], "holds 59 values, its header announces 5x4x3 = 60"),
        (idx() + b"\0", "holds 61 values, its header announces 5x4x3 = 60"),
        (idx(sizes=(2**31, 2**31, 2**31)), f"holds 60 values, its header announces .* = {2**93}"),
        (idx(VALUES.reshape(4, 5, 3)), r"has shape \(4, 5, 3\), expected \(5, 4, 3\)"),
    ],
)
def test_other_contents_are_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path, (5, 4, 3))


def test_contents_of_another_checksum_are_refused_before_they_are_read(path):
    path.write_bytes(gzip.compress(b"anything"))
    with pytest.raises(DataError, match="checksum 0123456789abcdef"):
        read_idx(path, sha256="0123456789abcdef" * 4)
