import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr

from softjax.experiments import load_results
from softjax.experiments._store import TrajectoryStore, completed

CONFIG = {"name": "test", "size": 3}
STATIC = xr.Dataset({"time": (("time",), np.array([2.0, 1.0]), {"units": "1"})}, attrs={"origin": "here"})
TEMPLATE = xr.Dataset({"length": (("time",), np.zeros(2), {"units": "sites"})})


def filled(path, num=4, done=(0, 2)):
    store = TrajectoryStore(path, num, CONFIG)
    store.create(STATIC, TEMPLATE)
    for index in done:
        store.write(index, {"length": np.full(2, float(index))})
    return store


def test_reads_back_finished_trajectories_with_units_and_attributes(tmp_path):
    dataset = filled(tmp_path / "data.zarr").dataset()
    np.testing.assert_array_equal(dataset["length"].values, [[0, 0], [2, 2]])
    assert dataset["length"].dims == ("trajectory", "time")
    assert dataset["length"].attrs["units"] == "sites"
    assert dataset.attrs["origin"] == "here"
    np.testing.assert_array_equal(dataset["time"].values, [2, 1])


def test_memory_store_equals_a_folder(tmp_path):
    xr.testing.assert_identical(filled(None).dataset(), filled(tmp_path / "data.zarr").dataset())


def test_resumes_with_what_is_missing(tmp_path):
    filled(tmp_path / "data.zarr")
    again = TrajectoryStore(tmp_path / "data.zarr", 4, CONFIG)
    assert again.ready
    np.testing.assert_array_equal(again.todo, [1, 3])
    again.create(STATIC, TEMPLATE)  # must not wipe
    np.testing.assert_array_equal(again.dataset()["length"].values, [[0, 0], [2, 2]])


def test_what_is_derived_is_kept_and_begun_again_after_a_kill(tmp_path):
    path = tmp_path / "data.zarr"
    filled(path, 2, (0, 1))
    more = xr.Dataset({"reach": (("place",), np.array([1.0, 2.0]))}, coords={"place": np.array([3.0, 4.0])})
    xr.testing.assert_equal(completed(load_results(path), path, lambda: more)[["reach"]], more)
    xr.testing.assert_equal(load_results(path)[["reach"]], more)
    group = zarr.open_group(str(path))
    del group.attrs["completed"]  # as a run leaves it that is killed while it writes
    for _, array in group.arrays():
        if array.basename in more.variables:
            array[...] = 0
    xr.testing.assert_equal(completed(load_results(path), path, lambda: more)[["reach"]], more)
    xr.testing.assert_equal(load_results(path)[["reach"]], more)


def test_refuses_the_results_of_another_configuration(tmp_path):
    filled(tmp_path / "data.zarr")
    with pytest.raises(FileExistsError, match="another configuration"):
        TrajectoryStore(tmp_path / "data.zarr", 4, {**CONFIG, "size": 4})
    assert len(load_results(tmp_path / "data.zarr")["trajectory"]) == 2


def test_begins_again_where_nothing_was_laid_out(tmp_path):
    TrajectoryStore(tmp_path / "data.zarr", 4, CONFIG)
    np.testing.assert_array_equal(filled(tmp_path / "data.zarr", done=()).todo, [0, 1, 2, 3])


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a softjax result"):
        TrajectoryStore(tmp_path, 4, CONFIG)
    zarr.create_group(tmp_path / "foreign.zarr", attributes={"whose": "another program's"})
    with pytest.raises(FileExistsError, match="another configuration"):
        TrajectoryStore(tmp_path / "foreign.zarr", 4, CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "precious"
    assert zarr.open_group(tmp_path / "foreign.zarr").attrs["whose"] == "another program's"


def test_refuses_truncated_metadata(tmp_path):
    filled(tmp_path / "data.zarr")
    metadata = tmp_path / "data.zarr" / "zarr.json"
    metadata.write_text(metadata.read_text()[:40])
    with pytest.raises(FileExistsError, match="not a softjax result"):
        TrajectoryStore(tmp_path / "data.zarr", 4, CONFIG)


def test_refuses_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="can't be written"):
        TrajectoryStore(tmp_path / "file" / "data.zarr", 4, CONFIG)


def test_missing_results_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results"):
        load_results(tmp_path / "nowhere")


WRITER = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
from test_store import CONFIG, STATIC
import xarray as xr
from softjax.experiments._store import TrajectoryStore, completed
store = TrajectoryStore(__import__("pathlib").Path({path!r}), 400, CONFIG)
store.create(STATIC, xr.Dataset({{"length": (("time", "y"), np.zeros((2, 5000)))}}))
for index in store.todo:
    store.write(int(index), {{"length": np.full((2, 5000), float(index))}})
    print(index, flush=True)
"""


def test_a_killed_writer_loses_no_finished_trajectory(tmp_path):
    path = tmp_path / "data.zarr"
    script = WRITER.format(folder=os.path.dirname(__file__), path=str(path))
    reported = 0
    for delay in (0.02, 0.11, 0.23):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.kill()
            reported += 1 + len([line for line in writer.stdout.read().splitlines() if line.isdigit()])
        dataset = load_results(path)
        assert dataset.sizes["trajectory"] >= reported
        values = dataset["length"].values
        np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1, :1], values.shape))
        assert json.loads(dataset.attrs["config"]) == CONFIG
    assert 3 <= reported < 400
