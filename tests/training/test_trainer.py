import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close
from safetensors.numpy import load_file
from training.toy import CONFIG, OBJECTIVE, SHAPE, STEPS, assert_same, data, toy

from softjax.convert import CheckpointError
from softjax.data import LabelledImages
from softjax.training import Optimisation, load_checkpoint, save_checkpoint, train, validation_losses

pytestmark = pytest.mark.float32

KEY = jr.key(5)


class Killed(Exception):
    pass


def stop_after(step):
    def report(state):
        if state.step == step:
            raise Killed

    return report


@pytest.fixture(scope="module")
def uninterrupted():
    return train(OBJECTIVE, toy(), data(), CONFIG, key=KEY)


@pytest.fixture(autouse=True, scope="module")
def unmeasured():
    """The machine's speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softjax.training._trainer.matmul_rate", lambda: 1e9)
        yield


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """The checkpoint of a training that was stopped in the middle of its first epoch."""
    path = tmp_path_factory.mktemp("unfinished") / "deep" / "checkpoint.safetensors"
    with pytest.raises(Killed):
        train(OBJECTIVE, toy(), data(), CONFIG, key=KEY, checkpoint=path, settings={"seed": 5}, report=stop_after(2))
    return path


@pytest.fixture
def stopped(unfinished, tmp_path):
    """A copy of it."""
    return Path(shutil.copy(unfinished, tmp_path))


def resumed(path, network=None, images=None, config=CONFIG, settings=None, resume=True, **options):
    return train(
        OBJECTIVE,
        network or toy(),
        images or data(),
        config,
        key=KEY,
        checkpoint=path,
        settings=settings or {"seed": 5},
        resume=resume,
        **options,
    )


def test_loss_falls_and_the_given_network_is_left_alone():
    network = toy()
    average, history = train(OBJECTIVE, network, data(), replace(CONFIG, epochs=40), key=KEY)
    assert history["loss"].shape == (120,)
    assert np.mean(history["loss"][-20:]) < 0.6 * np.mean(history["loss"][:5])
    assert_same(network, toy())
    assert float(jnp.max(jnp.abs(average.gain - network.gain))) > 0.1


@pytest.mark.parametrize("microbatch", [1, 4])
def test_microbatches_are_the_whole_batch(microbatch, uninterrupted):
    average, history = train(OBJECTIVE, toy(), data(), replace(CONFIG, microbatch=microbatch), key=KEY)
    np.testing.assert_allclose(history["loss"], uninterrupted[1]["loss"], rtol=1e-5)
    assert_close(average, uninterrupted[0], loosen=64)


def test_the_average_follows_the_first_step_at_once():
    config = replace(CONFIG, epochs=1, batch_size=24, cooldown=0.0, warmup_steps=1, weight_decay=0.0)
    average, history = train(OBJECTIVE, toy(), data(), config, key=KEY)
    moved = [(a - b) for a, b in zip(jax.tree.leaves(average), jax.tree.leaves(toy()), strict=True)]
    for step in moved:  # Adam's first step has the size of the learning rate, and the average is its end
        np.testing.assert_allclose(np.abs(step), config.learning_rate, rtol=0.01)
    assert history["loss"].shape == (1,)


def test_other_keys_train_otherwise(uninterrupted):
    _, history = train(OBJECTIVE, toy(), data(), CONFIG, key=jr.key(6))
    assert not np.any(history["loss"] == uninterrupted[1]["loss"])


def test_resuming_repeats_the_uninterrupted_training(stopped, uninterrupted):
    assert load_history(stopped)["loss"].shape == (2,)
    average, history = resumed(stopped)
    np.testing.assert_array_equal(history["loss"], uninterrupted[1]["loss"])
    assert_same(average, uninterrupted[0])
    again, _ = resumed(stopped)  # nothing is left to do
    assert_same(again, average)


def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(ValueError, match="batch_size 8 must be a multiple of the 3 devices"):
        train(OBJECTIVE, toy(), data(), CONFIG, key=KEY)


def load_history(path):
    return {k.removeprefix("history."): v for k, v in load_file(path).items() if k.startswith("history.")}


def test_validation_is_recorded_at_every_epoch_and_kept_on_resuming(stopped):
    seen = []

    def validate(network):
        seen.append(float(jnp.sum(network.gain)))
        return {"sum": seen[-1]}

    _, history = resumed(stopped, config=replace(CONFIG, epochs=3), validate=validate)
    np.testing.assert_array_equal(history["sum"], seen)
    assert len(seen) == 3
    _, history = resumed(stopped, config=replace(CONFIG, epochs=4), validate=validate)
    np.testing.assert_array_equal(history["sum"], seen)
    assert history["loss"].shape == (12,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"seed": 6}}, "other settings: seed 5 there and 6 here"),
        ({"config": replace(CONFIG, learning_rate=0.1)}, "learning_rate 0.05 there and 0.1 here"),
        ({"config": replace(CONFIG, batch_size=12)}, "batch_size 8 there and 12 here"),
        ({"network": toy((4, 1))}, r"another architecture: network\.gain has shape \(4, 6\)"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_kept(stopped, changes, message):
    before = stopped.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        resumed(stopped, **changes)
    assert stopped.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"nothing of the kind", 0.5, -1], ids=["empty", "text", "half", "all but one"]
)
def test_a_damaged_checkpoint_is_refused_and_kept(stopped, content):
    whole = stopped.read_bytes()
    damaged = content if isinstance(content, bytes) else whole[: int(content * len(whole)) if content > 0 else content]
    stopped.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="is no checkpoint, or a damaged one.*remove it to start anew"):
        resumed(stopped)
    assert stopped.read_bytes() == damaged


def test_a_checkpoint_is_not_overwritten_without_resume(stopped):
    before = stopped.read_bytes()
    with pytest.raises(FileExistsError, match=r"is there already: resume that training \(--resume\), or name another"):
        resumed(stopped, resume=False)
    assert stopped.read_bytes() == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(stopped):
    before = stopped.read_bytes()
    broken = LabelledImages(np.full((24, *SHAPE), np.nan, FLOAT), data().labels)
    with pytest.raises(FloatingPointError, match="no longer finite.*smaller learning_rate"):
        resumed(stopped, images=broken)
    assert stopped.read_bytes() == before


def test_a_checkpoint_waits_for_its_time(tmp_path):
    path, config = tmp_path / "checkpoint.safetensors", replace(CONFIG, checkpoint_seconds=1e6)
    for stop, wanted in [(2, 0), (4, 3)]:  # the end of an epoch comes before its time
        with pytest.raises(Killed):
            train(OBJECTIVE, toy(), data(), config, key=KEY, checkpoint=path, report=stop_after(stop))
        assert (load_history(path)["loss"].size if path.exists() else 0) == wanted


def test_state_history_and_settings_survive_the_checkpoint(tmp_path):
    state = {"a": jnp.arange(3), "b": (jnp.ones((2, 2), FLOAT), jnp.asarray(7, jnp.int32))}
    save_checkpoint(tmp_path / "c", state, {"loss": np.asarray([0.5, 0.25])}, {"widths": [1, 2]})
    like = jax.tree.map(jnp.zeros_like, state)
    loaded, history = load_checkpoint(tmp_path / "c", like, {"widths": [1, 2]})
    assert_same(loaded, state)
    np.testing.assert_array_equal(history["loss"], [0.5, 0.25])
    assert not list(tmp_path.glob("*.partial"))


def test_reports_tell_progress_and_speed():
    reports = []
    _, history = train(
        OBJECTIVE, toy(), data(), CONFIG, key=KEY, report=reports.append, validate=lambda _: {"all t": 0.25}
    )
    assert [(state.step, state.num_steps) for state in reports] == [(n + 1, STEPS) for n in range(STEPS)]
    assert all(state.images_per_second > 0 and state.operations_per_second > 0 for state in reports)
    assert reports[-1].loss == pytest.approx(np.mean(history["loss"]))
    assert reports[-1].validation == {"all t": 0.25}
    assert "images/s" in reports[-1].text
    assert "all t: 0.2500" in reports[-1].text


def test_constraints_hold_after_every_step():
    def constrain(network):
        return jax.tree.map(lambda leaf: jnp.clip(leaf, -0.01, 0.01), network)

    config = replace(CONFIG, average_width=0.0, learning_rate=1.0)
    average, _ = train(OBJECTIVE, constrain(toy()), data(), config, key=KEY, constrain=constrain)
    assert all(float(jnp.max(jnp.abs(leaf))) <= 0.01 for leaf in jax.tree.leaves(average))


@pytest.mark.parametrize("edges", [(1e-2, 1e-1, 1.0, 6.0), (6.0, 1.0, 0.1)])
def test_validation_losses_are_means_at_log_uniform_times(edges):
    network, images = toy(), data(7)
    losses = validation_losses(OBJECTIVE, network, images, edges, key=KEY)
    for got, a, b in zip(losses, edges[:-1], edges[1:], strict=True):
        times = a * (b / a) ** ((np.arange(7) + 0.5) / 7)
        every = [
            OBJECTIVE.loss(network, jnp.asarray(t, FLOAT), jnp.asarray(x), jnp.asarray(label), jr.fold_in(KEY, i))
            for i, (t, x, label) in enumerate(zip(times, *images, strict=True))
        ]
        assert_close(got, np.mean(np.asarray(every, float)), loosen=8)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Optimisation(batch_size=25), "batch_size 25 exceeds the 24 images"),
        (replace(CONFIG, microbatch=3), "microbatch 3 must divide batch_size 8"),
    ],
)
def test_batches_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        train(OBJECTIVE, toy(), data(), config, key=KEY)


ON_TWO_DEVICES = """
import sys
sys.path.insert(0, sys.argv[1])
import jax, json
import jax.random as jr
from dataclasses import replace
from training.toy import CONFIG, OBJECTIVE, data, toy
from softjax.training import train
assert jax.device_count() == 2
average, history = train(OBJECTIVE, toy(), data(), CONFIG, key=jr.key(5))
assert len(average.gain.sharding.device_set) == 2
print(json.dumps([history["loss"].tolist(), average.gain.tolist()]))
"""


@pytest.mark.slow
def test_two_devices_train_like_one(uninterrupted):
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": str(int(X64)),
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, str(Path(__file__).parents[1])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses, gain = json.loads(done.stdout)
    np.testing.assert_allclose(losses, uninterrupted[1]["loss"], rtol=1e-5)
    np.testing.assert_allclose(gain, uninterrupted[0].gain, rtol=1e-4, atol=1e-5)
