"""A small part of Fashion-MNIST, made to pass for the whole; tests that need the whole are skipped without it."""

import gzip
import hashlib
from pathlib import Path

import pytest

from softjax.data import _fashion_mnist

FOLDER = Path(__file__).parent / "data" / "fashion-mnist-sample"
COUNTS = {"train": 200, "test": 100}
DEBIAN = _fashion_mnist._DEBIAN_FOLDER
needs_debian = pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="needs the real files: apt install dataset-fashion-mnist puts them in place"
)


def published_files():
    """The loader's table of files with the sample's sizes and checksums in place of the published ones."""
    return {
        (split, kind): (name, (COUNTS[split], *shape[1:]), _digest(FOLDER / name))
        for (split, kind), (name, shape, _) in _fashion_mnist._FILES.items()
    }


def take_the_sample_for_the_whole():
    """For processes of their own; tests use `monkeypatch` with `published_files`."""
    _fashion_mnist._FILES = published_files()


def _digest(path):
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
