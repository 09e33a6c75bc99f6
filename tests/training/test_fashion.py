import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from fashion_sample import FOLDER, published_files
from flax import nnx
from helpers import FLOAT
from safetensors import SafetensorError
from safetensors.numpy import load_file

import softjax as sj
from softjax.convert import CheckpointError, load_module, load_network, read_description
from softjax.data import SPIN_THRESHOLD, LabelledImages, binarized, load_fashion_mnist
from softjax.networks import Classifier, ClassifierConfig, UNet, UNetConfig
from softjax.training import (
    Classification,
    ClassifierTraining,
    EDM2Training,
    FashionTraining,
    NoisePrediction,
    Optimisation,
    train,
    train_classifier,
    train_edm2,
    train_fashion,
)
from softjax.training._speed import matmul_rate, operations
from softjax.training.fashion import accuracy, images_of

pytestmark = pytest.mark.optimised
QUICK = Optimisation(epochs=1, batch_size=50, microbatch=50, learning_rate=3e-3, warmup_steps=1)


@pytest.fixture
def sample(monkeypatch):
    monkeypatch.setattr("softjax.data._fashion_mnist._FILES", published_files())
    return {split: load_fashion_mnist(split, FOLDER) for split in ("train", "test")}


def halved(data):
    """Spins on every other pixel."""
    images = images_of(data, "binary")
    return LabelledImages(images.images[:, ::2, ::2][:, :12, :12], images.labels)


def test_variants_are_floats_of_the_default_type(sample):
    for variant, values in [("binary", 2), ("grey", 200)]:
        images, labels = images_of(sample["test"], variant)
        assert (images.dtype, labels.dtype) == (FLOAT, np.int32)
        assert (images.min(), images.max()) == (-1, 1)
        assert values <= len(np.unique(images)) <= 256
    np.testing.assert_array_equal(images_of(sample["test"], "binary").images, binarized(sample["test"].images))
    assert FashionTraining().threshold == ClassifierTraining().threshold == SPIN_THRESHOLD


@pytest.mark.slow
@pytest.mark.float32
def test_a_unet_learns_to_tell_noise_from_clothes(sample):
    network = UNet(UNetConfig(widths=(8, 16), embedding_size=16, num_middle_blocks=1), rngs=nnx.Rngs(0))
    objective = NoisePrediction(sj.VP(), 0.1, 6.0)
    config = replace(QUICK, epochs=8, batch_size=20, microbatch=20, learning_rate=1e-2)
    average, history = train(objective, network, halved(sample["train"]), config, key=jr.key(0))
    assert history["loss"][0] == pytest.approx(1, abs=0.1)  # it says nothing at first
    assert np.mean(history["loss"][-20:]) < 0.5
    assert float(jnp.max(jnp.abs(average.output.kernel[...]))) > 0


@pytest.mark.slow
@pytest.mark.float32
def test_a_classifier_learns_the_classes(sample):
    network = Classifier(ClassifierConfig(side=12, widths=(16, 32)), rngs=nnx.Rngs(0))
    config = replace(QUICK, epochs=30, batch_size=40, microbatch=40, learning_rate=1e-2)
    average, history = train(Classification(shift=1), network, halved(sample["train"]), config, key=jr.key(0))
    assert np.mean(history["loss"][-10:]) < 0.5 * history["loss"][0]
    assert accuracy(average, halved(sample["test"])) > 0.5


def test_accuracy_is_the_share_of_right_answers():
    images = np.eye(4)[[0, 1, 2, 3, 1]].reshape(5, 2, 2).astype(FLOAT)
    data = LabelledImages(images, np.asarray([0, 1, 2, 2, 2], np.int32))
    assert accuracy(jax.tree_util.Partial(jnp.ravel), data) == pytest.approx(0.6)


@pytest.mark.slow
def test_training_leaves_a_network_with_its_card(sample, tmp_path):
    config = FashionTraining(
        variant="grey",
        widths=(8, 8),
        num_blocks=2,
        num_middle_blocks=1,
        padding="circular",
        num_classes=10,
        t_min=0.01,
        optimisation=QUICK,
    )
    folder = train_fashion(config, tmp_path, folder=FOLDER)
    assert load_module(folder).config == UNetConfig(
        widths=(8, 8), num_blocks=2, num_middle_blocks=1, padding="circular", num_classes=10
    )
    description = read_description(folder)
    about = description["about"]
    assert description["process"] == {"name": "VP", "beta": 1.0}
    assert about["data"] == "Fashion-MNIST, grey, 200 training images (MIT licence)"
    assert about["epochs"] == 1.0
    assert about["training"]["t_min"] == 0.01
    assert set(about["validation"]) == {"0.01 to 0.1", "0.1 to 1", "1 to 8", "all t"}
    assert all(0 < losses[0] < 2 for losses in about["validation"].values())
    field, checkpoint = load_network(folder, label=3), load_file(tmp_path / "checkpoint.safetensors")
    kept = load_file(folder / "weights.safetensors")["input.kernel"]
    np.testing.assert_array_equal(kept, checkpoint["average.input.kernel"].astype(np.float16))
    assert np.all(np.isfinite(field.score(0.5, jnp.ones((28, 28), FLOAT))))
    with pytest.raises(FileExistsError, match="--resume"):
        train_fashion(config, tmp_path, folder=FOLDER)
    more = train_fashion(replace(config, start=str(folder)), tmp_path / "more", folder=FOLDER)
    assert read_description(more)["about"]["epochs"] == 2.0
    assert read_description(more)["about"]["training_loss"]["mean"][0] < about["training_loss"]["mean"][0]
    resting = replace(config, start=str(folder), seed=1, optimisation=replace(QUICK, learning_rate=1e-12))
    same = read_description(train_fashion(resting, tmp_path / "same", folder=FOLDER))["about"]["validation"]
    assert same == {name: pytest.approx(losses, rel=5e-3) for name, losses in about["validation"].items()}
    with pytest.raises(CheckpointError, match="another architecture"):
        train_fashion(replace(config, start=str(folder), widths=(8, 16)), tmp_path / "else", folder=FOLDER)


@pytest.mark.slow
def test_posterior_targets_have_less_noise_to_predict(sample, tmp_path):
    """The network says nothing at first: its loss is the target's mean square, of the same noisy images."""
    config = FashionTraining(widths=(8, 8), t_min=3.0, t_max=3.1, optimisation=replace(QUICK, learning_rate=1e-12))
    plain, exact = (
        read_description(train_fashion(replace(config, posterior_targets=on), tmp_path / str(on), folder=FOLDER))
        for on in (False, True)
    )
    losses, fewer = (description["about"]["training_loss"]["mean"] for description in (plain, exact))
    process, images = sj.VP(), images_of(sample["train"], "binary").images
    field = sj.EmpiricalField(images, process)
    x = process.alpha(3.05) * images + process.sigma(3.05) * jr.normal(jr.key(0), images.shape, FLOAT)
    spread = images - jax.lax.map(lambda x: field.denoise(3.05, x), x)
    expected = float(jnp.mean(spread**2) * jnp.expm1(3.05) ** -1)
    assert np.mean(losses) - np.mean(fewer) == pytest.approx(expected, rel=0.2)
    assert plain["about"]["validation"] == exact["about"]["validation"]
    assert set(plain["about"]["validation"]) == {"3 to 3.1", "all t"}


@pytest.mark.slow
def test_the_judge_of_samples_is_stored_with_its_accuracy(sample, tmp_path):
    config = ClassifierTraining(threshold=200, optimisation=replace(QUICK, batch_size=64, microbatch=64))
    folder = train_classifier(config, tmp_path, folder=FOLDER)
    stored, test = load_module(folder), images_of(sample["test"], "binary", 200)
    noted = read_description(folder)["about"]["validation"]["accuracy"]
    assert read_description(folder)["process"] is None
    assert len(noted) == 1
    assert abs(accuracy(stored, test) - noted[0]) <= 0.02  # stored in half precision


@pytest.mark.slow
@pytest.mark.float32
def test_a_small_edm2_learns_classes_at_weights_of_unit_size(sample, tmp_path):
    config = EDM2Training(model_channels=4, channel_mult=(1,), optimisation=replace(QUICK, epochs=2))
    folder = train_edm2(config, tmp_path, folder=FOLDER)
    description = read_description(folder)
    losses = description["about"]["validation"]
    assert description["process"] == {"name": "EDM", "sigma_data": 0.87}
    assert set(losses) == {"0.01 to 0.1", "0.1 to 1", "1 to 10", "10 to 80", "all sigma"}
    assert losses["all sigma"][1] < losses["all sigma"][0]
    kernels = [
        value
        for name, value in load_file(tmp_path / "checkpoint.safetensors").items()
        if "network.input.kernel" in name
    ]
    np.testing.assert_allclose(np.mean(np.square(kernels[0]), axis=(0, 1, 2)), 1, rtol=1e-3)
    network, x = load_module(folder), jnp.ones((32, 32, 1), FLOAT)
    labels = jnp.eye(11, 10, dtype=FLOAT)[jnp.asarray([3, 4, 10])]  # the last one is none
    third, *others = jax.jit(jax.vmap(lambda label: network(1.0, x, label)))(labels)
    assert all(float(jnp.max(jnp.abs(third - other))) > 1e-5 for other in others)


def test_missing_data_are_said_before_anything_is_computed(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        train_fashion(FashionTraining(), tmp_path / "out", folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_operations_and_rates_are_those_of_the_matrix_product():
    a = jnp.ones((64, 32), FLOAT)
    assert operations(jnp.matmul, a, a.T) == 2 * 64 * 64 * 32
    assert matmul_rate(2) > 1e7


TRAINING = """
import sys
sys.path.insert(0, sys.argv[1])
from fashion_sample import FOLDER, take_the_sample_for_the_whole
from softjax import cli
from softjax.training import _trainer
take_the_sample_for_the_whole()
_trainer.matmul_rate = lambda: 1e9
size = ["--widths", "8", "--optimisation.epochs", "3", "--optimisation.batch-size", "10"]
often = ["--optimisation.checkpoint-seconds", "0", "--optimisation.microbatch", "10"]
cli.main(["train", "fashion", *size, *often, "--data", str(FOLDER), "--out", *sys.argv[2:]])
"""


def losses_in(checkpoint):
    try:
        return load_file(checkpoint)["history.loss"]
    except (FileNotFoundError, SafetensorError):
        return np.zeros(0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start(out, *options):
        command = [sys.executable, "-c", TRAINING, str(Path(__file__).parents[1]), str(tmp_path / out), *options]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    whole = start("whole")
    assert whole.wait(300) == 0, whole.communicate()[1]
    killed, checkpoint = start("killed"), tmp_path / "killed" / "checkpoint.safetensors"
    while losses_in(checkpoint).size < 5 and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert 5 <= losses_in(checkpoint).size < 60
    assert not (tmp_path / "killed" / "network").exists()
    resumed = start("killed", "--resume")
    assert resumed.wait(300) == 0, resumed.communicate()[1]
    for process in (whole, resumed):
        process.communicate()

    np.testing.assert_array_equal(losses_in(checkpoint), losses_in(tmp_path / "whole" / "checkpoint.safetensors"))
    descriptions = [json.loads((tmp_path / out / "network/network.json").read_text()) for out in ("whole", "killed")]
    assert descriptions[0]["sha256"] == descriptions[1]["sha256"]
    assert losses_in(checkpoint).size == 60


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0])
@pytest.mark.usefixtures("without_type_checks")
def test_seeds_that_would_repeat_others_are_refused(sample, tmp_path, seed):
    with pytest.raises(ValueError, match="seed must"):
        train_fashion(FashionTraining(seed=seed), tmp_path, folder=FOLDER)
