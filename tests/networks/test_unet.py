from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, X64, assert_close, needs_x64

from softjax.networks import UNet, UNetConfig
from softjax.networks.unet import GroupNorm, TimeEmbedding

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)


@cache
def awake(**options):
    """A small network with random weights everywhere: its last layer starts at zero."""
    config = UNetConfig(**({"widths": (8, 16, 16), "embedding_size": 16} | options))
    outline, rng = jax.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0))), np.random.default_rng(1)

    def weights(leaf):
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.3
        return jnp.asarray((len(leaf.shape) == 1) + spread * rng.normal(size=leaf.shape), FLOAT)

    return jax.tree.map(weights, outline)


@jax.jit
def predict(network, t, x, label=None):
    return network(t, x, label)


def images(*shape):
    return jnp.asarray(RNG.normal(size=shape), FLOAT)


def silu(x):
    return x / (1 + np.exp(-x))


def numbers(layer):
    """The parameters of a layer as double-precision NumPy arrays."""
    names = ("kernel", "bias", "scale", "shift", "embedding")
    return SimpleNamespace(**{n: np.asarray(getattr(layer, n)[...], float) for n in names if hasattr(layer, n)})


def linear(x, layer):
    return x @ numbers(layer).kernel + numbers(layer).bias


def group_norm(x, layer):
    """Mean 0 and variance 1 of every eight channels, over the image."""
    groups = x.reshape(*x.shape[:2], -1, 8)
    mean, variance = groups.mean((0, 1, 3), keepdims=True), groups.var((0, 1, 3), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * numbers(layer).scale + numbers(layer).shift


def embedded(t, layer, label=None):
    """Sine and cosine of ln t at frequencies from 1/4 to 16, through two layers; the last label is none."""
    angles = np.geomspace(0.25, 16, layer.num_frequencies) * np.log(t)
    hidden = linear(silu(linear(np.concatenate([np.sin(angles), np.cos(angles)]), layer.first)), layer.second)
    return silu(
        hidden if layer.labels is None else hidden + numbers(layer.labels).embedding[-1 if label is None else label]
    )


class Reference:
    """The U-Net of App. D.3, literally."""

    def __init__(self, network):
        self.network = network
        self.border: Any = "wrap" if network.config.padding == "circular" else "constant"

    def conv(self, x, layer, stride=1):
        h, w, _ = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=self.border)
        kernel = numbers(layer).kernel
        windows = {(i, j): padded[i : i + h, j : j + w][::stride, ::stride] for i, j in product(range(3), repeat=2)}
        return sum(window @ kernel[i, j] for (i, j), window in windows.items()) + numbers(layer).bias

    def block(self, x, block, embedding):
        h = self.conv(silu(group_norm(x, block.norm1)), block.conv1) + linear(embedding, block.time)
        h = self.conv(silu(group_norm(h, block.norm2)), block.conv2)
        return h + (x if block.shortcut is None else linear(x, block.shortcut))

    def stage(self, x, blocks, embedding):
        for block in blocks:
            x = self.block(x, block, embedding)
        return x

    def __call__(self, t, x, label=None):
        net, skips = self.network, []
        embedding = embedded(t, net.embedding, label)
        h = self.conv(np.asarray(x, float).reshape(*x.shape[:2], -1), net.input)
        for blocks, down in zip(net.encoder, [*net.downs, None], strict=True):
            h = self.stage(h, blocks, embedding)
            if down is not None:
                skips.append(h)
                h = self.conv(h, down, stride=2)
        h = self.stage(h, net.middle, embedding)
        for blocks in net.decoder:
            h = np.concatenate([h.repeat(2, axis=0).repeat(2, axis=1), skips.pop()], axis=-1)
            h = self.stage(h, blocks, embedding)
        return self.conv(silu(group_norm(h, net.output_norm)), net.output).reshape(x.shape)


@pytest.mark.parametrize(
    ("options", "shape", "label"),
    [
        ({}, (8, 12), None),
        ({"padding": "circular"}, (8, 12), None),
        ({"num_blocks": 2, "num_middle_blocks": 0, "widths": (8, 16)}, (4, 6), None),
        ({"channels": 3, "num_classes": 4}, (8, 8, 3), 2),
        ({"channels": 3, "num_classes": 4}, (8, 8, 3), None),
    ],
)
def test_the_network_is_the_papers(options, shape, label):
    network, x = awake(**options), images(*shape)
    assert_close(predict(network, 0.3, x, label), Reference(network)(0.3, x, label), loosen=32)


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (28, 28)), (1, (32, 32)), (1, (28, 32)), (1, (8, 8, 1)), (3, (28, 32, 3))]
)
def test_shape_and_dtype_of_the_image_are_kept(channels, shape):
    network = awake(channels=channels)
    result = jax.eval_shape(network, 0.3, images(*shape))
    assert result.shape == shape
    assert result.dtype == FLOAT


def test_the_papers_network_starts_by_predicting_nothing():
    outline = jax.eval_shape(lambda: UNet(rngs=nnx.Rngs(0)))
    assert outline.input.kernel.shape == (3, 3, 1, 64)
    assert [down.kernel.shape[-1] for down in outline.downs] == [64, 128]
    assert len(outline.middle) == 2
    assert sum(leaf.size for leaf in jax.tree.leaves(outline)) > 1e6
    small = UNet(UNetConfig(widths=(8,), embedding_size=8), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(predict(small, 0.3, images(4, 4)), np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (26, 28), r"multiples of 4, got \(26, 28\); pad the image"),
        ({}, (0, 28), "multiples of 4"),
        ({}, (5, 28, 28), r"one image \(h, w\), got shape \(5, 28, 28\).*use jax\.vmap"),
        ({}, (28,), r"got shape \(28,\)"),
        ({"channels": 3}, (28, 28), r"one image \(h, w, 3\), got shape \(28, 28\)"),
        ({"channels": 3}, (2, 28, 28, 3), r"got shape \(2, 28, 28, 3\).*use jax\.vmap"),
    ],
)
def test_images_that_do_not_fit_are_refused(options, shape, message):
    with pytest.raises(ValueError, match=message):
        awake(**options)(0.3, images(*shape))


def test_labels_are_refused_without_classes():
    with pytest.raises(ValueError, match="takes no labels, got 3"):
        awake()(0.3, images(8, 8), 3)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "reflect"}, "padding must be one of"),
        ({"widths": ()}, r"one per resolution; got \(\)"),
        ({"widths": (8, 12)}, r"multiples of 8.*got \(8, 12\)"),
        ({"channels": 0}, "sizes must be at least 1.*'channels': 0"),
        ({"embedding_size": 6}, "multiple of 4, got 6"),
        ({"num_classes": -1}, "must not be negative"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**options)


def test_circular_padding_commutes_with_shifts_by_the_stride():
    x, bound = images(16, 12), 1e-12 if X64 else 1e-5
    for padding in ("circular", "zeros"):
        network = awake(padding=padding)
        result = predict(network, 0.3, x)
        for shift in [(4, 0), (0, -4), (8, 4)]:
            moved = predict(network, 0.3, jnp.roll(x, shift, (0, 1)))
            error = float(jnp.max(jnp.abs(moved - jnp.roll(result, shift, (0, 1)))) / jnp.max(jnp.abs(result)))
            assert error < bound if padding == "circular" else error > 0.01
        by_one = predict(network, 0.3, jnp.roll(x, 1, 0))  # between the pixels of the coarser resolutions
        assert float(jnp.max(jnp.abs(by_one - jnp.roll(result, 1, 0)))) > 100 * bound


@pytest.mark.parametrize("t", [1e-3, 0.7, 6.0])
def test_time_embedding_is_the_numpy_one(t):
    rngs = nnx.Rngs(0)
    plain, labelled = TimeEmbedding(12, rngs=rngs), TimeEmbedding(12, 3, rngs=rngs)
    t = jnp.asarray(t, FLOAT)
    assert_close(plain(t), embedded(float(t), plain), loosen=4)
    assert_close(labelled(t, 1), embedded(float(t), labelled, 1), loosen=4)
    assert_close(labelled(t), labelled(t, 3))
    assert float(jnp.max(jnp.abs(labelled(t, 1) - labelled(t, 2)))) > 0.01


def test_group_norm_is_the_numpy_one():
    norm, x = GroupNorm(24), 3 + 2 * images(5, 6, 24)
    norm.scale[...], norm.shift[...] = images(24), images(24)
    assert_close(norm(x), group_norm(np.asarray(x, float), norm), loosen=8)


@needs_x64
@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_jvp_is_the_central_difference(padding):
    network, x, v, h = awake(padding=padding), images(8, 12), images(8, 12), 1e-5
    _, jv = jax.jit(lambda network, x, v: jax.jvp(lambda x: network(0.3, x), (x,), (v,)))(network, x, v)
    difference = (predict(network, 0.3, x + h * v) - predict(network, 0.3, x - h * v)) / (2 * h)
    assert np.linalg.norm(difference - jv) < 1e-7 * np.linalg.norm(jv)


def test_vmap_is_a_loop():
    network, xs, labels = awake(num_classes=4, widths=(8, 8)), images(3, 4, 6), jnp.asarray([0, 3, 4])
    ts = jnp.asarray([1e-3, 0.1, 6.0], FLOAT)
    batched = jax.jit(jax.vmap(network))(ts, xs, labels)
    for t, x, label, result in zip(ts, xs, labels, batched, strict=True):
        assert_close(result, predict(network, t, x, label), loosen=16)


def test_labels_out_of_range_are_refused_or_nan():
    network = UNet(UNetConfig(widths=(8,), embedding_size=8, num_classes=2), rngs=nnx.Rngs(0))

    def embed(label):
        return network.embedding(jnp.asarray(0.5, FLOAT), label)

    for label in (-1, 3, jnp.asarray(-1)):
        with pytest.raises(ValueError, match="labels run from 0 to 1, or 2 for none; got"):
            embed(label)
        assert np.all(np.isnan(jax.jit(embed)(jnp.asarray(label))))
    np.testing.assert_allclose(jax.jit(embed)(2), embed(None), rtol=1e-5)


def test_counts_are_any_integers_and_become_pythons(without_type_checks):
    given: dict[str, Any] = {"widths": (np.int64(8),), "num_blocks": np.int32(2)}
    config = UNetConfig(**given)
    assert [type(count) for count in (*config.widths, config.num_blocks)] == [int, int]
