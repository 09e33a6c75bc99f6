from statistics import NormalDist

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.training import Classification, Denoising, NoisePrediction

pytestmark = pytest.mark.float32

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6)), FLOAT)
LABEL = jnp.asarray(2)
KEY = jr.key(3)
T = jnp.asarray(0.4, FLOAT)


def drawn_noise():
    return np.asarray(jr.normal(jr.split(KEY)[0], (5, 6), FLOAT), float)


@pytest.mark.parametrize("process", [sj.VP(), sj.EDM()], ids=["vp", "edm"])
def test_loss_is_the_mean_square_error_of_the_noise(process):
    noise, t = drawn_noise(), float(T)
    alpha, sigma = (np.exp(-t / 2), np.sqrt(1 - np.exp(-t))) if isinstance(process, sj.VP) else (1.0, t)
    x = alpha * np.asarray(IMAGE, float) + sigma * noise
    loss = NoisePrediction(process, 1e-3, 6.0).loss(lambda t, x: t * jnp.tanh(x), T, IMAGE, LABEL, KEY)
    assert_close(loss, np.mean((t * np.tanh(x) - noise) ** 2), loosen=4)


def test_a_network_that_says_nothing_has_loss_one_and_one_that_knows_has_none():
    objective, keys = NoisePrediction(sj.VP(), 1e-3, 6.0), jr.split(KEY, 400)
    ignorant = jax.jit(jax.vmap(lambda key: objective.loss(lambda _, x: 0 * x, T, IMAGE, LABEL, key)))(keys)
    assert abs(float(jnp.mean(ignorant)) - 1) < 4 * np.sqrt(2 / (400 * 30))

    def knowing(t, x):
        return (x - sj.VP().alpha(t) * IMAGE) / sj.VP().sigma(t)

    assert float(objective.loss(knowing, T, IMAGE, LABEL, KEY)) < 1e-9


@pytest.mark.parametrize(("t", "weight"), [(0.4, np.exp(0.4)), (5.0, 20.0)])
def test_times_weigh_by_the_error_of_the_velocity_up_to_a_limit(t, weight):
    plain, weighted = (
        NoisePrediction(sj.VP(), 1e-3, 6.0, weight_limit=w).loss(
            lambda t, x: jnp.tanh(x), jnp.asarray(t, FLOAT), IMAGE, LABEL, KEY
        )
        for w in (1.0, 20.0)
    )
    assert_close(weighted, weight * float(plain), loosen=8)
    with pytest.raises(ValueError, match=r"weight_limit must be at least 1, got 0\.5"):
        NoisePrediction(sj.VP(), 1e-3, 6.0, weight_limit=0.5)


def test_times_are_log_uniform():
    times = NoisePrediction(sj.VP(), 1e-3, 6.0).times(jnp.linspace(0, 1, 7, dtype=FLOAT))
    assert_close(times, np.geomspace(1e-3, 6, 7), loosen=4)
    for t_min, t_max in [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)]:
        with pytest.raises(ValueError, match=f"need 0 < t_min < t_max, got {t_min} and {t_max}"):
            NoisePrediction(sj.VP(), t_min, t_max)


@pytest.mark.parametrize("mean", [0.0, -0.7])
def test_times_are_log_normal_between_their_ends(mean):
    quantiles = (jnp.arange(2000, dtype=FLOAT) + 0.5) / 2000
    objective = NoisePrediction(sj.VP(), 1e-3, 8.0, log_t_mean=mean, log_t_std=1.5)
    times = np.asarray(objective.times(quantiles), float)
    normal = NormalDist(mean, 1.5)
    first, last = normal.cdf(np.log(1e-3)), normal.cdf(np.log(8))
    assert 1e-3 < times[0] < times[-1] < 8
    for part in (0.01, 0.3, 0.9):
        assert np.mean(times < np.exp(normal.inv_cdf(first + part * (last - first)))) == pytest.approx(part, abs=1e-3)
    with pytest.raises(ValueError, match="log_t_std must be positive"):
        NoisePrediction(sj.VP(), 1e-3, 8.0, log_t_std=0.0)
    with pytest.raises(ValueError, match=r"got 0\.5 without a log_t_std"):
        NoisePrediction(sj.VP(), 1e-3, 8.0, log_t_mean=0.5)


PATTERNS = jnp.asarray(np.random.default_rng(1).choice([-1.0, 1.0], (3, 5, 6)), FLOAT)


def posterior_objective(**options):
    return NoisePrediction(sj.VP(), 1e-3, 6.0, posterior=sj.EmpiricalField(PATTERNS, sj.VP()), **options)


def test_the_posterior_target_is_the_mean_noise_given_the_noisy_image():
    t, image, patterns = float(T), np.asarray(PATTERNS[1], float), np.asarray(PATTERNS, float)
    alpha, sigma = np.exp(-t / 2), np.sqrt(1 - np.exp(-t))
    x = alpha * image + sigma * drawn_noise()
    noises = (x - alpha * patterns) / sigma  # the noise, were the image this one
    densities = np.exp(-0.5 * np.sum(noises**2, (1, 2)) + 0.5 * np.min(np.sum(noises**2, (1, 2))))
    target = np.tensordot(densities / densities.sum(), noises, 1)
    loss = posterior_objective().loss(lambda t, x: t * jnp.tanh(x), T, PATTERNS[1], LABEL, KEY)
    assert_close(loss, np.mean((t * np.tanh(x) - target) ** 2), loosen=16)


def test_posterior_targets_have_the_same_mean_gradient_and_less_noise():
    def gradient(objective, key):
        key_image, key_noise = jr.split(key)
        image = PATTERNS[jr.randint(key_image, (), 0, 3)]
        return jax.grad(lambda p: objective.loss(lambda t, x: p * x, jnp.asarray(3.0, FLOAT), image, LABEL, key_noise))(
            jnp.asarray(0.7, FLOAT)
        )

    keys = jr.split(KEY, 4000)
    plain, exact = (
        np.asarray(jax.jit(jax.vmap(lambda key, o=objective: gradient(o, key)))(keys), float)
        for objective in (NoisePrediction(sj.VP(), 1e-3, 6.0), posterior_objective())
    )
    difference = plain - exact
    assert np.std(difference) > 0.02
    assert abs(np.mean(difference)) < 4 * np.std(difference) / np.sqrt(len(keys))
    assert np.var(exact) < np.var(plain)


def test_posterior_targets_are_for_networks_without_labels():
    with pytest.raises(ValueError, match="train without labels, got num_classes 10"):
        posterior_objective(num_classes=10)


@pytest.mark.parametrize(("dropout", "shown"), [(0.0, 2), (1.0, 10)])
def test_labels_are_shown_or_dropped(dropout, shown):
    objective = NoisePrediction(sj.VP(), 1e-3, 6.0, num_classes=10, label_dropout=dropout)
    loss = objective.loss(lambda t, x, label: 0 * x + label.astype(x.dtype), T, IMAGE, LABEL, KEY)
    assert_close(loss, np.mean((shown - drawn_noise()) ** 2), loosen=4)


def test_labels_are_dropped_as_often_as_asked():
    objective = NoisePrediction(sj.VP(), 1e-3, 6.0, num_classes=10, label_dropout=0.1)

    def dropped(key):
        loss = objective.loss(lambda t, x, label: 0 * x + 99 * (label == 10).astype(x.dtype), T, IMAGE, LABEL, key)
        return loss > 1000

    count = int(jnp.sum(jax.jit(jax.vmap(dropped))(jr.split(KEY, 2000))))
    assert abs(count - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)


class ToyDenoiser:
    """Denoises to a fraction of x that depends on the label's weights, with an uncertainty of its own."""

    def __call__(self, t, x, label, *, key=None):
        return x / (1 + t) * (1 + label[2])

    def log_variance(self, t):
        return jnp.log(t) + 0.3


@pytest.mark.parametrize("uncertainty", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_loss_of_edm2_is_the_numpy_one(uncertainty, dropout):
    objective = Denoising(0.6, -0.4, 1.2, 10, dropout, uncertainty)
    loss = objective.loss(ToyDenoiser(), T, IMAGE, LABEL, KEY)
    noise = np.asarray(jr.normal(jr.split(KEY, 3)[0], (5, 6), FLOAT), float)
    t, image = float(T), np.asarray(IMAGE, float)
    denoised = (image + t * noise) / (1 + t) * (2 - dropout)
    weighted = (t**2 + 0.6**2) / (t * 0.6) ** 2 * np.mean((denoised - image) ** 2)
    u = np.log(t) + 0.3
    assert_close(loss, weighted * np.exp(-u) + u if uncertainty else weighted, loosen=8)


def test_the_best_uncertainty_is_the_logarithm_of_the_weighted_error():
    """Where u = log(error), the loss is 1 + u and flat in u."""
    plain = Denoising(0.6, -0.4, 1.2, 10, uncertainty=False).loss(ToyDenoiser(), T, IMAGE, LABEL, KEY)
    network = ToyDenoiser()

    def loss(u):
        network.log_variance = lambda t: u
        return Denoising(0.6, -0.4, 1.2, 10).loss(network, T, IMAGE, LABEL, KEY)

    value, slope = jax.value_and_grad(loss)(jnp.log(plain))
    assert_close(value, 1 + jnp.log(plain), loosen=8)
    assert abs(float(slope)) < 1e-5


def test_noise_levels_are_log_normal():
    quantiles = (jnp.arange(2000, dtype=FLOAT) + 0.5) / 2000
    logs = np.log(np.asarray(Denoising(0.6, -0.4, 1.2, 10).times(quantiles), float))
    assert logs.mean() == pytest.approx(-0.4, abs=1e-3)
    assert logs.std() == pytest.approx(1.2, rel=0.01)
    for sigma_data, deviation in ((0.0, 1.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="must be positive"):
            Denoising(sigma_data, 0.0, deviation, 10)


@pytest.mark.parametrize("mirror", [False, True])
def test_classes_cost_their_cross_entropy_on_shifted_and_mirrored_images(mirror):
    weights = np.random.default_rng(1).normal(size=(3, 5, 6))

    def network(x):
        return jnp.tensordot(jnp.asarray(weights, FLOAT), x, 2)

    padded = np.pad(np.asarray(IMAGE, float), 1, constant_values=-1)
    moved = [padded[i : i + 5, j : j + 6] for i in range(3) for j in range(3)]
    moved += [image[:, ::-1] for image in moved] if mirror else []
    logits = np.asarray([np.tensordot(weights, image, 2) for image in moved])
    possible = np.log(np.sum(np.exp(logits), axis=1)) - logits[:, 2]

    objective, keys = Classification(shift=1, mirror=mirror, erase=0.0), jr.split(KEY, 300)
    losses = jax.jit(jax.vmap(lambda key: objective.loss(network, T, IMAGE, LABEL, key)))(keys)
    nearest = np.argmin(np.abs(np.asarray(losses)[:, None] - possible), axis=1)
    np.testing.assert_allclose(losses, possible[nearest], rtol=1e-4, atol=1e-5)
    assert set(nearest) == set(range(len(moved)))
    np.testing.assert_array_equal(objective.times(jnp.ones(3, FLOAT)), np.zeros(3))


def test_half_of_the_images_have_a_rectangle_painted_over():
    shown = jax.jit(jax.vmap(lambda key: Classification(mirror=False).shown(jnp.zeros((10, 12), FLOAT), key)))
    images = np.asarray(shown(jr.split(KEY, 1000)))
    painted = images != 0
    chosen = painted.any((1, 2))
    assert abs(np.mean(chosen) - 0.5) < 4 * 0.5 / np.sqrt(1000)
    heights, widths = painted.any(2).sum(1)[chosen], painted.any(1).sum(1)[chosen]
    np.testing.assert_array_equal(painted.sum((1, 2))[chosen], heights * widths)
    assert (set(heights), set(widths)) == (set(range(1, 6)), set(range(1, 7)))
    np.testing.assert_array_equal(np.abs(images.sum((1, 2))), painted.sum((1, 2)))  # of one colour
    assert abs(np.mean(images.sum((1, 2))[chosen] > 0) - 0.5) < 4 * 0.5 / np.sqrt(chosen.sum())
    assert painted[:, [0, 0, -1, -1], [0, -1, 0, -1]].any(0).all()  # up to the corners


@pytest.mark.parametrize("options", [{"shift": -1}, {"erase": 1.5}])
def test_changes_of_images_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        Classification(**options)
