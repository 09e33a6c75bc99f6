import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from fashion_sample import FOLDER, published_files
from jax.errors import JaxRuntimeError

from softjax import __version__, cli, experiments
from softjax.cli._environment import divide_cpu
from softjax.cli._output import print_table
from softjax.experiments import load_results, patch
from softjax.experiments._shared.config import WholeNumbers, checked
from softjax.experiments._shared.summary import Row
from softjax.experiments.configs import PatchConfig
from softjax.sweeps import status

SMALL = ["--grid-size", "16", "--patch-size", "3", "--num-trajectories", "2", "--time.num-steps", "30"]


@pytest.fixture(autouse=True)
def no_devices_chosen(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)


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
    assert load_results(out).sizes["trajectory"] == load_results(out / "data.zarr").sizes["trajectory"] == 2
    rows = json.loads((out / "summary.json").read_text())
    printed = capsys.readouterr().out
    assert "t_c, exact for this dictionary" in printed
    assert "t_c, measured" in printed
    assert {"t_c, tree level (two patterns)", "peak of median xi_eq", "site updates"} <= {row["name"] for row in rows}
    assert {path.name for path in out.iterdir()} == {
        *("patch.png", "patch.pdf", "config.json", "summary.json", "data.zarr")
    }


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
        (["--integration.solver", "shark", "--integration.engine", "scan"], "engine 'scan'"),
    ],
)
def test_bad_input_ends_with_a_message_and_no_traceback(arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run("patch", *SMALL, *arguments, "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["patch", "--seed", "-1"], r"seed must be a whole number from 0 to 4294967295, got -1\."),
        (["patch", "--seed", str(2**32)], "seed must be"),
        (["edm2", "--seed", str(2**70)], "seed must be"),
        (["train", "fashion", "--seed", "-1"], "seed must be"),
        (["patch", "--grid-size", "0"], r"grid_size must be a whole number of at least 1, got 0\."),
        (["theory", "--num-trajectories", "-3"], "num_trajectories must be"),
        (["theory", "--time.num-steps", "0"], "time.num_steps must be"),
        (["pulse", "--noise.num-steps", "1"], "noise.num_steps must be a whole number of at least 2"),
        (["pulse", "--chunk", "0"], "chunk must be"),
        (["clocks", "--num-clones", "1"], "num_clones must be"),
        (["patch", "--time.t-max", "inf"], r"time.t_max must be finite, got inf\."),
        (["edm2", "--noise.rho", "nan"], "noise.rho must be finite"),
        (["patch", "--probe.max-shell", "0"], r"probe.max_shell must be at least probe.num_fit_shells = 3, .*got 0\."),
    ],
)
def test_numbers_out_of_range_are_refused_before_jax_is_asked(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr("softjax.cli._environment.prepare_jax", None)
    with pytest.raises(SystemExit, match=message):
        run(*arguments, "--out", str(tmp_path))


def test_every_configuration_that_comes_with_softjax_is_within_range():
    known = {"clocks", "edm2", "empirical", "fashion", "locality", "patch", "pulse", "scaling", "theory"}
    assert known <= {*experiments.names()}
    for name in experiments.names():
        config = getattr(experiments, name).Config
        assert config is getattr(experiments.configs, f"{name.upper() if name == 'edm2' else name.title()}Config")
        assert checked(config()) == config()
        assert checked(config.quick()) == config.quick()
    assert checked(PatchConfig(seed=2**32 - 1)).seed == 2**32 - 1


def test_configurations_in_python_are_refused_too():
    with pytest.raises(ValueError, match="seed must be a whole number"):
        patch.run(PatchConfig(seed=2**32))
    with pytest.raises(ValueError, match="must be a whole number of at least 1, got 1.5"):
        WholeNumbers(1).check("num_trajectories", 1.5)


START = [sys.executable, "-c", "from softjax.cli import main; main()"]


@pytest.fixture
def nobody_reads():
    """The end of a pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_help_does_without_closed_streams(redirection):
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    done = subprocess.run([*shell, *START, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_survives_a_pipe_that_nobody_reads(nobody_reads):
    done = subprocess.run([*START, "--help"], stdout=nobody_reads, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_shows_what_the_encoding_can():
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*START, "--help"], capture_output=True, text=True, env=plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert "? patch" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is always full")
def test_output_that_cannot_be_written_is_said_in_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*START, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert re.fullmatch("softjax: standard output can't be written: No space left on device.\n", done.stderr)


@pytest.mark.slow
def test_a_run_does_without_a_reader_and_without_the_backend_of_a_notebook(tmp_path, nobody_reads):
    surroundings = {"MPLBACKEND": "module://not_installed.backend_inline", "XDG_CACHE_HOME": "", "COLUMNS": "0"}
    code = "import sys; from softjax.cli import main; main(); assert 'matplotlib.pyplot' not in sys.modules"
    size = ["--grid-size", "16", "--num-trajectories", "1", "--time.num-steps", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, "theory", *size, "--out", "out"],
        stdout=nobody_reads,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | surroundings,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert (tmp_path / "out" / "theory.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "error", [RuntimeError("Unable to initialize backend 'abc': it is unknown."), AssertionError()]
)
def test_a_platform_that_is_not_there_is_named(error, tmp_path, monkeypatch):
    def devices():
        raise error

    monkeypatch.setattr("jax.devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "abc")
    with pytest.raises(SystemExit, match=r"no device for JAX_PLATFORMS=abc.*\. Unset it, or set it to cpu"):
        run("patch", *SMALL, "--out", str(tmp_path))


@pytest.mark.parametrize(
    "error", [MemoryError(), JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory, 9 bytes.\nMore.")]
)
@pytest.mark.parametrize(
    ("command", "option"),
    [("patch", r"smaller --integration.chunk"), ("pulse", "smaller --chunk"), ("locality", "--num-patches")],
)
def test_exhausted_memory_names_the_option_that_bounds_it(error, command, option, tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise error

    monkeypatch.setattr(f"softjax.experiments.{command}.run", exhausted)
    with pytest.raises(SystemExit, match=f"memory is exhausted .*{option}") as stop:
        run(command, "--out", str(tmp_path))
    assert "\n" not in str(stop.value)


def test_a_mistake_of_softjax_is_not_hidden(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr("softjax.experiments.patch.run", broken)
    with pytest.raises(RuntimeError, match="changed size"):
        run("patch", "--out", str(tmp_path))


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home folder, as in containers."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", home)
    monkeypatch.setenv("XDG_CACHE_HOME", "")


def test_without_a_home_nothing_is_cached_and_downloads_say_what_to_set(homeless, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    with pytest.raises(SystemExit, match="no home folder.*Set HOME, or XDG_CACHE_HOME"):
        run("fetch-weights", "dinov2_vitb14_pretrain")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (None, f"softjax {__version__}\n")


def test_unwritable_output_is_said_before_anything_is_computed(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("softjax.sweeps._program.Program.run", None)
    with pytest.raises(SystemExit, match="can't be written"):
        run("patch", *SMALL, "--out", str(tmp_path / "file" / "out"))
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interruption_exits_with_its_number_and_says_how_to_go_on(name, code, tmp_path, monkeypatch, capsys):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("the system has no such signal")
    before = signal.getsignal(number)

    def interrupted(*_, **__):
        signal.raise_signal(number)

    monkeypatch.setattr("softjax.experiments.patch.run", interrupted)
    with pytest.raises(SystemExit) as stop:
        run("patch", *SMALL, "--out", str(tmp_path))
    assert stop.value.code == code
    assert f"Interrupted ({name}). {tmp_path / 'data.zarr'} keeps what is finished" in capsys.readouterr().out
    assert signal.getsignal(number) == before


def test_signals_that_are_ignored_stay_so(tmp_path, monkeypatch):
    """As under nohup."""
    monkeypatch.setattr("softjax.experiments.patch.run", lambda *_, **__: signal.raise_signal(signal.SIGTERM) or 1 / 0)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(ZeroDivisionError):
            run("patch", *SMALL, "--out", str(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_runs_in_a_thread_too(tmp_path, monkeypatch):
    """Only the main thread may say what a signal does."""
    monkeypatch.setattr("softjax.experiments.patch.run", lambda *_, **__: 1 / 0)
    raised = []

    def in_thread():
        try:
            run("patch", *SMALL, "--out", str(tmp_path))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [ZeroDivisionError]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the system has no such signals")
def test_what_is_finished_outlives_a_process_that_is_asked_to_end(tmp_path):
    many = ["--grid-size", "16", "--time.num-steps", "400", "--num-trajectories", "60", "--integration.chunk", "2"]
    command = [*START, "patch", *many, "--probe.max-shell", "4", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        finished = 0
        while finished == 0 and running.poll() is None:
            time.sleep(0.05)
            with suppress(FileNotFoundError):
                finished = status(tmp_path / "out").num_done
        running.send_signal(signal.SIGTERM)
        said, complained = running.communicate(timeout=60)
    assert (running.returncode, complained) == (143, "")
    assert "Interrupted (SIGTERM)" in said
    assert "the same command goes on" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data.zarr"]
    assert not list(tmp_path.rglob("*.partial"))
    kept = load_results(tmp_path / "out")
    assert 0 < finished <= kept.sizes["trajectory"] < 60
    subprocess.run(command, check=True, capture_output=True)
    whole = load_results(tmp_path / "out")
    assert whole.sizes["trajectory"] == 60
    assert (whole["final_state"].sel(trajectory=kept["trajectory"]) == kept["final_state"]).all()
    assert "patch.png" in {path.name for path in (tmp_path / "out").iterdir()}


EXPERIMENT = ["--grid-size", "sites", "--seed", "--quick", "--out"]
TRAINING = ["--optimisation.epochs", "--resume", "--seed", "--data", "--out"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], [*experiments.names(), "sweep", "status", "train", "convert", "fetch-weights"]),
        (["patch"], EXPERIMENT),
        (["empirical"], EXPERIMENT),
        (["clocks"], EXPERIMENT),
        (["theory"], EXPERIMENT),
        (["sweep"], experiments.names()),
        (
            ["sweep", "patch"],
            [*EXPERIMENT, "--axis", "--members", "--row", "--explain", "--shard", "--pack", "--repair"],
        ),
        (["status"], ["folder"]),
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
    monkeypatch.setattr("softjax.cli._train._LOG_SECONDS", 0.0)
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
    divide_cpu(batch)
    assert os.environ.get("JAX_NUM_CPU_DEVICES") == devices
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "5")  # a user's own setting
    divide_cpu(batch)
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


def test_a_table_that_is_too_wide_is_two_with_every_value_below_its_name(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        Row("time of the peak", 3.5, "t", (3.25, 3.75), also=tuple((f"clock {i}", 10.0 + i) for i in range(6))),
        Row("time of the null", math.nan, "t", also=(("clock 5", 1.5),), reason="the curve is flat"),
    ]
    print_table(rows, "cpu")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    first, second = shown.split("Summary, continued")
    assert "3.5  [3.25, 3.75]" in first
    assert "none (1)" in first
    cells = next(line for line in second.splitlines() if "null" in line).split("│")
    assert [cell.strip() for cell in cells[2:-1]] == ["", "", "", "", "", "1.5"]
    assert shown.rstrip().endswith("(1) the curve is flat")
