"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017; MIT licence): 70 000 grey images of clothes, 28 x 28, ten classes."""

import os
from pathlib import Path
from typing import Literal

from softjax._checks import require_option
from softjax.data._idx import DataError, read_idx
from softjax.data._images import LabelledImages

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

Split = Literal["train", "test"]

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# SHA-256 of the unpacked bytes: packed ones differ between distributors by the gzip header.
_FILES = {
    ("train", "images"): (
        "train-images-idx3-ubyte.gz",
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    ("train", "labels"): (
        "train-labels-idx1-ubyte.gz",
        (60_000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    ("test", "images"): (
        "t10k-images-idx3-ubyte.gz",
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    ("test", "labels"): (
        "t10k-labels-idx1-ubyte.gz",
        (10_000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def load_fashion_mnist(
    split: Split = "train", folder: Path | str | None = None, *, download: bool = True
) -> LabelledImages:
    """The images (N, 28, 28) and labels (N,) of a split, as bytes; N is 60 000 for "train", 10 000 for "test".

    * `split`: "train" or "test";
    * `folder`: of the four files, as they are published;
    * `download`: whether they may be downloaded, where neither Debian's package nor the cache has them.

    Looked for in `folder` if given; else in Debian's package, then in softjax's cache. Every file's contents are
    checked by their SHA-256. Raises `FileNotFoundError` saying how to get the files, and `DataError` for files that are
    not the published ones.

    >>> data = sj.data.load_fashion_mnist("test")  # doctest: +SKIP
    >>> data.images.shape, sj.data.FASHION_MNIST_CLASSES[data.labels[0]]  # doctest: +SKIP
    ((10000, 28, 28), 'ankle boot')
    """
    require_option("split", split, ("train", "test"))
    images, labels = (
        read_idx(_locate(name, folder, download), shape, digest)
        for name, shape, digest in (_FILES[split, "images"], _FILES[split, "labels"])
    )
    return LabelledImages(images, labels)


def _locate(name: str, folder: Path | str | None, download: bool) -> Path:
    """Where a file lies, packed or unpacked; fetches it if need be."""
    searched = []
    for place in [Path(folder)] if folder is not None else [_DEBIAN_FOLDER, None]:
        searched.append(place or cache_folder())  # only now: there may be no cache, and no need for one
        for path in (searched[-1] / name, searched[-1] / name.removesuffix(".gz")):
            if path.is_file():
                return path
    if folder is not None or not download:
        raise FileNotFoundError(f"{name} is not in {' or '.join(map(str, searched))}. {_REMEDY}")
    return _download(name)


def _download(name: str) -> Path:
    import pooch

    try:
        path = pooch.retrieve(_URL + name, None, name, cache_folder())
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{name} could not be downloaded ({type(error).__name__}). {_REMEDY}") from error
    split, kind = next(key for key, (file, _, _) in _FILES.items() if file == name)
    _, shape, digest = _FILES[split, kind]
    try:
        read_idx(Path(path), shape, digest)
    except DataError:
        Path(path).unlink()
        raise
    return Path(path)


def cache_folder() -> Path:
    """The folder of downloaded data, in the user's cache; `FileNotFoundError` for users without a home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no home folder: set HOME or XDG_CACHE_HOME. {_REMEDY}") from error
    return cache / "softjax" / "fashion-mnist"


_REMEDY = (
    f"Either install Debian's package (apt install dataset-fashion-mnist), or fetch the four files from {_URL} "
    "and name their folder."
)
