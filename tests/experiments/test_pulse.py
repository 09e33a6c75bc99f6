"""The pulse experiment on tiny random networks: everything but what trained ones find."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close

import softjax as sj
from softjax.convert import load_module, load_network, save_network
from softjax.experiments import pulse
from softjax.experiments._shared.judge import load_judge
from softjax.experiments.configs import NoiseGrid, Probe, PulseConfig
from softjax.experiments.pulse.guidance import conditions
from softjax.experiments.pulse.study import _sampler, weights
from softjax.networks import EDM2, Classifier, ClassifierConfig, DINOv2, DINOv2Config, EDM2Config

pytestmark = pytest.mark.slow

CONFIG = PulseConfig(
    classes=(2, 0),
    num_trials=3,
    num_unguided=1,
    num_centers=3,
    chunk=4,
    strength=6.0,
    width=3.0,
    noise=NoiseGrid(num_steps=6),
    probe=Probe(max_shell=2, num_fit_shells=2),
)


def save_edm2(folder, seed, label_dim=4):
    config = EDM2Config(
        img_resolution=8, img_channels=1, label_dim=label_dim, model_channels=8, channel_mult=(1,), num_blocks=1
    )
    network = EDM2(config, rngs=nnx.Rngs(seed))
    network = jax.tree.map(lambda leaf: leaf + 0.5 if leaf.ndim == 0 else leaf, network)
    save_network(folder, network, sj.EDM(0.5), "denoiser")
    return str(folder)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    save_network(root / "judge", Classifier(ClassifierConfig(4, 6, (8,)), rngs=nnx.Rngs(3)), prediction="logits")
    return {
        "weights": save_edm2(root / "edm2", 0),
        "guide": save_edm2(root / "guide", 1),
        "scorer": str(root / "judge"),
    }


@pytest.fixture(scope="module")
def measured(networks, tmp_path_factory):
    path = tmp_path_factory.mktemp("pulse") / "data.zarr"
    return pulse.run(replace(CONFIG, **networks), path), path


def test_conditions_differ_in_the_weight_only(measured, networks):
    data, _ = measured
    np.testing.assert_array_equal(data["trial_class"].values, [2, 0] * 3)
    field, null = load_network(networks["weights"], 2), load_network(networks["weights"])
    grid = CONFIG.noise
    ts = sj.karras_grid(grid.sigma_max, grid.sigma_min, grid.num_steps, grid.rho)
    trial = 4
    key = jr.fold_in(jr.split(jr.key(0))[0], trial)
    random = float(data["random_center"][trial])
    guidance = [
        1.0,
        sj.pulse(1.0, np.inf, 1.0).with_dose(15.0, ts),
        sj.pulse(data.attrs["critical_sigma"], 3.0, 6.0),
        sj.pulse(random, 3.0, 6.0),
        sj.pulse(data.attrs["null_sigma"], 3.0, 6.0),
    ]
    judge = load_module(networks["scorer"])
    for condition, weight in enumerate(guidance):
        sample = sj.heun(sj.GuidedField(field, null, weight), ts, key=key, shape=(8, 8, 1)).x
        assert_close(data["final_state"].values[trial, condition], sample, loosen=1000)
        probabilities = jax.nn.softmax(judge(jnp.clip(sample[1:7, 1:7, 0], -1, 1)))
        assert_close(data["probability"].values[trial, condition], probabilities[2], loosen=1000)
        assert data["top1"].values[trial, condition] == (int(jnp.argmax(probabilities)) == 2)
    images = data["final_state"].values[trial]
    assert all(np.max(np.abs(images[0] - other)) > 1e-3 for other in images[1:])


def test_random_centres_are_log_uniform_and_trials_have_their_own():
    ts = sj.karras_grid(80.0, 0.002, 8)
    centers = np.log(jax.vmap(conditions(CONFIG, ts, 1.0, 2.0, jr.key(0)).random_center)(jnp.arange(2000)))
    low, high = np.log([0.002, 80.0])
    assert low <= centers.min() < low + 0.1
    assert high - 0.1 < centers.max() <= high
    assert np.mean(centers) == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * 2000))


def test_pulses_of_the_curve_have_equal_dose():
    ts = sj.karras_grid(80.0, 0.002, 8)
    compared = conditions(CONFIG, ts, 1.0, 2.0, jr.key(0))
    shares = np.asarray(sj.fields.log_intervals(ts))[:-1]
    curve = [jax.tree.map(lambda leaf, n=n: leaf[n], compared.curve) for n in range(CONFIG.num_centers)]
    assert_close(np.asarray([float(weight.center) for weight in curve]), np.geomspace(80.0, 0.002, 3))
    for weight in [*curve, compared.constant]:
        assert_close(np.sum((np.asarray(weight(ts))[:-1] - 1) * shares), 15.0, loosen=10)


def test_an_interrupted_run_goes_on(measured, networks, tmp_path):
    config = replace(CONFIG, **networks)
    whole = pulse.run(config)

    def interrupt(done, total):
        if (done, total) == (4, 6):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pulse.run(config, tmp_path / "data.zarr", interrupt)
    steps = []
    resumed = pulse.run(config, tmp_path / "data.zarr", lambda done, total: steps.append((done, total)))
    assert [step for step in steps if step[1] == 6] == [(4, 6), (6, 6)]
    assert [step for step in steps if step[1] == 2] == [(2, 2)]  # unguided trajectories, all there
    for name in ("final_state", "probability", "curve_logit", "random_center"):
        np.testing.assert_array_equal(resumed[name].values, whole[name].values)
    assert {part.name for part in tmp_path.iterdir()} == {"data.zarr", "unguided.zarr"}
    with pytest.raises(FileExistsError, match="another configuration"):
        pulse.run(replace(config, strength=2.0), measured[1])


def test_autoguidance_is_by_the_other_network_with_the_label(networks):
    config = replace(CONFIG, **networks, guidance="autoguidance")
    sampler, num_classes = _sampler(config)
    assert num_classes == 4
    assert set(weights(config)) == {"weights_sha256", "guide_sha256", "scorer_sha256"}
    assert set(weights(replace(CONFIG, **networks))) == {"weights_sha256", "scorer_sha256"}
    weight, key = sj.pulse(1.0, 3.0, 6.0), jr.fold_in(jr.key(0), 5)
    image, _ = sampler(weight, jnp.asarray(1, jnp.int32), key)
    field = sj.GuidedField(load_network(networks["weights"], 1), load_network(networks["guide"], 1), weight)
    ts = sj.karras_grid(80.0, 0.002, 6)
    assert_close(image, sj.heun(field, ts, key=key, shape=(8, 8, 1)).x, loosen=1000)


def test_it_draws_and_sums_up(measured):
    data, _ = measured
    assert len(pulse.figure(data).subfigs) == 2
    rows = {row.name: row for row in pulse.summary(data)}
    difference = data["probability"].values[:, 2] - data["probability"].values[:, 3]
    assert rows["target probability: critical - random"].value == pytest.approx(difference.mean(), abs=1e-6)
    assert rows["probability: class 0"].value == pytest.approx(difference[1::2].mean(), abs=1e-6)
    assert dict(rows["probability: class 0"].also)["none"] == pytest.approx(data["probability"].values[1::2, 0].mean())
    assert rows["best centre at equal dose"].value in data["center"].values
    assert rows["trials"].value == 6
    against = data["probability"].values[:, 2] - data["probability"].values[:, 4]
    assert rows["target probability: critical - null"].value == pytest.approx(against.mean(), abs=1e-6)
    assert rows["sigma of the Gaussian null"].value > 0.1


@pytest.mark.parametrize(("effect", "verdict"), [(0.5, ": more than"), (-0.5, ": less than"), (0.0, "neither more")])
def test_the_verdict_is_that_of_the_interval(measured, effect, verdict):
    data = measured[0].copy(deep=True)
    noise = 0.01 * np.random.default_rng(0).normal(size=6)
    data["probability"][:, 2] = data["probability"][:, 3] + effect + noise - noise.mean()
    assert verdict in pulse.findings(data, pulse.summary(data))


def test_what_does_not_fit_is_refused(networks, tmp_path):
    config = replace(CONFIG, **networks)
    with pytest.raises(ValueError, match="no class-conditional EDM network"):
        pulse.run(replace(config, weights=save_edm2(tmp_path / "free", 0, label_dim=0)))
    with pytest.raises(ValueError, match="must know the same 4 classes"):
        pulse.run(replace(config, guidance="autoguidance", guide=save_edm2(tmp_path / "five", 0, label_dim=5)))
    with pytest.raises(ValueError, match="holds no classifier"):
        pulse.run(replace(config, scorer=networks["weights"]))
    for classes, message in (((4,), "between 0 and 3"), ((1, 1), "must differ")):
        with pytest.raises(ValueError, match=message):
            pulse.run(replace(config, classes=classes))
    for name in ("num_trials", "num_centers"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 2"):
            pulse.run(replace(config, **{name: 1}))
    with pytest.raises(ValueError, match="tells 4 classes apart"):
        load_judge(networks["scorer"], (8, 8, 1), 10)
    with pytest.raises(ValueError, match="side 6 and more"):
        load_judge(networks["scorer"], (4, 4, 1), 4)


def test_colour_images_are_judged_by_dinov2(tmp_path):
    from softjax.networks import preprocess_sample

    config = DINOv2Config(width=16, depth=4, num_heads=2, num_classes=5)
    save_network(tmp_path, DINOv2(config, rngs=nnx.Rngs(0)), prediction="logits", dtype="float32")
    image = jr.normal(jr.key(0), (16, 16, 3))
    judge, network = load_judge(tmp_path, (16, 16, 3), 5), load_module(tmp_path)
    scores = jax.jit(judge.scores)(image[None], jnp.asarray([3], jnp.int32))
    logits = jax.jit(network)(preprocess_sample(image))
    assert_close(scores.logit, logits[3:4], loosen=100)
    assert_close(scores.probability, jax.nn.softmax(logits)[3:4], loosen=100)
