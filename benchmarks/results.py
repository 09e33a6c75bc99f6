"""Where the numbers of a run are kept: one file a device, `benchmarks/results/DEVICE.json`.

{"machine": {...}, "records": {"bench_peers.py::bench_whole_run": [{...}, ...]}}: what a benchmark recorded replaces
what it recorded before, so that one file of benchmarks can be run again alone.
`SOFTJAX_BENCHMARK_RESULTS` names another folder.
"""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

FOLDER = Path(os.environ.get("SOFTJAX_BENCHMARK_RESULTS", Path(__file__).parent / "results"))
PACKAGES = ("jax", "jaxlib", "diffrax", "equinox", "flax", "numpy", "torch")


def machine() -> dict[str, Any]:
    """The device and what ran on it, without names of hosts."""
    device = jax.devices()[0]
    kind = _processor() if device.platform == "cpu" else device.device_kind
    return {
        "device": kind,
        "platform": device.platform,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def path() -> Path:
    """The file of this device."""
    about = machine()
    name = f"{about['device']} {about['cores']} cores" if about["platform"] == "cpu" else about["device"]
    return FOLDER / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")


def save(records: dict[str, list[dict[str, Any]]]) -> Path:
    """Replaces what these benchmarks recorded before; the others' records stay."""
    place = path()
    before = json.loads(place.read_text())["records"] if place.exists() else {}
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine(), "records": dict(sorted({**before, **records}.items()))}
    place.write_text(json.dumps(whole, indent=1, default=_plain) + "\n")
    return place


def load(place: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The machine, and the records of each file of benchmarks, without the names of the benchmarks in it."""
    whole = json.loads(place.read_text())
    files: dict[str, list[dict[str, Any]]] = {}
    for name, records in whole["records"].items():
        files.setdefault(name.partition("::")[0], []).extend(records)
    return whole["machine"], files


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
