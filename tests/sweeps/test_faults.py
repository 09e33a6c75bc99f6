"""Real processes that are killed, and several on one result: nothing is lost, nothing wrong, nothing left over."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sweep_units import walks

from softjax.sweeps import load, run, status

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(["kill-at-event", "8"], {-9}), (["kill-at-random", "3"], {-9, 0}), (["together", "3", "3"], {0})],
)
def test_kills_and_simultaneous_starts_lose_nothing(mode, expected, tmp_path):
    command = [sys.executable, "sweep_faults.py", str(tmp_path), *mode]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for trial in json.loads(done.stdout):
        assert set(trial["codes"]) <= expected
        assert (trial["wrong"], trial["sound"], trial["left"]) == (False, True, [])


WAITING = """
import sys, time
from sweep_units import walks
from softjax.sweeps import run
def wait(done, total):
    print(done, flush=True)
    if done >= 10: time.sleep(60)
run(walks(), sys.argv[1], pack=5, progress=wait)
"""


def test_a_process_that_works_is_seen_and_joined(tmp_path):
    path = tmp_path / "data.zarr"
    other = subprocess.Popen([sys.executable, "-c", WAITING, str(path)], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        while other.stdout.readline().strip() != "10":
            assert other.poll() is None
        known = status(path)
        assert (known.num_done, known.owner.split()[:2]) == (10, ["process", str(other.pid)])
        with pytest.raises(FileExistsError, match="being filled by another process"):
            run(walks(), path, repair=True)
        xr.testing.assert_equal(run(walks(), path)[["value"]], run(walks())[["value"]])
        os.kill(other.pid, signal.SIGKILL)
    finally:
        other.kill()
        other.communicate()
    assert status(path).owner == ""
    assert load(path).attrs.get("unfinished", 0) == 0


LONG = """
import os, signal, sys
import jax
from softjax.sweeps import Sweep, Unit, run
class Long(Unit):
    def __call__(self, member, key):
        start = jax.random.normal(key, (100, 100))
        return {"value": jax.lax.fori_loop(0, 10**9, lambda i, x: jax.numpy.tanh(x @ x), start)}
def stop(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
try:
    run(Sweep(Long(), key=jax.random.key(0)), progress=lambda done, total: print(done, flush=True))
except KeyboardInterrupt:
    print("heard", flush=True)
    os._exit(0)
"""


def test_a_signal_is_heard_within_a_pack_that_takes_hours():
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline().strip() == "0"
            time.sleep(2)  # now it is compiled, and runs
            running.send_signal(signal.SIGTERM)
            assert running.communicate(timeout=60)[0].strip() == "heard"
        finally:
            running.kill()


def test_dask_does_all_the_work_though_a_worker_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    code = """
import os, signal, sys, threading, time
import numpy as np
from sweep_units import walks
from softjax.sweeps import local_cluster, run
if __name__ == "__main__":
    with local_cluster(2) as client:
        def kill(done, total):
            if 0 < done < total and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)
        killed = []
        data = run(walks(), sys.argv[1], pack=2, client=client, progress=kill)
    assert killed
    np.save(sys.argv[2], data["value"].values)
"""
    del distributed
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, str(script), str(tmp_path / "data.zarr"), str(tmp_path / "value.npy")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "value.npy"), run(walks())["value"])
    assert status(tmp_path / "data.zarr").num_done == 30


TOGETHER = """
import sys
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import equinox as eqx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))
from softjax.sweeps import Sweep, Unit, run

mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
large = np.arange(64.0).reshape(8, 8)
sharding = NamedSharding(mesh, PartitionSpec("x"))
large = jax.make_array_from_callback(large.shape, sharding, lambda index: large[index])

class Large(Unit):
    weights: jax.Array
    scale: float
    def __call__(self, member, key):
        assert len(self.weights.shape) == 2
        shift = jr.normal(jr.fold_in(key, member), ())
        return {"rows": self.scale * self.weights + shift, "total": jnp.sum(self.weights) + shift}

data = run(Sweep(lambda scale: Large(large, scale), {"scale": [1.0, 2.0]}, members=3, key=jr.key(0)), sys.argv[3])
assert jax.process_count() == 2 and data.attrs.get("unfinished") is None
assert data.attrs["units_computed"] == 6
np.save(f"{sys.argv[3]}-{sys.argv[2]}.npy", data["rows"].values)
"""


def test_several_processes_run_one_program_where_a_unit_is_divided(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-c", TOGETHER, port]
    path = str(tmp_path / "data.zarr")
    others = [subprocess.Popen([*command, rank, path], env=environment, stderr=subprocess.PIPE) for rank in "01"]
    errors = [other.communicate(timeout=300)[1].decode() for other in others]
    assert [other.returncode for other in others] == [0, 0], errors
    first, second = (np.load(f"{path}-{rank}.npy") for rank in "01")
    np.testing.assert_array_equal(first, second)
    assert first.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(
        first[1] - first[0], np.broadcast_to(np.arange(64.0).reshape(8, 8), (3, 8, 8)), atol=1e-5
    )
    assert status(path).num_done == 6
