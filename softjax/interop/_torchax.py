"""torch and torchax, brought in when they are first used: what works together, and what to install otherwise.

torchax 0.0.13 names, in tables that are filled when it is imported, the operations on named tensors, which torch has
dropped since 2.13. They get a placeholder while the tables are filled; nothing can call them afterwards.
"""

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import jax

VERSIONS = "torch 2.13 with torchax 0.0.13"
_INSTALL = "python -m pip install 'softjax-diffusion[torch]'"
_NAMED = (
    *("all.dimname", "all.dimname_out", "index_add.dimname", "index_copy.dimname", "index_copy_.dimname"),
    *("index_fill.Dimname_Scalar", "index_fill.Dimname_Tensor", "index_fill_.Dimname_Scalar"),
    *("index_fill_.Dimname_Tensor", "norm.names_ScalarOpt_dim", "norm.names_ScalarOpt_dim_dtype"),
    *("norm.names_dtype_out", "norm.names_out", "prod.dim_Dimname", "std.correction_names"),
    *("std.correction_names_out", "std.names_dim", "std.names_out", "std_mean.correction_names"),
    *("std_mean.names_dim", "unbind.Dimname"),
)
_TELEMETRY = "ENABLE_RUNTIME_UPTIME_TELEMETRY"


def optional(name: str) -> Any:
    """A package of the extra `torch`; raises `ModuleNotFoundError`, which says how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        raise ModuleNotFoundError(f"softjax.interop needs {name}: {_INSTALL}", name=name) from error


@functools.cache
def environment() -> Any:
    """Where torch's operations run as JAX's.

    Raises `ModuleNotFoundError` where torch or torchax is missing, and `ImportError` naming the versions that work
    where torchax does not fit the others.
    """
    torch = optional("torch")
    try:
        with _placeholders(torch), _settings():
            return optional("torchax").default_env()
    except ModuleNotFoundError:
        raise
    except Exception as error:
        found = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchax", "jax"))
        raise ImportError(
            f"torchax can't be imported beside these versions: {found} ({type(error).__name__}: {error}). "
            f"What works: {VERSIONS}; {_INSTALL}"
        ) from error


@contextmanager
def _placeholders(torch: Any) -> Iterator[None]:
    """Operations of the tables that this torch does not have."""
    named = [(getattr(torch.ops.aten, packet), name) for packet, name in (entry.split(".") for entry in _NAMED)]
    absent = [(packet, name) for packet, name in named if not hasattr(packet, name)]
    for packet, name in absent:
        setattr(packet, name, object())
    try:
        yield
    finally:
        for packet, name in absent:
            delattr(packet, name)


@contextmanager
def _settings() -> Iterator[None]:
    """Takes back what importing torchax sets for the whole process."""
    options, telemetry = getattr(jax.config, "jax_pjrt_client_create_options", None), os.environ.get(_TELEMETRY)
    try:
        yield
    finally:
        if hasattr(jax.config, "jax_pjrt_client_create_options"):
            jax.config.update("jax_pjrt_client_create_options", options)
        if telemetry is None:
            os.environ.pop(_TELEMETRY, None)
