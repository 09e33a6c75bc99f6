import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, assert_close

from softjax.networks import Classifier, ClassifierConfig

pytestmark = pytest.mark.float32

CONFIG = ClassifierConfig(num_classes=4, side=9, widths=(8, 16))


@pytest.fixture(scope="module")
def network():
    return jax.jit(lambda: Classifier(CONFIG, rngs=nnx.Rngs(0)))()


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), FLOAT)


@pytest.mark.parametrize("side", [4, 9, 28, 32])
def test_logits_of_any_side(side):
    outline = jax.eval_shape(lambda: Classifier(ClassifierConfig(4, side, (8, 16)), rngs=nnx.Rngs(0)))
    assert len(outline.convolutions) == len(outline.norms) == 4
    logits = jax.eval_shape(lambda network, x: network(x), outline, images(side, side))
    assert (logits.shape, logits.dtype) == ((4,), FLOAT)


def test_vmap_is_a_loop_and_images_matter(network):
    xs = images(3, 9, 9)
    batched = jax.jit(jax.vmap(network))(xs)
    for x, logits in zip(xs, batched, strict=True):
        assert_close(logits, jax.jit(network)(x), loosen=16)
    assert float(jnp.min(jnp.max(jnp.abs(batched - jnp.roll(batched, 1, 0)), axis=1))) > 1e-3


def test_every_parameter_has_a_gradient(network):
    gradient = jax.jit(jax.grad(lambda network, x: jax.nn.log_softmax(network(x))[2]))(network, images(9, 9))
    assert all(float(jnp.max(jnp.abs(leaf))) > 0 for leaf in jax.tree.leaves(gradient))


def test_what_is_no_image_is_refused(network):
    with pytest.raises(ValueError, match=r"shape \(9, 9\), got \(5, 9, 9\).*use jax\.vmap"):
        network(images(5, 9, 9))
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        Classifier(ClassifierConfig(num_classes=1), rngs=nnx.Rngs(0))
