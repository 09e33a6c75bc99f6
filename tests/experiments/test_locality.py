"""Local scores against a network: chance and its intervals by hand, the sampler, and a small run on real images."""

from dataclasses import replace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from fashion_sample import FOLDER, published_files
from flax import nnx
from helpers import assert_close

import softjax as sj
from softjax.convert import save_network
from softjax.data import load_fashion_mnist, padded
from softjax.experiments import locality
from softjax.experiments._shared.score_gap import score_distance, score_gap, score_gap_at
from softjax.experiments.configs import LocalityConfig, TimeGrid
from softjax.experiments.locality.chance import agreement, jackknife
from softjax.experiments.locality.models import SwitchedField, Task, ddim_levels
from softjax.experiments.locality.study import along, gaps
from softjax.networks import EDM2, UNet, UNetConfig
from softjax.networks import EDM2Config as NetworkConfig
from softjax.training.fashion import images_of

CONFIG = LocalityConfig(
    data=str(FOLDER),
    patch_sizes=(3, 5),
    fixed_sizes=(55,),
    num_patches=100,
    num_images=20,
    num_states=3,
    num_times=3,
    num_samples=4,
    time=TimeGrid(num_steps=4),
)


def test_chance_is_the_mean_over_other_noise():
    pairs = np.asarray([[0.9, 0.5, 0.1], [0.4, 0.8, 0.2], [0.3, 0.0, 0.7]])
    found = agreement(pairs, np.asarray([0, 0, 1]), np.asarray([0.6, 0.5, 0.7]))
    assert_close(found.own.value, 0.8)
    assert_close(found.chance["other"].value, (0.3 + 0.3 + 0.15) / 3)
    assert_close(found.chance["label"].value, 0.45)  # the third has no partner
    assert_close(found.excess["label"].value, (0.4 + 0.4) / 2)
    assert_close(found.excess["mean"].value, 0.2)
    assert np.isnan(found.excess["label"].interval).all()  # without the first nor the second there is no pair


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=9)
    found = jackknife(lambda kept: values[kept], 9)
    error = values.std(ddof=1) / 3
    assert_close(np.asarray(found.interval), values.mean() + np.asarray([-1, 1]) * 2.306004135204166 * error)


@pytest.mark.slow
def test_intervals_of_the_excess_cover():
    """Images of two noises that share a part 0.5: r of equal noise 0.5, of other noise 0; 150 trials of 10 images."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(150):
        shared, a, b = rng.normal(size=(3, 10, 100))
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (shared + a, shared + b))
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        low, high = agreement(a @ b.T, np.arange(10) % 2, np.zeros(10)).excess["label"].interval
        covered += low <= 0.5 <= high
    assert 0.9 <= covered / 150 < 1  # nominally 0.95, with a standard error of 0.018


def test_ddim_takes_its_steps_from_the_cosine_schedule():
    """Against the update as Song et al. (2021) write it, x' = alpha' D + sigma' (x - alpha D)/sigma, under VP."""
    levels = np.asarray(ddim_levels(6.0, 5), float)
    first_angle = 0.008 / 1.008 * np.pi / 2
    last_angle = np.arccos(np.cos(first_angle) * np.exp(-3.0))  # where alpha is that of VP at t = 6
    alphas = np.cos(first_angle + (last_angle - first_angle) * np.arange(5, -1, -1) / 5) / np.cos(first_angle)
    np.testing.assert_allclose(levels, np.sqrt(np.maximum(1 / alphas**2 - 1, 0)), rtol=1e-4, atol=1e-6)

    spectrum = jnp.asarray(np.full((3, 4), 0.7))
    field = sj.GaussianField(spectrum, sj.VP(), 0.1)
    noise = jr.normal(jr.key(0), (2, 3, 4))
    process = field.process
    first = process.from_noise_to_signal(levels[0])
    task = Task(jnp.ones(1), noise[None], jnp.asarray(levels, noise.dtype), noise / process.alpha(first), "ddim")
    x = np.asarray(noise, float)
    for level, after in zip(levels[:-1], levels[1:], strict=True):
        alpha, alpha_after = (1 / np.sqrt(1 + r**2) for r in (level, after))
        sigma, sigma_after = level * alpha, after * alpha_after
        denoised = 0.1 + alpha * 0.7 / (alpha**2 * 0.7 + sigma**2) * (x - alpha * 0.1)
        x = alpha_after * denoised + sigma_after * (x - alpha * denoised) / sigma
    np.testing.assert_allclose(task.samples(field), x, rtol=2e-4, atol=2e-5)


def test_the_score_gap_is_that_of_the_scores():
    process = sj.VP()
    patterns = np.random.default_rng(0).normal(size=(4, 3, 5))
    fields = [sj.EmpiricalField(patterns[:k], process) for k in (1, 2, 4)]
    ts, states = jnp.asarray([2.0, 0.5]), jr.normal(jr.key(1), (2, 3, 3, 5))
    found = score_gap_at(fields[0], fields[1], fields[2], ts, states)
    for i, t in enumerate((2.0, 0.5)):
        for j in range(3):
            network, local, memorising = (np.asarray(f.score(t, states[i, j]), float) for f in fields)
            scale = (1 - np.exp(-t)) / 15
            expected = scale * (np.sum((network - local) ** 2) - np.sum((network - memorising) ** 2))
            np.testing.assert_allclose(found[i, j], expected, rtol=1e-4)
    one = jnp.zeros((2, 3, 3, 5))
    assert_close(score_gap(process, ts, one, one, states), -score_distance(process, ts, one, states))


def test_the_switched_field_takes_the_nearest_time():
    process = sj.VP()
    fields = [sj.LocalField(jr.normal(jr.key(n), (2, 5, 5)), 3, process) for n in range(2)]
    switched = SwitchedField(process, fields, jnp.asarray([4.0, 1.0, 0.1]), jnp.asarray([1, 0, 1]))
    x = jr.normal(jr.key(3), (5, 5))
    for t, which in ((5.0, 1), (2.1, 1), (1.9, 0), (0.4, 0), (0.2, 1)):
        assert_close(switched.denoise(t, x), fields[which].denoise(t, x))


@pytest.fixture
def files(monkeypatch):
    monkeypatch.setattr("softjax.data._fashion_mnist._FILES", published_files())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet")
    save_network(
        folder,
        UNet(UNetConfig(widths=(8,), num_middle_blocks=0, embedding_size=4), rngs=nnx.Rngs(0)),
        sj.VP(1.0),
        "noise",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softjax.data._fashion_mnist._FILES", published_files())
        return locality.run(replace(CONFIG, weights=str(folder)))


@pytest.mark.slow
def test_every_model_is_compared_with_the_network(run):
    names = ["network", "w = 3", "w = 5", "fixed 55", "PCA-local", "best", "Wiener", "global"]
    assert list(run["model"].values) == names
    samples = run["sample"].transpose("model", "number", "y", "x").values.reshape(8, 4, -1)
    pairs = run["sample_r"].transpose("model", "image", "other").values
    assert_close(pairs[2], np.corrcoef(samples[0], samples[2])[:4, 4:], 100)
    denoised = run["denoised"].transpose("model", "time", "state", "y", "x").values.reshape(8, 3, 3, -1)
    along_time = run["denoised_r"].transpose("model", "time", "noisy", "other_noisy").values
    assert_close(along_time[1, 1], np.corrcoef(denoised[0, 1], denoised[1, 1])[:3, 3:], 100)
    own = np.diagonal(along_time[1:3], axis1=-2, axis2=-1).mean(axis=-1)
    np.testing.assert_array_equal(run["best_patch_size"].values[:, 0], np.asarray([3, 5])[own.argmax(axis=0)])
    chosen = denoised[1:3][own.argmax(axis=0), np.arange(3)]
    assert_close(denoised[names.index("best")], chosen)
    assert_close(along(run, "global")[0].own.value, np.diag(along_time[-1, 0]).mean(), 10)
    distance = np.mean((denoised[5] - denoised[0]) ** 2, axis=-1) - np.mean((denoised[7] - denoised[0]) ** 2, axis=-1)
    signal = 1 / np.expm1(run["time"].values.astype(float))
    assert_close(run["score_gap"].values, signal[:, None] * distance, 1000)
    assert_close(gaps(run)[2].value, run["score_gap"].values[2].mean(), 10)


@pytest.mark.slow
def test_it_draws_and_sums_up(run):
    assert len(locality.figure(run).subfigs) == 2
    rows = locality.summary(run)
    assert [row.name for row in rows] == [
        f"{kind}, {name}" for kind in ("r", "r2", "excess r") for name in run["model"].values[1:]
    ]
    assert [name for name, _ in rows[0].also] == ["other", "label", "mean"]
    words = locality.findings(run, rows)
    assert "beyond" in words
    assert rows[-1].text.replace("  ", " ") in words


@pytest.mark.slow
def test_local_scores_see_the_spins_that_the_network_was_trained_on(tmp_path, monkeypatch, files):
    network = UNet(UNetConfig(widths=(8,), num_middle_blocks=0, embedding_size=4), rngs=nnx.Rngs(0))
    save_network(tmp_path, network, sj.VP(1.0), "noise", {"training": {"threshold": 128}})
    seen = []
    spy = lambda data, *options: seen.append(options) or images_of(data, *options)  # noqa: E731
    monkeypatch.setattr("softjax.training.fashion.images_of", spy)

    def enough(*_):
        raise InterruptedError  # what comes after the data need not run

    monkeypatch.setattr("softjax.experiments.locality.models.noisy_states", enough)
    with pytest.raises(InterruptedError):
        locality.run(replace(CONFIG, weights=str(tmp_path)))
    assert seen == [("binary", 128)] * 2


@pytest.mark.slow
def test_a_class_is_compared_with_scores_of_its_own_images(tmp_path, files):
    config = NetworkConfig(
        img_resolution=32, img_channels=1, label_dim=10, model_channels=8, channel_mult=(1,), num_blocks=1
    )
    save_network(tmp_path, EDM2(config, rngs=nnx.Rngs(0)), sj.EDM(0.5), "denoiser")
    config = replace(CONFIG, weights=str(tmp_path), labels=(3, 1))
    sweep = locality.sweep(config)
    cells = {(cell["model"], cell["label"]): unit for cell, unit in zip(sweep.cells, sweep.units, strict=True)}
    train = images_of(load_fashion_mnist("train", FOLDER), "grey")
    for label in (3, 1):
        wanted = padded(train.images[train.labels == label], 32)
        np.testing.assert_array_equal(cells["global", label].field.patterns, wanted)
        assert int(cells["network", label].field.label) == label
        assert cells["best", label].task.noise.shape == (2, 32, 32)
    first, second = (cells["network", label].task for label in (3, 1))
    assert not np.allclose(first.noise, second.noise)
    np.testing.assert_allclose(first.times[0], np.sqrt(np.expm1(6)), rtol=1e-5)
