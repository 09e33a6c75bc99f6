import functools
import gzip
import http.server
import shutil
import threading

import numpy as np
import pytest
from fashion_sample import DEBIAN, FOLDER, needs_debian, published_files

from softjax.data import FASHION_MNIST_CLASSES, DataError, _fashion_mnist, load_fashion_mnist

TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def sample(monkeypatch, tmp_path):
    """The sample passes for the published files; nothing is installed, the cache is empty, and the net is cut off."""
    monkeypatch.setattr(_fashion_mnist, "_FILES", published_files())
    monkeypatch.setattr(_fashion_mnist, "_DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setattr(_fashion_mnist, "_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def server(sample, monkeypatch):
    """Serves `sample / "served"`, which holds the sample, on the loopback interface; yields the requested paths."""
    shutil.copytree(FOLDER, sample / "served")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(sample / "served"))
    ) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setattr(_fashion_mnist, "_URL", f"http://127.0.0.1:{running.server_port}/")
        yield asked
        running.shutdown()
        thread.join()


@needs_debian
@pytest.mark.parametrize(("split", "count", "first"), [("train", 60_000, 200), ("test", 10_000, 100)])
def test_the_real_files_are_read_and_the_sample_is_their_beginning(split, count, first, monkeypatch):
    images, labels = load_fashion_mnist(split, DEBIAN)
    assert (images.shape, images.dtype) == ((count, 28, 28), np.uint8)
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, count // 10))
    monkeypatch.setattr(_fashion_mnist, "_FILES", published_files())
    few = load_fashion_mnist(split, FOLDER)
    np.testing.assert_array_equal(few.images, images[:first])
    np.testing.assert_array_equal(few.labels, labels[:first])


def test_the_sample_shows_what_its_labels_say(sample):
    images, labels = load_fashion_mnist("train", FOLDER)
    assert images.shape == (200, 28, 28)
    assert labels.shape == (200,)
    assert len(FASHION_MNIST_CLASSES) == 10
    mean = {name: images[labels == i].mean(axis=0) for i, name in enumerate(FASHION_MNIST_CLASSES)}
    legs_apart = mean["trouser"][20:, 13:15].mean() / mean["trouser"][20:, 9:12].mean()
    assert legs_apart < 0.5 < mean["dress"][20:, 13:15].mean() / mean["dress"][20:, 9:12].mean()
    assert mean["sneaker"][:7].mean() < 5 < mean["ankle boot"][4:10].mean()


def test_the_installed_package_comes_before_the_cache(sample, monkeypatch):
    for name in (TEST_IMAGES, TEST_LABELS):
        (sample / "cache/softjax/fashion-mnist").mkdir(parents=True, exist_ok=True)
        (sample / "cache/softjax/fashion-mnist" / name).write_bytes(b"damaged")
    with pytest.raises(DataError):
        load_fashion_mnist("test")
    monkeypatch.setattr(_fashion_mnist, "_DEBIAN_FOLDER", FOLDER)
    assert load_fashion_mnist("test").images.shape == (100, 28, 28)


def test_users_without_a_home_need_none_unless_something_is_cached(sample, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", home)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    with pytest.raises(FileNotFoundError, match=r"set HOME or XDG_CACHE_HOME.*apt install"):
        load_fashion_mnist("test")
    monkeypatch.setattr(_fashion_mnist, "_DEBIAN_FOLDER", FOLDER)
    assert load_fashion_mnist("test").images.shape == (100, 28, 28)


def test_an_empty_cache_variable_counts_as_not_set(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _fashion_mnist.cache_folder() == tmp_path / ".cache/softjax/fashion-mnist"


def test_unpacked_files_are_read_too(sample):
    for name in (TEST_IMAGES, TEST_LABELS):
        (sample / name.removesuffix(".gz")).write_bytes(gzip.decompress((FOLDER / name).read_bytes()))
    np.testing.assert_array_equal(load_fashion_mnist("test", sample).images, load_fashion_mnist("test", FOLDER).images)


def test_files_of_another_data_set_are_refused():
    with pytest.raises(DataError, match="damaged or another file"):
        load_fashion_mnist("test", FOLDER)


def test_an_altered_pixel_is_noticed(sample):
    shutil.copytree(FOLDER, sample / "altered")
    content = bytearray(gzip.decompress((FOLDER / TEST_IMAGES).read_bytes()))
    content[-1] ^= 1
    (sample / "altered" / TEST_IMAGES).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=f"{TEST_IMAGES} is damaged or another file.*checksum"):
        load_fashion_mnist("test", sample / "altered")


@pytest.mark.parametrize("options", [{"folder": "elsewhere"}, {"download": False}, {}])
def test_missing_files_name_both_remedies(sample, options):
    with pytest.raises(FileNotFoundError, match=r"apt install dataset-fashion-mnist.*or fetch.*http") as refused:
        load_fashion_mnist("test", **options)
    assert TEST_IMAGES in str(refused.value)


def test_unknown_splits_are_refused(without_type_checks):
    with pytest.raises(ValueError, match="split must be one of 'train', 'test'; got 'validation'"):
        load_fashion_mnist("validation")  # pyright: ignore[reportArgumentType]


def test_missing_files_are_downloaded_once(sample, server):
    downloaded = load_fashion_mnist("test")
    np.testing.assert_array_equal(downloaded.images, load_fashion_mnist("test", FOLDER).images)
    assert sorted(server) == [f"/{TEST_IMAGES}", f"/{TEST_LABELS}"]
    load_fashion_mnist("test")
    assert len(server) == 2


@pytest.mark.parametrize("content", [b"<html>not found</html>", (FOLDER / TEST_IMAGES).read_bytes()[:20_000]])
def test_a_wrong_download_is_refused_and_removed(sample, server, content):
    (sample / "served" / TEST_IMAGES).write_bytes(content)
    with pytest.raises(DataError, match=TEST_IMAGES):
        load_fashion_mnist("test")
    assert not list((sample / "cache").rglob("*ubyte*"))
    shutil.copy(FOLDER / TEST_IMAGES, sample / "served")
    assert load_fashion_mnist("test").images.shape == (100, 28, 28)


def test_a_server_without_the_files_is_reported_with_the_remedies(sample, server):
    (sample / "served" / TEST_IMAGES).unlink()
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded \(HTTPError\).*apt install"):
        load_fashion_mnist("test")
