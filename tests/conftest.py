"""Settings that must be in place before JAX is imported.

Precision comes from the environment and is never switched inside a test: JAX_ENABLE_X64=1 (the default here) runs
everything in double precision, JAX_ENABLE_X64=0 in single. Strict promotion finds every silent cast.

Programs are compiled in haste, which halves the time of most tests, apart from those marked `optimised`. Where jaxlib
is older than 0.11, loops are emitted in XLA's former way, which takes another quarter off. It unrolls a `PatchField` of
many patterns and derivatives of its derivatives for minutes: run those uncompiled. SOFTJAX_COMPILE=fully, which
`make test-all` sets in single precision, compiles as users do, and so does all that runs in a process of its own.
Compiled programs are kept in `.pytest_cache/compiled`, so that a second run, and files that share programs, hardly
compile.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ["EQX_ON_ERROR"] = "nan"
_FLAGS = os.environ.get("XLA_FLAGS")
_FULLY = os.environ.get("SOFTJAX_COMPILE") == "fully"
if not _FULLY:
    # One thread compiles a program: the other workers have the other cores. An unknown flag ends the process.
    _QUICK = "--xla_cpu_parallel_codegen_split_count=1"
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
        _QUICK += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = f"{_QUICK} {_FLAGS or ''}"

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache/compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.devices()  # reads the flags, which processes that the tests start do not inherit
os.environ.pop("XLA_FLAGS", None)
if _FLAGS is not None:
    os.environ["XLA_FLAGS"] = _FLAGS
gc.set_threshold(100_000, 20, 20)  # tracing makes many objects that live: looking through them takes 5% of the time
_HASTE = not _FULLY and "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ


@contextmanager
def _environment_restored() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True, scope="module")
def environment_of_one_file():
    """What a file's shared fixtures set does not reach the next file."""
    with _environment_restored():
        yield


@pytest.fixture(autouse=True)
def environment_of_one_test():
    """Commands set variables, the number of devices among them, that other tests' processes would inherit."""
    with _environment_restored():
        yield


@pytest.fixture(autouse=True)
def compilation(request):
    """Takes its time over programs that run for longer than it takes to compile them."""
    if _HASTE:
        haste = request.node.get_closest_marker("optimised") is None
        jax.config.update("jax_disable_most_optimizations", haste)


@pytest.fixture
def without_type_checks(monkeypatch):
    """Arguments of the wrong type reach the package's own errors, as they do outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_of_one_file():
    """Drops compiled programs after each file: every one holds some sixty of the 65530 memory maps of a process."""
    yield
    eqx.clear_caches()
    jax.clear_caches()
    gc.collect()
