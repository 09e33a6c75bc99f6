"""The published files by name: downloaded with resume, checked where a size or checksum is known."""

import http.client
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from softjax.convert._checkpoint import recognise
from softjax.convert._parameters import CheckpointError
from softjax.convert._store import file_digest, write_whole

_EDM2 = "https://nvlabs-fi-cdn.nvidia.com/edm2/posthoc-reconstructions"
_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2"
_CHUNK, _TIMEOUT = 2**20, 30


@dataclass(frozen=True)
class Published:
    """One file of a publication."""

    url: str
    size: int | None = None
    """In bytes, where it is known."""
    sha256: str | None = None
    """Hexadecimal, where it is known."""

    @property
    def file_name(self) -> str:
        """Last part of the URL."""
        return self.url.rsplit("/", 1)[1]


def _edm2(*names: str) -> dict[str, Published]:
    return {f"edm2-{name}": Published(f"{_EDM2}/edm2-{name}.pkl") for name in names}


def _dinov2(size: str) -> dict[str, Published]:
    names = [
        f"dinov2_{size}14{reg}_{part}" for reg in ("", "_reg4") for part in ("pretrain", "linear_head", "linear4_head")
    ]
    return {name: Published(f"{_DINOV2}/dinov2_{size}14/{name}.pth") for name in names}


PUBLISHED = {
    **_edm2("img64-s-1073741-0.075", "img64-m-2147483-0.060", "img64-l-1073741-0.040", "img64-xl-0671088-0.040"),
    **_edm2("img64-s-1073741-0.045", "img64-xs-0134217-0.110", "img64-s-1073741-0.105", "img64-xs-0134217-0.175"),
    **_dinov2("vits"),
    **_dinov2("vitb"),
    **_dinov2("vitl"),
}
"""EDM2 at 64 x 64 in its best versions, then net and guide of autoguidance twice; backbones and heads of DINOv2."""

_EDM2_NAME = re.compile(r"edm2-(img(?:64|512)-(?:xs|s|m|l|xl|xxl)(?:-uncond)?-\d{7}-0\.\d{3})")


def published(name: str) -> Published:
    """The published file of this name, or any of EDM2's (`edm2-img64-s-1073741-0.075`); raises `ValueError`."""
    name = re.sub(r"\.(pkl|pth)$", "", name)
    if name in PUBLISHED:
        return PUBLISHED[name]
    if match := _EDM2_NAME.fullmatch(name):
        return _edm2(match[1])[name]
    raise ValueError(f"no published file is called {name!r}. Known are {', '.join(PUBLISHED)}.")


def fetch(name: str, folder: Path | str | None = None, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Downloads a published file into a folder, and returns its path.

    * `name`: one of `PUBLISHED`, or any of EDM2's, such as "edm2-img64-s-1073741-0.075";
    * `folder`: where it is put, by default the user's cache;
    * `progress`: called with the bytes there so far and in all, 0 if the server does not say.

    A file that is there already is not downloaded again, one that was begun is resumed.

    Raises `ValueError` for an unknown name, `ConnectionError` when the file cannot be had from here, with the URL to
    fetch by other means, and `CheckpointError` when what came is not the published file.

    >>> sj.convert.fetch("dinov2_vits14_pretrain", "weights").name  # doctest: +SKIP
    'dinov2_vits14_pretrain.pth'
    """
    wanted = published(name)
    folder = _cache() if folder is None else Path(folder)
    target = folder / wanted.file_name
    if target.exists():
        _verify(target, wanted)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{wanted.file_name}.partial"
    try:
        _download(wanted, partial, progress)
    except (OSError, http.client.HTTPException) as error:
        kept = (
            f" {partial.stat().st_size} bytes are kept, the next call goes on from there." if partial.exists() else ""
        )
        raise ConnectionError(
            f"{wanted.url} cannot be had from here: {error}.{kept} Or fetch it by other means and put it at {target}."
        ) from error
    try:
        _verify(partial, wanted)
    except CheckpointError:
        partial.unlink()
        raise
    finally:
        _tag_file(partial).unlink(missing_ok=True)
    os.replace(partial, target)
    return target


def _download(wanted: Published, partial: Path, progress: Callable[[int, int], None] | None) -> None:
    """Fills `partial`, from where it ends; broken connections are taken up again as long as that brings more of it."""
    longest = -1
    while longest < _size(partial):
        longest = _size(partial)
        try:
            if _continue(wanted, partial, progress):
                return
        except HTTPError:
            raise
        except (OSError, http.client.HTTPException):
            if _size(partial) <= longest:
                raise
    raise ConnectionError("the connection breaks off")


def _continue(wanted: Published, partial: Path, progress: Callable[[int, int], None] | None) -> bool:
    """One request for what is missing of `partial`; whether that is all now.

    The server's tag of the file is kept beside it, so that halves of two different versions are never joined.
    """
    start, tag = _size(partial), _tag_file(partial).read_text() if _tag_file(partial).exists() else None
    headers = {"Range": f"bytes={start}-"} | ({"If-Range": tag} if tag else {}) if start else {}
    try:
        response = urlopen(Request(wanted.url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return True
        partial.unlink()  # longer than the file is now
        return _continue(wanted, partial, progress)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError("the server sends another part of the file than was asked for")
        done = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0
        if tag := response.headers.get("ETag"):
            write_whole(_tag_file(partial), tag)
        with open(partial, "ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    return done >= total


def _verify(path: Path, wanted: Published) -> None:
    recognise(path)
    size = _size(path)
    if wanted.size is not None and size != wanted.size:
        raise CheckpointError(
            f"{path} has {size} bytes, the published file has {wanted.size}: remove it, get it again."
        )
    if wanted.sha256 is not None and file_digest(path) != wanted.sha256:
        raise CheckpointError(f"{path} is not the published file, its SHA-256 is another: remove it, get it again.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softjax" / "weights"
