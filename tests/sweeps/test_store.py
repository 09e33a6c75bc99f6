"""Nothing that is stored comes back as another number, and nothing that is finished is lost."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
import xarray as xr
from sweep_units import Reciprocal, Walk, one_cell, walks

from softjax.sweeps import DamagedResult, Sweep, load, run, status
from softjax.sweeps._checksums import of_units
from softjax.sweeps._run import Filler

pytestmark = pytest.mark.optimised  # every program of a comparison compiled alike


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A result of 30 units in three blocks."""
    jax.config.update("jax_disable_most_optimizations", False)  # as where the tests compare with it
    path = tmp_path_factory.mktemp("sound") / "data.zarr"
    run(walks(), path, pack=10)
    return path


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "data.zarr")


def files(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_what_is_loaded_is_what_was_returned(sound):
    xr.testing.assert_identical(load(sound), run(walks(), pack=10).assign_attrs(load(sound).attrs))
    xr.testing.assert_identical(load(sound.parent), load(sound))


def test_a_result_is_resumed_where_it_ended(tmp_path, monkeypatch):
    path, block = tmp_path / "data.zarr", Filler.block
    computed = []

    def interrupted(self, number, wait=False):
        computed.append(number)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return block(self, number, wait)

    monkeypatch.setattr(Filler, "block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(walks(), path, pack=10)
    assert (status(path).num_done, status(path).num_todo) == (20, 10)
    assert load(path).attrs["unfinished"] == 10
    assert int(load(path)["mean"].notnull().sum()) == 20
    resumed = run(walks(), path)
    assert computed == [0, 1, 2, 2]
    xr.testing.assert_equal(resumed[["value", "mean"]], run(walks(), pack=10)[["value", "mean"]])
    assert computed == [0, 1, 2, 2, 0, 1, 2]
    monkeypatch.setattr(Filler, "block", None)
    run(walks(), path)  # nothing is left to do


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (walks(seed=1), "key: .* there, .* here"),
        (walks(members=4), "members: 5 there, 4 here"),
        (walks(steps=(4, 7)), "axes"),
        (Sweep(lambda scale, steps: Walk(2 * scale, steps), dict(scale=np.linspace(1, 2, 3), steps=[4, 6]), members=5,
               key=walks().key), "unit"),
    ],
)  # fmt: skip
def test_another_sweep_is_refused_and_says_how_they_differ(sound, other, message):
    with pytest.raises(FileExistsError, match=f"another configuration.*{message}"):
        run(other, sound)


def test_values_that_read_alike_are_not_the_same(tmp_path):
    def of(value):
        return Sweep(lambda scale: Walk(2.0, 3), {"scale": [value]}, key=walks().key, identity={"name": "walk"})

    run(of(1), tmp_path / "data.zarr")
    with pytest.raises(FileExistsError, match="another configuration .values of another kind"):
        run(of("1"), tmp_path / "data.zarr")


def test_another_precision_is_refused(copy, monkeypatch):
    monkeypatch.setattr("softjax.sweeps._sweep.jnp.result_type", lambda *_: np.dtype(np.float16))
    with pytest.raises(FileExistsError, match="float_type: .* there, float16 here"):
        run(walks(), copy)


def test_other_versions_and_devices_are_reported(tmp_path, monkeypatch):
    path = tmp_path / "data.zarr"
    run(walks(), path, pack=10, shard=(0, 3))
    monkeypatch.setattr("jax.__version__", "0.0.1")
    with pytest.warns(UserWarning, match=r"begun under other conditions \(jax_version: .* then, 0.0.1 now\)"):
        run(walks(), path)


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    mine = tmp_path / "mine" / "download.partial"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(FileExistsError, match="not a softjax result"):
        run(walks(), tmp_path)
    with pytest.raises(FileExistsError, match="not a softjax result"):
        load(tmp_path)
    assert mine.read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises((FileExistsError, PermissionError)):
        run(walks(), tmp_path / "file")


def test_files_are_few_and_nothing_is_left_over(sound):
    number = len(files(sound))
    assert number <= 2 * 3 + 3 + 2 * 7 + 10
    assert not [path for path in sound.parent.iterdir() if path != sound]
    assert not list(sound.rglob("*.partial"))


def test_leftovers_of_killed_writes_go_and_nothing_else(copy):
    mine, leftover = copy / "mine" / "deep" / "x.partial", copy / "value" / "c.0.0.1234.partial"
    mine.parent.mkdir(parents=True)
    mine.write_text("")
    leftover.write_text("")
    run(walks(), copy)
    assert mine.exists()
    assert not leftover.exists()


def test_a_home_folder_is_expanded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(one_cell(), "~/deep/data.zarr")
    assert (tmp_path / "deep" / "data.zarr").exists()
    assert not (tmp_path / "~").exists()
    assert load("~/deep").sizes["walk"] == 12


def test_flipped_bits_are_never_returned_as_numbers(sound, tmp_path):
    wanted, random, unnamed = load(sound), np.random.default_rng(0), 0
    for trial in range(210):
        path = shutil.copytree(sound, tmp_path / str(trial))
        file = files(path)[random.integers(len(files(path)))]
        content = bytearray(file.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(content)
        try:
            xr.testing.assert_identical(load(path), wanted)  # a bit of no consequence, such as one of a space
        except (DamagedResult, FileExistsError) as error:
            unnamed += str(path) not in str(error)
        shutil.rmtree(path)
    assert unnamed == 0


def chunks(path, name="value"):
    return sorted((path / name).glob("c*"))


def lose(path):
    chunks(path)[1].unlink()


def swap(path):
    first, second = chunks(path)[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def truncate(path):
    chunks(path)[1].write_bytes(chunks(path)[1].read_bytes()[:-20])


def lose_ledger(path):
    chunks(path, "ledger")[1].unlink()


def lose_known(path):
    chunks(path, "scale")[0].unlink()


def edit_root(path):
    known = json.loads((path / "zarr.json").read_text())
    known["attributes"]["softjax"]["record"]["device"] = "another"
    (path / "zarr.json").write_text(json.dumps(known))


def edit_array(path):
    (path / "value" / "zarr.json").write_text((path / "value" / "zarr.json").read_text().replace('"data"', '"else"'))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lose, r"value/c\.1\.0 .*unit 10, 11.*missing or not what was written"),
        (swap, r"value/c\.0\.0 .*unit 0, 1.*not what was written"),
        (truncate, r"value/c\.1\.0"),
        (lose_ledger, "ledger.*missing"),
        (lose_known, "scale.*missing"),
        (edit_root, r"zarr\.json.*changed"),
        (edit_array, r"value/zarr\.json.*changed"),
    ],
)
def test_damage_is_an_error_that_names_the_file(copy, damage, named):
    damage(copy)
    for reading in (lambda: load(copy), lambda: run(walks(), copy)):
        with pytest.raises(DamagedResult, match=named):
            reading()


@pytest.mark.parametrize("damage", [lose, swap, truncate, lose_ledger])
def test_repair_computes_damaged_units_anew(copy, damage, sound):
    damage(copy)
    run(walks(), copy, repair=True)
    xr.testing.assert_equal(load(copy)[["value", "mean"]], load(sound)[["value", "mean"]])


def test_failed_units_are_not_tried_again_until_repair(tmp_path, monkeypatch):
    path, computed = tmp_path / "data.zarr", []
    sweep = Sweep(Reciprocal, {"number": [0.0, 1.0]}, members=2, key=walks().key)
    run(sweep, path, failures="keep")
    assert status(path).failed == [f"number = 0.0, member {i}: reciprocal is not finite" for i in (0, 1)]
    assert "2 done, 2 failed, 0 to do" in str(status(path))
    original = Filler._computed
    monkeypatch.setattr(Filler, "_computed", lambda *a: computed.append(a[1]) or original(*a))
    assert len(run(sweep, path, failures="keep").attrs["failed"]) == 2
    assert not computed
    run(sweep, path, failures="keep", repair=True)
    assert len(computed) == 1


def test_what_is_derived_is_computed_once_and_stored(tmp_path):
    path, calls = tmp_path / "data.zarr", []

    def derive(dataset):
        calls.append(dataset.sizes["walk"])
        return xr.Dataset({"mean_of_all": dataset["mean"].mean(), "names": ("n", ["a", "b"])}, attrs={"answer": 42.0})

    data = xr.Dataset()
    for _ in range(2):
        data = run(one_cell(), path, derive=derive)
        np.testing.assert_allclose(data["mean_of_all"], data["mean"].mean(), rtol=1e-12)
        assert data["names"].values.tolist() == ["a", "b"]
        assert data.attrs["answer"] == 42.0
    assert calls == [12]
    xr.testing.assert_identical(load(path), data)


def test_an_interrupted_derivation_is_done_again(tmp_path):
    path = tmp_path / "data.zarr"

    def stopped(dataset):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(one_cell(), path, derive=stopped)
    data = run(one_cell(), path, derive=lambda dataset: xr.Dataset({"seven": 7.0}))
    assert data["seven"] == 7.0


def test_shards_together_are_the_whole(tmp_path, sound):
    path = tmp_path / "data.zarr"
    for index in (2, 0, 1):
        run(walks(), path, pack=10, shard=(index, 3))
    xr.testing.assert_equal(load(path)[["value", "mean"]], load(sound)[["value", "mean"]])
    with pytest.raises(ValueError, match="shard must be"):
        run(walks(), path, shard=(3, 3))


def test_nothing_finished_and_nothing_there_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results at"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no results at"):
        status(tmp_path / "nowhere")


def test_results_of_an_earlier_layout_are_refused(tmp_path):
    import zarr

    zarr.create_group(str(tmp_path / "data.zarr"), attributes={"config": "{}", "ready": True})
    with pytest.raises(FileExistsError, match="not a softjax result|another version"):
        run(walks(), tmp_path / "data.zarr")


@pytest.mark.parametrize("name", ["value", "ledger"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, name):
    import zarr

    path, write, written = tmp_path / "data.zarr", zarr.Array.__setitem__, []

    def full(self, place, value):
        if self.name.endswith(name):
            written.append(place)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
        write(self, place, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(OSError, match="No space left"):
        run(walks(), path, pack=10)
    monkeypatch.undo()
    assert status(path).num_done == 20
    xr.testing.assert_equal(run(walks(), path)[["value"]], run(walks())[["value"]])


def test_asking_for_the_status_from_within_keeps_the_locks(tmp_path):
    path, lock, seen = tmp_path / "data.zarr", tmp_path / ".data.zarr.lock", []
    run(walks(), path, pack=10, progress=lambda done, total: seen.append((status(path).owner, lock.exists())))
    assert len(seen) == 4
    assert all(owner.startswith(f"process {os.getpid()} on ") and there for owner, there in seen)
    assert (status(path).owner, lock.exists()) == ("", False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nans_of_any_sign_are_what_was_written(dtype):
    values = np.asarray([[-np.nan, 1.0], [np.nan, 2.0]], dtype)
    other = values.copy()
    other[:, 0] = -other[:, 0]
    np.testing.assert_array_equal(of_units(np.arange(2), values), of_units(np.arange(2), other))
    assert np.all(of_units(np.arange(2), values) != of_units(np.arange(2), values + 1))
