"""Peak memory of a call in a process of its own: `peak("bench_peers", "literal", 8, 1)` calls its `WORK["literal"]`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN = """
import ctypes, gc, importlib, json, sys
from memory import resident, restart
name, what, sizes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
run = importlib.import_module(name).WORK[what](*sizes)
run()
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # else the second call lives in what the first one freed
before = resident("VmRSS")
restart()
run()
print(json.dumps([before, resident("VmHWM")]))
"""


def peak(name: str, what: str, *sizes: Any) -> dict[str, float] | None:
    """Megabytes resident before the second call, libraries and programs, and at most during it; None but on Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, "-c", RUN, name, what, json.dumps(sizes)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    before, most = json.loads(done.stdout.splitlines()[-1])
    return {"resident_mb": before, "peak_mb": most, "more_mb": most - before}


def resident(line: str) -> float:
    """Megabytes by a line of /proc/self/status."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(found.split()[1]) / 1e3 for found in status if found.startswith(line))


def restart() -> None:
    """Forgets the peak so far."""
    Path("/proc/self/clear_refs").write_text("5")
