"""The networks that ship: they denoise real images, and their low modes soften in turn."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from fashion_sample import FOLDER

import softjax as sj
from softjax.convert import load_module, load_network
from softjax.data._idx import read_idx
from softjax.data._images import LabelledImages
from softjax.experiments.fashion import network_folder
from softjax.training import NoisePrediction
from softjax.training.fashion import accuracy, images_of

VARIANTS = ["binary", "grey"]


def test_images(variant):
    """Real images that no network was trained on."""
    images, labels = (read_idx(FOLDER / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return images_of(LabelledImages(images, labels), variant)


test_images.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def load(variant):
    return load_network(network_folder(None, grey=variant == "grey"))


@pytest.mark.float32
@pytest.mark.parametrize(("variant", "largest_loss"), [("binary", 0.045), ("grey", 0.22)])
def test_it_denoises_real_images(variant, largest_loss):
    field, data = load(variant), test_images(variant)
    objective = NoisePrediction(field.process, 1e-3, 6.0)
    ts = objective.times((jnp.arange(40, dtype=data.images.dtype) + 0.5) / 40)
    losses = jax.jit(jax.vmap(objective.loss, (None, 0, 0, 0, 0)))(
        field.network, ts, jnp.asarray(data.images[:40]), jnp.asarray(data.labels[:40]), jr.split(jr.key(0), 40)
    )
    assert float(jnp.mean(losses)) < largest_loss


@pytest.mark.float32
@pytest.mark.parametrize(("variant", "smallest"), [("binary", 0.7), ("grey", 0.8)])
def test_the_classifier_knows_real_images(variant, smallest):
    folder = network_folder(None, grey=variant == "grey").parent / f"classifier-{variant}"
    assert accuracy(load_module(folder), test_images(variant)) > smallest


@pytest.mark.parametrize("variant", VARIANTS)
def test_finite_differences_agree_with_exact_modes(variant):
    field, modes = load(variant), sj.fourier_modes((28, 28), 2)
    image = jnp.asarray(test_images(variant).images[3])

    @jax.jit
    def both(t, x):
        def drift(x):
            return sj.reverse_drift(field, t, x)

        step = 1e-3 * field.process.sigma(t)
        return sj.mode_response(drift, x, modes), sj.mode_response(drift, x, modes, "finite_difference", step)

    for t in (4.0, 1.0):
        x = field.process.alpha(t) * image + field.process.sigma(t) * jr.normal(jr.key(1), image.shape)
        exact, approximate = both(t, x)
        np.testing.assert_allclose(approximate.direction_magnitude, exact.direction_magnitude, rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "softest"), [("binary", 4.3), ("grey", 3.5)])
def test_low_shells_soften_one_after_the_other(variant, softest):
    """From noise to data: the uniform mode first, far below free noise, then shell 1, with a minimum of its own."""
    field, modes = load(variant), sj.fourier_modes((28, 28), 1)
    images = jnp.asarray(test_images(variant).images[:6])
    noise = jr.normal(jr.key(2), images.shape)
    ts = jnp.linspace(6.0, 3.0, 13)

    @jax.jit
    def responses(t):
        states = field.process.alpha(t) * images + field.process.sigma(t) * noise
        return jax.vmap(lambda x: sj.ModeProbe(field, modes)(t, x).magnitude)(states)

    softness = np.median([responses(t) for t in ts], axis=1)
    assert ts[softness[:, 0].argmin()] > ts[softness[:, 1].argmin()] + 0.7
    assert abs(float(ts[softness[:, 1].argmin()]) - softest) < 0.6
    assert softness[:, 0].min() < 0.3  # free noise responds with 1/2
