import hashlib
import socket
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from convert.torch_zip_writer import torch_zip

from softjax.convert import CheckpointError, _fetch
from softjax.convert._fetch import PUBLISHED, Published, fetch, published

CONTENT = torch_zip({"weight": np.arange(250_000, dtype=np.float32)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "dinov2_vits14_linear_head"


@dataclass
class Server:
    """A file server that knows byte ranges, and can be told to misbehave."""

    content: bytes = CONTENT
    cuts: list = field(default_factory=list)  # bytes after which each of the next connections breaks
    ranges: bool = True
    status: int | None = None
    asked: list = field(default_factory=list)
    url: str = ""

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        tag = f'"{hashlib.sha256(self.content).hexdigest()[:8]}"'
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if handler.headers.get("If-Range", tag) != tag:
            start = 0
        if self.status or start >= len(self.content):
            handler.send_response(self.status or 416)
            handler.send_header("Content-Range", f"bytes */{len(self.content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.send_header("ETag", tag)
        handler.end_headers()
        handler.wfile.write(self.content[start:][: self.cuts.pop(0) if self.cuts else None])
        handler.close_connection = True


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.answer(self)

        def log_message(self, format, *args):
            pass

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/{NAME}.pth"
        monkeypatch.setitem(PUBLISHED, NAME, Published(state.url, len(CONTENT), SHA256))
        yield state
        http.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_downloads_once(tmp_path, server):
    seen = []
    path = fetch(NAME, tmp_path / "weights", progress=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "weights" / f"{NAME}.pth"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(f"{NAME}.pth", tmp_path / "weights") == path
    assert server.asked == [None]
    assert names(path.parent) == [path.name]


def test_goes_on_where_a_connection_broke(tmp_path, server):
    server.cuts = [300_000, 100_000]
    assert fetch(NAME, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=400000-"]


def test_keeps_what_it_has_for_the_next_call(tmp_path, server):
    server.cuts = [300_000, 0]
    with pytest.raises(ConnectionError, match="300000 bytes are kept"):
        fetch(NAME, tmp_path)
    assert not (tmp_path / f"{NAME}.pth").exists()
    assert fetch(NAME, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=300000-"


def test_takes_over_a_finished_partial_file(tmp_path, server):
    (tmp_path / f"{NAME}.pth.partial").write_bytes(CONTENT)
    assert fetch(NAME, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_begins_again_when_the_file_has_changed(tmp_path, server, monkeypatch):
    server.cuts = [300_000, 0]
    with pytest.raises(ConnectionError):
        fetch(NAME, tmp_path)
    server.content = torch_zip({"weight": np.ones(200_000, np.float32)})
    monkeypatch.setitem(PUBLISHED, NAME, Published(server.url))
    assert fetch(NAME, tmp_path).read_bytes() == server.content


def test_begins_again_when_the_partial_file_is_too_long(tmp_path, server):
    (tmp_path / f"{NAME}.pth.partial").write_bytes(CONTENT + b"more")
    assert fetch(NAME, tmp_path).read_bytes() == CONTENT


def test_begins_again_at_a_server_without_ranges(tmp_path, server):
    server.ranges = False
    (tmp_path / f"{NAME}.pth.partial").write_bytes(CONTENT[:1000])
    assert fetch(NAME, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"sha256": "0" * 64}, "its SHA-256 is another"), ({"size": 7}, "the published file has 7"), ({}, "a web page")],
    ids=["checksum", "size", "web page"],
)
def test_refuses_another_file(tmp_path, server, monkeypatch, wrong, message):
    if not wrong:
        server.content = b"<html>Please log in</html>"
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], **wrong))
    with pytest.raises(CheckpointError, match=message):
        fetch(NAME, tmp_path)
    assert names(tmp_path) == []


def test_checks_a_file_that_is_there_and_leaves_it(tmp_path, server):
    (tmp_path / f"{NAME}.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(CheckpointError, match="remove it, get it again"):
        fetch(NAME, tmp_path)
    assert names(tmp_path) == [f"{NAME}.pth"]
    assert server.asked == []


def test_says_where_to_get_it_without_a_network(tmp_path, monkeypatch):
    with socket.socket() as listening:  # bound, and not listening: connections are refused
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/{NAME}.pth"
        monkeypatch.setitem(PUBLISHED, NAME, Published(url))
        with pytest.raises(ConnectionError, match="by other means") as error:
            fetch(NAME, tmp_path)
    assert url in str(error.value)
    assert str(tmp_path / f"{NAME}.pth") in str(error.value)
    assert names(tmp_path) == []


def test_says_what_the_server_says(tmp_path, server):
    server.status = 404
    with pytest.raises(ConnectionError, match="404"):
        fetch(NAME, tmp_path)
    assert len(server.asked) == 1


def test_the_default_folder_is_the_users_cache(tmp_path, server, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch(NAME) == tmp_path / "softjax" / "weights" / f"{NAME}.pth"


def test_names_of_published_files():
    base = "https://nvlabs-fi-cdn.nvidia.com/edm2/posthoc-reconstructions/"
    assert published("edm2-img64-s-1073741-0.075").url == f"{base}edm2-img64-s-1073741-0.075.pkl"
    assert published("edm2-img512-xs-uncond-2147483-0.045.pkl").url == f"{base}edm2-img512-xs-uncond-2147483-0.045.pkl"
    base = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/"
    assert published("dinov2_vitb14_pretrain").url == f"{base}dinov2_vitb14_pretrain.pth"
    assert published("dinov2_vitb14_reg4_linear4_head").url == f"{base}dinov2_vitb14_reg4_linear4_head.pth"
    assert all(_fetch.published(name) is file for name, file in PUBLISHED.items())


@pytest.mark.parametrize("name", ["edm2", "../edm2-img64-s-1073741-0.075", "dinov2_vitg14_pretrain", ""])
def test_refuses_unknown_names(tmp_path, name):
    with pytest.raises(ValueError, match="no published file is called"):
        fetch(name, tmp_path)
