"""Sweeps of an experiment from the command line, on small lattices."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from softjax import cli
from softjax.cli._sweep import from_file
from softjax.experiments import empirical, load_results, patch
from softjax.experiments.configs import PatchConfig, Probe, TimeGrid

SIZE = ["--grid-size", "16", "--time.num-steps", "20", "--probe.max-shell", "4", "--pack", "2"]
AXES = ["--axis", "p_global=0.5,0.8", "--axis", "patch_size=3,5", "--members", "2"]
CONFIG = PatchConfig(grid_size=16, num_trajectories=2, time=TimeGrid(num_steps=20), probe=Probe(max_shell=4))
WRITTEN = {"data.zarr", "sweep.json", "table.csv", "sweep.png", "sweep.pdf"}


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    """Commands choose how many devices there are, and where programs are kept."""
    for name in ("JAX_NUM_CPU_DEVICES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def sweep(*arguments):
    cli.main(["sweep", "patch", *SIZE, *arguments])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JAX_NUM_CPU_DEVICES", "1")
        sweep(*AXES, "--out", str(out))
    return out


@pytest.fixture
def nothing_computed(monkeypatch):
    """To run a program fails."""
    monkeypatch.setattr("softjax.sweeps._program.Program.run", None)


@pytest.mark.slow
def test_the_axes_are_dimensions_and_the_members_follow(swept):
    data = load_results(swept)
    assert data["final_state"].dims == ("p_global", "patch_size", "trajectory", "y", "x")
    assert data["magnitude"].dims == ("p_global", "patch_size", "trajectory", "time", "shell")
    np.testing.assert_array_equal(data["p_global"].values, [0.5, 0.8])
    np.testing.assert_array_equal(data["patch_size"].values, [3, 5])
    assert dict(data.sizes) | {"trajectory": 2, "time": 21, "shell": 5, "y": 16, "x": 16} == dict(data.sizes)
    assert np.isfinite(data["final_state"].values).all()
    assert {path.name for path in swept.iterdir()} == WRITTEN
    assert (swept / "sweep.png").stat().st_size > 10_000
    assert (swept / "sweep.pdf").read_bytes().startswith(b"%PDF")
    about = json.loads((swept / "sweep.json").read_text())
    assert (about["experiment"], about["axes"]) == ("patch", ["p_global=0.5,0.8", "patch_size=3,5"])
    assert about["grid_size"] == 16


@pytest.mark.slow
def test_a_cell_is_the_run_of_its_configuration(swept):
    cell = load_results(swept).sel(p_global=0.5, patch_size=5)
    alone = patch.run(replace(CONFIG, p_global=0.5, patch_size=5))
    early = {"time": slice(0, 10)}  # later, rounding has grown with the instability
    np.testing.assert_allclose(cell["magnitude"].isel(early), alone["magnitude"].isel(early), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(cell["critical_time"], alone.attrs["critical_time"], rtol=1e-6)

    lines = list(csv.reader((swept / "table.csv").read_text().splitlines()))
    assert lines[0] == ["p_global", "patch_size", "row", "value", "low", "high", "units"]
    table = {tuple(line[:3]): line[3:] for line in lines[1:]}
    assert len(table) == 4 * 7
    peak = next(row for row in patch.summary(alone) if row.name == "peak of median xi_eq")
    value, low, high, units = table["0.5", "5", "peak of median xi_eq"]
    assert (float(value), units) == (pytest.approx(peak.value, rel=0.02), "t")
    assert (float(low), float(high)) == pytest.approx(peak.interval, rel=0.02)


@pytest.mark.slow
def test_status_counts_cells_and_members(swept, capsys):
    for path in (swept, swept / "data.zarr"):
        cli.main(["status", str(path)])
        shown = capsys.readouterr().out
        assert "p_global 2 x patch_size 2 x 2 members = 8 units" in shown
        assert "8 done, 0 failed, 0 to do" in shown


@pytest.mark.slow
def test_two_shards_together_are_bit_for_bit_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    sweep(*AXES, "--out", str(tmp_path / "whole"))
    shared = ["--out", str(tmp_path / "shared")]
    sweep(*AXES, *shared, "--shard", "1/2")
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {"data.zarr"}
    capsys.readouterr()
    cli.main(["status", str(tmp_path / "shared")])
    assert "4 done, 0 failed, 4 to do" in capsys.readouterr().out
    assert np.isnan(load_results(tmp_path / "shared")["final_state"].values).any()
    sweep(*AXES, *shared, "--shard", "0/2")
    whole, together = (load_results(tmp_path / name) for name in ("whole", "shared"))
    assert set(whole.variables) == set(together.variables)
    for name in whole.variables:
        xr.testing.assert_identical(together[name], whole[name])
    assert {path.name for path in (tmp_path / "shared").iterdir()} == WRITTEN
    for name in ("table.csv", "sweep.json"):
        assert (tmp_path / "shared" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_a_finished_sweep_is_drawn_again_and_not_computed(swept, nothing_computed, capsys):
    before = load_results(swept)
    sweep(*AXES, "--row", "fastest growth", "--out", str(swept))
    words = capsys.readouterr().out.splitlines()[-2:]
    assert words[0].startswith("Drawn is fastest growth of xi, -dxi/dlog t;")
    assert words[1].startswith(f"Figure {swept / 'sweep.png'} (and .pdf), table {swept / 'table.csv'}")
    xr.testing.assert_identical(load_results(swept), before)
    (swept / "table.csv").unlink()
    with pytest.raises(SystemExit, match="--row must be the beginning of one of: .*; peak of median xi_eq; .*nonsense"):
        sweep(*AXES, "--row", "nonsense", "--out", str(swept))
    assert (swept / "table.csv").exists()


@pytest.mark.slow
def test_a_sweep_over_words_and_one_without_axes_are_drawn(tmp_path, capsys):
    axes = ["--axis=integration.engine=diffrax,scan", "--axis=p_global=0.8", "--axis=seed=1", "--members=1"]
    sweep(*axes, "--out", str(tmp_path / "words"))
    engines = load_results(tmp_path / "words")["magnitude"].isel(time=slice(0, 10))
    assert list(engines["integration.engine"].values) == ["diffrax", "scan"]
    np.testing.assert_allclose(*(engines.sel({"integration.engine": name}) for name in ("diffrax", "scan")), rtol=1e-3)
    sweep("--out", str(tmp_path / "none"), "--members", "2")
    assert load_results(tmp_path / "none")["final_state"].dims == ("trajectory", "y", "x")
    assert {path.name for path in (tmp_path / "none").iterdir()} == WRITTEN


def test_explain_computes_and_writes_nothing(tmp_path, nothing_computed, capsys):
    sweep(*AXES, "--explain", "--out", str(tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "4 cells x 2 members = 8 units in 2 program(s), packs of up to 2" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axis", "temperature=1,2"], "there is no parameter 'temperature'; there are beta, .*time"),
        (["--axis", "time=3"], "time is a group of parameters"),
        (["--axis", "p_global"], r"an axis is NAME=VALUES, got 'p_global'\."),
        (["--axis", "p_global=0.5:0.9"], "a range is START:STOP:NUMBER"),
        (["--axis", "p_global=0.5,2"], r"at p_global = 2: p_global must lie strictly between 0 and 1"),
        (["--axis", "p_global=0.5,0.5"], "the values of axis .*p_global.* must differ"),
        (["--axis", "patch_size=3,four"], "at patch_size = four: patch_size must be a whole number, got 'four'"),
        (["--axis", "patch_size=3.5"], "patch_size must be a whole number, got 3.5"),
        (["--axis", "time.num_steps=20,0"], "time.num_steps must be a whole number of at least 1, got 0"),
        (["--axis", "trajectory=1,2"], "an axis has the name of the members' dimension"),
        (["--axis", "num_trajectories=4,8"], "at num_trajectories = 4: every cell must have the same members, 8"),
        (["--axis", "quantity=magnitude,rayleigh"], "results do not depend on quantity"),
        (["--axis", "p_global=0.5", "--axis", "p_global=0.8"], "--axis names p_global twice"),
        (["--axis", "p_global=0.5,0.8/beta=1,2,3"], r"equally many values, got \[2, 3\]"),
        (["--members", "0"], "num_trajectories must be a whole number of at least 1, got 0"),
        (["--pack", "0"], "pack must be a whole number from 1 on"),
        (["--shard", "2"], "--shard must be I/N with 0 <= I < N, got '2'"),
        (["--shard", "2/2"], "--shard must be I/N with 0 <= I < N, got '2/2'"),
        (["--grid-size", "0"], "grid_size must be a whole number of at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(arguments, message, tmp_path, nothing_computed):
    with pytest.raises(SystemExit, match=f"^softjax: .*{message}") as stop:
        sweep("--pack", "2", *arguments, "--out", str(tmp_path / "out"))
    assert "\n" not in str(stop.value)  # Python prints it and exits with 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("experiment", ["locality", "pulse"])
def test_members_of_an_experiment_without_trajectories_are_refused(experiment, tmp_path):
    with pytest.raises(SystemExit, match=f"^softjax: {experiment} has no trajectories to count"):
        cli.main(["sweep", experiment, "--members", "3", "--explain", "--out", str(tmp_path)])


FILE = """
experiment = "patch"
members = 2
pack = 2
grid_size = 16
quick = false
out = "elsewhere"

[time]
num_steps = 20
t_max = 5.5

[probe]
max_shell = 4

[axes]
p_global = [0.5, 0.8]
patch_size = "3,5"
time.t_min = "log:0.001:0.01:2"
"""


def test_a_file_gives_the_arguments_that_would_be_typed(tmp_path):
    path = tmp_path / "phases.toml"
    path.write_text(FILE)
    assert from_file(["sweep", str(path), "--explain"]) == [
        *("sweep", "patch"),
        *("--axis=p_global=0.5,0.8", "--axis=patch_size=3,5", "--axis=time.t_min=log:0.001:0.01:2"),
        *("--members=2", "--pack=2", "--grid-size=16", "--no-quick", "--out=elsewhere"),
        *("--time.num-steps=20", "--time.t-max=5.5", "--probe.max-shell=4"),
        "--explain",
    ]
    for typed in (["sweep", "patch", "--explain"], ["patch"], ["status", "x.toml"], []):
        assert from_file(typed) == typed


def test_lists_of_classes_and_switches_stand_in_files_too(tmp_path):
    path = tmp_path / "edm2.toml"
    path.write_text('experiment = "edm2"\nlabels = [3, 1]\nexplain = true\naxes.seed = [1, 2]\n')
    assert from_file(["sweep", str(path)]) == ["sweep", "edm2", "--axis=seed=1,2", "--labels", "3", "1", "--explain"]


def test_a_file_is_carried_out(tmp_path, nothing_computed, capsys):
    path = tmp_path / "phases.toml"
    path.write_text(FILE)
    cli.main(["sweep", str(path), "--explain", "--pack=4"])  # what is typed counts
    assert "8 cells x 2 members = 16 units in 2 program(s), packs of up to 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [("axes.seed = [1]", "names an experiment"), ("experiment = ", "is no TOML file"), (None, "No such file")],
)
def test_a_file_that_says_nothing_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=f"^softjax: .*{message}") as stop:
        cli.main(["sweep", str(path)])
    assert "\n" not in str(stop.value)


@pytest.mark.slow
def test_a_tilde_is_the_home_and_nothing_is_written_elsewhere(tmp_path, monkeypatch, capsys):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    monkeypatch.chdir(here)
    size = ["--grid-size=16", "--time.num-steps=5", "--probe.max-shell=4"]
    cli.main(["sweep", "patch", *size, "--axis=p_global=0.5,0.8", "--members=1", "--out=~/swept"])
    cli.main(["empirical", *size, "--num-trajectories=1", "--out=~/run"])
    assert {path.name for path in (home / "swept").iterdir()} == WRITTEN
    assert "empirical.png" in {path.name for path in (home / "run").iterdir()}
    assert {path.name for path in home.iterdir()} == {"swept", "run"}
    assert list(here.iterdir()) == []
    capsys.readouterr()
    cli.main(["status", "~/swept"])
    assert "2 done" in capsys.readouterr().out
    assert load_results("~/run").sizes["trajectory"] == 1
    config = empirical.Config(grid_size=16, num_trajectories=1, time=TimeGrid(14.0, num_steps=5), probe=Probe(4))
    assert empirical.run(config, "~/run/data.zarr").sizes["time"] == 6
    assert not os.path.exists("~")
