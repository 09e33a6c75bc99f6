"""Settings that must be in place before JAX is imported.

Precision comes from the environment and is never switched inside a test: JAX_ENABLE_X64=1 (the default here) runs
everything in double precision, JAX_ENABLE_X64=0 in single. Strict promotion finds every silent cast.
"""

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ["EQX_ON_ERROR"] = "nan"

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def without_type_checks(monkeypatch):
    """Arguments of the wrong type reach the package's own errors, as they do outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
