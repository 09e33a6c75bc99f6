from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, assert_close, needs_x64
from PIL import Image

from softjax.convert import parameters
from softjax.networks import DINOv2, DINOv2Config, preprocess, preprocess_sample
from softjax.networks._resize import IMAGENET_MEAN, IMAGENET_STD, cubic_matrix, resize_image

pytestmark = pytest.mark.float32

CONFIG = DINOv2Config(width=24, depth=2, num_heads=3, patch_size=4, table_size=5, num_classes=7, head="linear")
RNG = np.random.default_rng(0)


def network(**changes):
    """All parameters are drawn alike, layer scales too: nothing is too small to be seen."""
    shapes = jax.eval_shape(lambda: DINOv2(replace(CONFIG, **changes), rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def image(*shape):
    return jnp.asarray(RNG.normal(size=(*shape, 3)), FLOAT)


@pytest.mark.parametrize(
    ("changes", "shape", "num_features"),
    [({}, (20, 20), 48), ({"depth": 4, "head": "linear4"}, (8, 12), 120), ({"num_registers": 2}, (28, 4), 48)],
)
def test_any_multiple_of_the_patch_is_an_image(changes, shape, num_features):
    net, x = network(**changes), image(*shape)
    features, logits = jax.jit(lambda x: (net.features(x), net(x)))(x)
    assert features.shape == (num_features,)
    head = {name: parameters(net)[f"head.{name}"] for name in ("kernel", "bias")}
    assert_close(logits, np.asarray(features) @ head["kernel"] + head["bias"], loosen=4)
    assert {leaf.dtype for leaf in jax.tree.leaves(net)} == {FLOAT}


@pytest.mark.parametrize(
    ("name", "count"),
    [("vits14", 22_056_576), ("vitb14", 86_580_480), ("vitl14", 304_368_640), ("vits14_reg", 22_058_112)],
)
def test_presets_have_the_published_numbers_of_parameters(name, count):
    config = DINOv2Config.preset(name, num_classes=0)
    net = jax.eval_shape(lambda: DINOv2(config, rngs=nnx.Rngs(0)))
    # The published backbones hold one more token, for the masks of their training.
    assert sum(leaf.size for leaf in jax.tree.leaves(net)) + config.width == count
    assert (config.pos_offset, config.pos_antialias) == ((0.0, True) if name.endswith("_reg") else (0.1, False))
    assert config.width // config.num_heads == 64


def test_the_default_is_the_published_default():
    assert DINOv2Config() == DINOv2Config.preset("vitb14") == DINOv2Config.preset("vitb14", head="linear4")


def test_attention_mixes_all_tokens_and_registers_join_in():
    net = network(depth=1, num_registers=2)
    net.blocks[0].scale1[...] = jnp.ones(24)
    x = image(8, 12)
    jacobian = jax.jit(jax.jacrev(lambda x: jnp.sum(net.blocks[0](net._embed(x)), axis=-1)))(x)  # (tokens, h, w, 3)
    assert jacobian.shape[0] == 1 + 2 + 6
    assert np.all(np.any(np.asarray(jacobian) != 0, axis=-1))


def test_permuted_patches_with_their_positions_give_the_same_logits():
    # The only order that the network knows is that of its position table.
    net = network(depth=1, table_size=2)
    x = image(8, 8)
    quarters = x.reshape(2, 4, 2, 4, 3).swapaxes(1, 2)
    swapped = quarters[:, ::-1].swapaxes(1, 2).reshape(8, 8, 3)
    other = network(depth=1, table_size=2)
    other.positions[...] = net.positions[...][jnp.asarray([0, 2, 1, 4, 3])]
    logits = jax.jit(lambda net, x: net(x))
    assert_close(logits(other, swapped), logits(net, x), loosen=20)
    assert np.max(np.abs(logits(net, swapped) - logits(net, x))) > 1e-4


def test_forward_mode_is_the_transpose_of_reverse_mode():
    net, x, v = network(depth=1), image(8, 12), image(8, 12)

    def total(x):
        return jnp.sum(net(x))

    slope, gradient = jax.jit(lambda x, v: (jax.jvp(total, (x,), (v,))[1], jax.grad(total)(x)))(x, v)
    assert_close(slope, jnp.vdot(gradient, v), loosen=50)


def stored_positions(name):
    return np.load(Path(__file__).parents[1] / "data" / "dinov2" / "positions.npz")[name].transpose(1, 2, 0)


@pytest.mark.parametrize(("offset", "name"), [(0.0, "out_size"), (0.1, "out_scale_factor")])
def test_positions_are_interpolated_as_by_each_implementation(offset, name):
    table = jnp.asarray(stored_positions("table").reshape(-1, 4), FLOAT)
    net = network(width=4, depth=1, num_heads=1, table_size=37, pos_offset=offset)
    net.positions[...] = jnp.concatenate([jnp.zeros((1, 4)), table])
    interpolated, wanted = np.asarray(net.patch_positions(16, 16)), stored_positions(name)
    error = np.linalg.norm(interpolated - wanted) / np.linalg.norm(wanted)
    assert error < 5e-6  # single precision, of the coordinates too where the factor counts


@pytest.mark.parametrize("shape", [(3, 5), (7, 4), (2, 11)])
def test_antialiased_positions_are_jax_s_cubic_resampling(shape):
    # Its kernel has a = -1/2 and widens as the image shrinks, as PyTorch's does where it antialiases.
    net = network(depth=1, num_registers=1, pos_offset=0.0, pos_antialias=True)
    table = net.positions[1:].reshape(5, 5, 24)
    resized = jax.image.resize(table, (*shape, 24), "cubic", antialias=True, precision=jax.lax.Precision.HIGHEST)
    assert_close(net.patch_positions(*shape), resized, loosen=20)


def test_cubic_matrices_keep_constants_and_straight_lines():
    for sharpness, antialias in [(-0.5, False), (-0.75, False), (-0.5, True)]:
        for size, out in [(40, 12), (9, 9), (5, 21)]:
            matrix = cubic_matrix(size, out, sharpness=sharpness, antialias=antialias)
            np.testing.assert_allclose(matrix @ np.ones(size), 1, rtol=1e-14)
            if size == out:
                np.testing.assert_allclose(matrix, np.eye(size), atol=1e-15)
    line = cubic_matrix(40, 60) @ np.arange(40)
    np.testing.assert_allclose(line[5:-5], ((np.arange(60) + 0.5) * 2 / 3 - 0.5)[5:-5], rtol=1e-13)


def pillow(picture, shape):
    return np.asarray(Image.fromarray(picture).resize(shape[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("sides", "shape"), [((70, 91), (32, 41)), ((64, 64), (224, 224)), ((60, 33), (60, 47)), ((60, 33), (20, 33))]
)
def test_images_are_resized_as_by_pillow_to_the_bit(sides, shape):
    picture = RNG.integers(0, 256, (*sides, 3), np.uint8)
    np.testing.assert_array_equal(resize_image(picture, shape), pillow(picture, shape))


@pytest.mark.parametrize("sides", [(300, 411), (411, 300), (128, 100)])
def test_preprocessing_is_resize_crop_normalise(sides):
    picture = RNG.integers(0, 256, (*sides, 3), np.uint8)
    shape = tuple(int(256 * side / min(sides)) for side in sides)
    top, left = (round((side - 224) / 2) for side in shape)
    crop = pillow(picture, shape)[top : top + 224, left : left + 224]
    wanted = (crop / 255 - np.asarray(IMAGENET_MEAN)) / np.asarray(IMAGENET_STD)
    got = preprocess(picture)
    assert got.dtype == FLOAT
    assert_close(got, wanted)


def test_a_sample_is_preprocessed_as_its_image_up_to_rounding():
    picture = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    picture = resize_image(resize_image(picture, (8, 8)), (64, 64))  # smooth: no clipping
    sample = jnp.asarray(picture / 127.5 - 1, FLOAT)
    difference = np.abs(preprocess_sample(sample) - preprocess(picture, 224, 224)) * np.asarray(IMAGENET_STD)
    assert np.max(difference) < 1.5 / 255  # half a grey level per axis, and the second axis's overshoot
    assert preprocess_sample(sample, (28, 42)).shape == (28, 42, 3)


@needs_x64
def test_a_sample_s_preprocessing_is_affine_and_differentiable():
    x, v = image(16, 12), image(16, 12)
    value, tangent = jax.jvp(lambda x: preprocess_sample(x, (28, 14)), (x,), (v,))
    assert_close(preprocess_sample(x + v, (28, 14)) - value, tangent, loosen=4)
    white, black = (preprocess_sample(jnp.full((16, 12, 3), grey, FLOAT), (28, 14)) for grey in (1.0, -1.0))
    assert_close(white, np.broadcast_to((1 - np.asarray(IMAGENET_MEAN)) / IMAGENET_STD, (28, 14, 3)))
    assert_close(black, np.broadcast_to(-np.asarray(IMAGENET_MEAN) / IMAGENET_STD, (28, 14, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "width must be a multiple of num_heads, got 24 and 5"),
        ({"depth": 3, "head": "linear4"}, "head 'linear4' needs 4 blocks or more, got 3"),
        ({"depth": 0}, "sizes must be at least 1"),
        ({"num_registers": -1}, "counts must not be negative"),
        ({"pos_offset": -0.1}, "pos_offset must not be negative"),
        ({"head": "linear2"}, "head must be one of 'linear', 'linear4'; got 'linear2'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_configurations_that_no_network_has_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(("name", "message"), [("vitg14", "take vitl14"), ("vitg14_reg", "SwiGLU"), ("b", "'b'")])
def test_unknown_presets_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        DINOv2Config.preset(name)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 9, 3), r"multiples of 4, got \(8, 9\)"),
        ((8, 8, 1), "3 channels"),
        ((2, 8, 8, 3), "2 lattice axes.*jax.vmap"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        network()(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preprocess(np.zeros((8, 8, 3))), "8-bit image .*got shape .* of float64"),
        (lambda: preprocess(np.zeros((8, 8), np.uint8)), r"got shape \(8, 8\)"),
        (lambda: preprocess(np.zeros((8, 8, 3), np.uint8), 200), "crop must be between 1 and resize = 200, got 224"),
        (lambda: preprocess_sample(jnp.zeros((2, 8, 8, 3))), "one image .*jax.vmap"),
    ],
)
def test_arrays_that_are_no_images_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
