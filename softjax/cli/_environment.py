"""Surroundings that a command can compute in; a user's own settings win."""

import os
from pathlib import Path


def prepare(divisible: int | None) -> None:
    """Makes them so, before JAX is imported; `divisible` as `Command.devices_for`."""
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's backend may not be installed here
    for name, nothing in (("XDG_CACHE_HOME", ""), ("COLUMNS", "0")):
        if os.environ.get(name) == nothing:
            del os.environ[name]
    prepare_jax()
    if divisible is not None:
        divide_cpu(divisible)


def prepare_jax() -> None:
    """Lets JAX keep its compiled programs for the next run, where it can."""
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # programs with host callbacks can't be cached
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "softjax", "jax")
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that can't be written
        return
    if os.access(cache, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)


def divide_cpu(batch_size: int) -> None:
    """Makes JAX see as many CPU devices as the batch can be divided among: faster than threads in every operation."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = max(n for n in range(1, cores + 1) if batch_size % n == 0)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(devices))


def require_device() -> None:
    """Raises `ValueError` where JAX finds nothing to compute on, as when JAX_PLATFORMS names what isn't there."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        why = str(error).partition("\n")[0].partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        raise ValueError(
            f"JAX finds no device for JAX_PLATFORMS={wanted}{f' ({why})' if why else ''}. "
            "Unset it, or set it to cpu or to what is installed."
        ) from error
