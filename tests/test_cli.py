import json
import os
import subprocess
import sys

import pytest
from fashion_sample import FOLDER, published_files

from softjax import cli
from softjax.experiments import load_results

SMALL = ["--grid-size", "16", "--patch-size", "3", "--num-trajectories", "2", "--time.num-steps", "30"]


@pytest.fixture(autouse=True)
def no_devices_left_behind(monkeypatch):
    """Trainings set this variable, which other tests' processes would inherit."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "")
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")


def run(*arguments):
    cli.main([*arguments])


@pytest.mark.slow
def test_patch_writes_figure_data_config_and_summary(tmp_path, capsys):
    run("patch", *SMALL, "--seed", "3", "--out", str(tmp_path / "deep" / "out"))
    out = tmp_path / "deep" / "out"
    assert (out / "patch.png").stat().st_size > 10_000
    assert (out / "patch.pdf").read_bytes().startswith(b"%PDF")
    config = json.loads((out / "config.json").read_text())
    assert (config["grid_size"], config["seed"], config["time"]["num_steps"]) == (16, 3, 30)
    assert load_results(out / "data.zarr").sizes["trajectory"] == 2
    rows = json.loads((out / "summary.json").read_text())
    printed = capsys.readouterr().out
    assert "t_c, exact for this dictionary" in printed
    assert {"t_c, tree level (two patterns)", "peak of median xi_eq", "site updates"} <= {row["name"] for row in rows}


@pytest.mark.slow
def test_quick_changes_defaults_and_other_options_still_apply(tmp_path):
    run("empirical", "--quick", "--num-trajectories", "1", "--time.num-steps", "20", "--out", str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["grid_size"], config["num_trajectories"], config["time"]["num_steps"]) == (32, 1, 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patch-size", "4"], "must be odd"),
        (["--time.t-min", "7"], "t_min < t_max"),
        (["--p-global", "0"], "p_global"),
    ],
)
def test_bad_input_ends_with_a_message_and_no_traceback(arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run("patch", *SMALL, *arguments, "--out", str(tmp_path))


def test_unwritable_output_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("softjax.experiments._ensemble._run_chunk", None)
    with pytest.raises(SystemExit, match="can't be written"):
        run("patch", *SMALL, "--out", str(tmp_path / "file" / "out"))


def test_interruption_exits_with_130_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("softjax.experiments.patch.run", interrupted)
    with pytest.raises(SystemExit) as stop:
        run("patch", *SMALL, "--out", str(tmp_path))
    assert stop.value.code == 130
    assert "same command goes on" in capsys.readouterr().out


EXPERIMENT = ["--grid-size", "sites", "--seed", "--quick", "--out"]
TRAINING = ["--optimisation.epochs", "--resume", "--seed", "--data", "--out"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["patch", "empirical", "clocks", "theory", "fashion", "train"]),
        (["patch"], EXPERIMENT),
        (["empirical"], EXPERIMENT),
        (["clocks"], EXPERIMENT),
        (["theory"], EXPERIMENT),
        (["train"], ["fashion", "classifier"]),
        (["train", "fashion"], [*TRAINING, "--widths", "--num-blocks", "--padding", "--variant", "--threshold"]),
        (["train", "classifier"], TRAINING),
    ],
)
def test_help_explains_options_and_does_not_import_jax(command, words):
    script = f"""
import sys
from softjax.cli import main
try:
    main({[*command, "--help"]!r})
finally:
    assert "jax" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert all(word in shown for word in words)


@pytest.fixture
def sample(monkeypatch):
    """Training reads the sample of Fashion-MNIST and does not measure the machine."""
    monkeypatch.setattr("softjax.data._fashion_mnist._FILES", published_files())
    monkeypatch.setattr("softjax.training._trainer.matmul_rate", lambda: 1e9)
    return str(FOLDER)


@pytest.mark.optimised
@pytest.mark.slow
def test_train_writes_a_network_and_goes_on_when_asked(sample, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("softjax.cli._LOG_SECONDS", 0.0)
    size = ["--widths", "8", "--optimisation.batch-size", "100", "--optimisation.microbatch", "50"]
    command = ["train", "fashion", *size, "--data", sample, "--out", str(tmp_path)]
    run(*command, "--optimisation.epochs", "1")
    shown = capsys.readouterr().out
    assert "step 2 of 2: loss" in shown
    assert "Network" in shown
    with pytest.raises(SystemExit, match=r"is there already: resume that training \(--resume\)"):
        run(*command, "--optimisation.epochs", "2")
    run(*command, "--optimisation.epochs", "2", "--resume")
    about = json.loads((tmp_path / "network" / "network.json").read_text())["about"]
    assert about["epochs"] == 2.0
    assert len(about["validation"]["all t"]) == 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say which cores are ours")
@pytest.mark.parametrize(
    ("cores", "batch", "flags", "devices"),
    [
        (2, 256, "", "2"),
        (6, 256, "", "4"),
        (6, 7, "", "1"),
        (6, 256, "--xla_force_host_platform_device_count=3", None),
    ],
)
def test_a_training_takes_one_device_for_each_core(cores, batch, flags, devices, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("XLA_FLAGS", flags)
    cli._divide_cpu(batch)
    assert os.environ.get("JAX_NUM_CPU_DEVICES") == devices
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "5")  # a user's own setting
    cli._divide_cpu(batch)
    assert os.environ["JAX_NUM_CPU_DEVICES"] == "5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fashion", "--widths", "12"], "widths must be multiples of 8"),
        (["fashion", "--widths", "8", "--optimisation.batch-size", "201"], "batch_size 201 exceeds the 200 images"),
        (["fashion", "--t-min", "9"], "t_min < t_max"),
        (["classifier", "--data", "nowhere"], "apt install dataset-fashion-mnist"),
    ],
)
def test_bad_trainings_end_with_a_message_and_no_traceback(arguments, message, sample, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run("train", *arguments, "--out", str(tmp_path), *([] if "--data" in arguments else ["--data", sample]))
    assert not list(tmp_path.iterdir())


def test_interrupted_trainings_say_how_to_go_on(sample, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("softjax.training.train_fashion", interrupted)
    with pytest.raises(SystemExit) as stop:
        run("train", "fashion", "--out", str(tmp_path))
    assert stop.value.code == 130
    assert "--resume goes on" in capsys.readouterr().out
