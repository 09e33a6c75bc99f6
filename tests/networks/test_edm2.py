import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, X64, assert_close, needs_x64

import softjax as sj
from softjax.convert import load_network, parameter_names, parameters, save_network
from softjax.networks import EDM2, EDM2Config, normalized_weights
from softjax.networks._edm2_layers import (
    MPConv,
    MPFourier,
    MPLinear,
    attend,
    double,
    halve,
    mp_concat,
    mp_silu,
    mp_sum,
    normalize,
)

RNG = np.random.default_rng(0)
SMALL: dict[str, Any] = {"img_resolution": 8, "img_channels": 2, "model_channels": 8, "num_blocks": 1, "label_dim": 3}
SMALL |= {"channel_mult": (2,), "attn_resolutions": (8,), "channels_per_head": 8}
TWO_LEVELS = SMALL | {"channel_mult": (1, 2)}


@functools.cache
def awake(**options):
    """A random network whose gains, which start at zero, are not."""
    outline, rng = jax.eval_shape(lambda: EDM2(EDM2Config(**options), rngs=nnx.Rngs(0))), np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) if leaf.ndim else 0.8, FLOAT), outline)


@jax.jit
def denoise(network, t, x, label=None):
    return network(t, x, label)


@pytest.fixture(scope="module")
def network():
    return awake(**SMALL)


def images(*shape):
    return jnp.asarray(RNG.normal(size=shape), FLOAT)


def unit_rows(kernel):
    """Each output's weights over eps plus their root mean square, over the root of their number."""
    rows = np.asarray(kernel, float).reshape(-1, kernel.shape[-1])
    rows = rows / (1e-4 + np.sqrt(np.mean(rows**2, axis=0))) / math.sqrt(len(rows))
    return rows.reshape(kernel.shape)


@pytest.mark.float32
@pytest.mark.parametrize("out", [6, 4])
def test_linear_layer(out):
    layer, x = MPLinear(6, out, rngs=nnx.Rngs(0)), images(5, 6)
    layer.kernel[...] = layer.kernel[...] * jnp.arange(1.0, out + 1)
    assert_close(layer(x, 0.7), 0.7 * np.asarray(x) @ unit_rows(layer.kernel[...]))


@pytest.mark.float32
@pytest.mark.parametrize("out", [6, 4])
def test_convolution(out):
    layer, x = MPConv(6, out, rngs=nnx.Rngs(0)), images(4, 5, 6)
    kernel, padded = unit_rows(layer.kernel[...]), np.pad(np.asarray(x), ((1, 1), (1, 1), (0, 0)))
    expected = sum(padded[i : i + 4, j : j + 5] @ kernel[i, j] for i in range(3) for j in range(3))
    assert_close(layer(x, 2.0), 2 * expected, loosen=2)


def test_magnitudes_are_preserved():
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    variance = np.sum(weights * np.asarray(mp_silu(jnp.asarray(nodes))) ** 2) / np.sum(weights)
    assert abs(variance - 1) < 2e-3
    a, b = jnp.asarray(RNG.normal(size=(2, 400, 30, 16)))
    for t in (0.3, 0.5, 0.8):
        assert abs(float(jnp.var(mp_sum(a, b, t))) - 1) < 0.02
        joined = mp_concat(a, b[..., :4], t)
        assert abs(float(jnp.mean(joined**2)) - 1) < 0.02
        shares = float(jnp.sum(joined[..., 16:] ** 2) / jnp.sum(joined[..., :16] ** 2))
        assert abs(shares / (t / (1 - t)) ** 2 - 1) < 0.05
    features = jax.vmap(MPFourier(64, rngs=nnx.Rngs(0)))(jnp.linspace(-1, 1, 100))
    assert abs(float(jnp.mean(features**2)) - 1) < 0.02
    assert abs(float(jnp.mean(MPConv(16, 32, rngs=nnx.Rngs(0))(a)[1:-1, 1:-1] ** 2)) - 1) < 0.05


@pytest.mark.float32
def test_normalisation_divides_by_magnitude_and_epsilon():
    x = images(3, 5) * 1e-3
    expected = np.asarray(x) / (1e-4 + np.sqrt(np.mean(np.asarray(x) ** 2, axis=1, keepdims=True)))
    assert_close(normalize(x, (1,)), expected)
    zeros = jnp.zeros((3, 5), FLOAT)
    _, tangent = jax.jvp(lambda x: normalize(x, (1,)), (zeros,), (x,))
    assert_close(tangent, np.asarray(x) / 1e-4)


@pytest.mark.float32
@pytest.mark.parametrize("num_heads", [1, 3])
def test_attention(num_heads):
    """Against a loop over heads and pixels, channels in torch's order (head, channel, query-key-value)."""
    qkv = images(2, 4, 3 * 12)
    parts = np.asarray(qkv, float).reshape(8, num_heads, 12 // num_heads, 3)
    parts = parts / (1e-4 + np.sqrt(np.mean(parts**2, axis=2, keepdims=True)))
    expected = np.zeros((8, num_heads, 12 // num_heads))
    for head in range(num_heads):
        q, k, v = np.moveaxis(parts[:, head], -1, 0)
        for pixel in range(8):
            logits = [q[pixel] @ key / math.sqrt(12 // num_heads) for key in k]
            weights = np.exp(logits) / np.sum(np.exp(logits))
            expected[pixel, head] = weights @ v
    assert_close(attend(qkv, num_heads), expected.reshape(2, 4, 12), loosen=2)


@pytest.mark.float32
@pytest.mark.parametrize(
    "taps", [(1.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 3.0, 4.0), (1.0, 4.0, 9.0, 7.0, 5.0, 2.0)]
)
def test_resampling(taps):
    x, y = images(4, 6, 2), images(2, 3, 2)
    f, pad = np.asarray(taps) / sum(taps), len(taps) // 2 - 1
    padded = np.pad(np.asarray(x, float), ((pad, pad), (pad, pad), (0, 0)))
    expected, spread = np.zeros((2, 3, 2)), np.zeros((4 + 2 * pad, 6 + 2 * pad, 2))
    for i, j in np.ndindex(2, 3):
        window = np.s_[2 * i : 2 * i + len(taps), 2 * j : 2 * j + len(taps)]
        expected[i, j] = np.einsum("a,b,abc->c", f, f, padded[window])
        spread[window] += 4 * np.einsum("a,b,c->abc", f, f, np.asarray(y, float)[i, j])
    assert_close(halve(x, taps), expected)
    assert_close(double(y, taps), spread[pad : pad + 4, pad : pad + 6])


def test_default_filter_averages_and_repeats():
    x = images(4, 6, 2)
    assert_close(halve(x, (1.0, 1.0)), np.asarray(x).reshape(2, 2, 3, 2, 2).mean((1, 3)))
    assert np.array_equal(double(x, (2.0, 2.0)), np.repeat(np.repeat(x, 2, 0), 2, 1))


@pytest.mark.parametrize(
    ("size", "count"),
    [("xs", 124_710_949), ("s", 280_209_381), ("m", 497_803_173), ("l", 777_492_325), ("xl", 1_119_276_837)],
)
def test_presets_have_the_published_numbers_of_parameters(size, count):
    config = EDM2Config.preset(size)
    outline = jax.eval_shape(lambda: EDM2(config, rngs=nnx.Rngs(0)))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(outline, nnx.Param))) == count
    buffers = len(jax.tree.leaves(outline)) - len(jax.tree.leaves(nnx.state(outline, nnx.Param)))
    assert buffers == 4


@pytest.mark.float32
def test_preconditioning_wraps_the_raw_network(network):
    x, sigma = images(8, 8, 2), 0.7
    total = math.hypot(sigma, 0.5)
    raw = jax.jit(lambda network, x: network.raw(jnp.asarray(math.log(sigma) / 4, FLOAT), x / total, 1))(network, x)
    expected = 0.25 / total**2 * x + sigma * 0.5 / total * raw
    assert_close(denoise(network, sigma, x, jnp.asarray(1)), expected, loosen=4)


def test_gains_start_at_zero(network):
    def initial():
        values = dict(zip(names, jax.tree.leaves(EDM2(EDM2Config(**SMALL), rngs=nnx.Rngs(0))), strict=True))
        return [values[name] for name in gains], values["middle.0.conv1.kernel"], values["noise_features.phases"]

    names = parameter_names(network)
    gains = [name for name in names if name.endswith("gain")]
    values, weight, phases = jax.jit(initial)()
    assert len(gains) == 6
    assert not np.any(values)
    assert abs(np.std(weight) - 1) < 0.05
    assert np.all((phases >= 0) & (phases < 2 * math.pi))
    asleep = jax.tree.map(lambda leaf: leaf if leaf.ndim else 0 * leaf, network)
    x = images(8, 8, 2)
    assert_close(denoise(asleep, 0.7, x, jnp.asarray(1)), 0.25 / (0.49 + 0.25) * np.asarray(x))


@pytest.mark.float32
def test_labels(network):
    def embed(label):
        return network.embed(jnp.asarray(0.1, FLOAT), label)

    one = embed(2)
    assert_close(jax.jit(embed)(jnp.asarray(2)), one)
    assert_close(embed(jnp.asarray([0, 0, 1], FLOAT)), one)
    assert_close(embed(None), embed(jnp.zeros(3, FLOAT)))
    assert min(float(jnp.max(jnp.abs(one - embed(label)))) for label in (None, 0)) > 0.1


@pytest.mark.float32
def test_batches_are_vmap(network):
    x, sigma, labels = images(3, 8, 8, 2), jnp.asarray([0.1, 1, 20], FLOAT), jnp.asarray([0, 2, 1])
    batch = jax.jit(jax.vmap(network))(sigma, x, labels)
    for i in range(3):
        assert_close(batch[i], denoise(network, sigma[i], x[i], labels[i]), loosen=8)


def test_weights_are_normalised_once_for_a_batch():
    network = awake(**TWO_LEVELS)
    program = jax.make_jaxpr(jax.vmap(network, (None, 0)))(1.0, images(7, 8, 8, 2))
    kernels = {leaf.shape for leaf in jax.tree.leaves(network) if leaf.ndim == 4}
    shapes = [v.aval.shape for equation in program.jaxpr.eqns for v in equation.outvars]
    assert kernels <= set(shapes)
    assert not any(shape[1:] in kernels for shape in shapes)


@pytest.mark.parametrize("shape", [(4, 12), (4, 12, 1), (6, 2)])
def test_images_of_other_sides_and_of_one_channel(shape):
    network = awake(**TWO_LEVELS | {"img_channels": 1, "label_dim": 0})
    assert jax.eval_shape(network, 1.0, jnp.zeros(shape)).shape == shape


@needs_x64
def test_jvp_is_the_derivative():
    """Attention, clipping and normalisation included, in both arguments."""
    network, x, v = awake(**SMALL | {"clip_act": 1.5}), images(8, 8, 2), images(8, 8, 2)
    probe = jax.jit(lambda s: jax.jvp(lambda s: network(0.9 * (1 + s), x + s * v, 1), (s,), (1.0,)))
    h = 1e-5
    (_, tangent), *shifted = (probe(shift * h) for shift in (0.0, 1.0, -1.0, 2.0, -2.0))
    up, down, up2, down2 = (value for value, _ in shifted)
    differences = (8 * (up - down) - (up2 - down2)) / (12 * h)
    assert float(jnp.linalg.norm(tangent - differences) / jnp.linalg.norm(tangent)) < 1e-9


def test_narrow_levels_have_no_attention(network):
    assert [block.qkv is not None for block in network.middle] == [True, False]
    for block in awake(**SMALL | {"channels_per_head": 17}).middle:
        assert block.qkv is None
        assert block.projection is None


def test_activations_are_clipped(network):
    h, embedding = images(8, 8, 16), images(16)
    apply = jax.jit(lambda block: block(h, embedding))
    free = apply(awake(**SMALL | {"clip_act": None}).middle[1])
    assert_close(apply(network.middle[1]), free)
    assert_close(apply(awake(**SMALL | {"clip_act": 0.5}).middle[1]), np.clip(free, -0.5, 0.5))
    assert float(jnp.max(jnp.abs(free))) > 0.5


def test_dropout_needs_a_key(network):
    dropping, x = awake(**SMALL | {"dropout": 0.5}), images(8, 8, 2)
    train = jax.jit(lambda key: dropping(1.0, x, 1, key=key))
    first, second, plain = train(jr.key(1)), train(jr.key(2)), denoise(network, 1.0, x, jnp.asarray(1))
    assert min(float(jnp.max(jnp.abs(a - b))) for a, b in [(first, second), (first, plain)]) > 1e-2


def test_dropout_keeps_the_mean(network):
    block, h, embedding = awake(**SMALL | {"dropout": 0.5}).middle[1], images(8, 8, 16), images(16)
    outputs = jax.jit(jax.vmap(lambda key: block(h, embedding, key)))(jr.split(jr.key(3), 300))
    error = jnp.std(outputs, axis=0) / math.sqrt(300)
    gap = jnp.abs(jnp.mean(outputs, axis=0) - network.middle[1](h, embedding))
    assert float(jnp.max(gap / error)) < 5


@pytest.mark.float32
def test_forced_weight_normalisation(network):
    scaled = jax.tree.map(lambda leaf: 3 * leaf if leaf.ndim > 1 else leaf, network)
    forced = jax.jit(normalized_weights)(scaled)
    before = parameters(scaled)
    for name, value in parameters(forced).items():
        if name.endswith("kernel"):
            rms = np.sqrt(np.mean(value.reshape(-1, value.shape[-1]) ** 2, axis=0))
            np.testing.assert_allclose(rms, 1, atol=1e-4)
        else:
            assert np.array_equal(value, before[name])
    x, label = images(8, 8, 2), jnp.asarray(1)
    np.testing.assert_allclose(denoise(forced, 1.0, x, label), denoise(network, 1.0, x, label), atol=2e-3)


@pytest.mark.slow
def test_training_gradients_reach_weights_and_gains_but_not_frequencies(network):
    x = images(8, 8, 2)
    loss = lambda network: jnp.sum(network(1.0, x, 1) ** 2) + network.log_variance(2.0) ** 2  # noqa: E731
    gradients = parameters(jax.jit(jax.grad(loss))(network))
    zero = {name for name, gradient in gradients.items() if not np.any(gradient)}
    assert zero == {name for name in gradients if name.endswith(("frequencies", "phases"))}


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_half_precision_inside(network, dtype, bound):
    x, label = images(8, 8, 2), jnp.asarray(1)
    half, exact = (denoise(net, 5.0, x, label) for net in (awake(**SMALL, compute_dtype=dtype), network))
    assert half.dtype == FLOAT
    error = float(jnp.linalg.norm(half - exact) / jnp.linalg.norm(exact))
    assert float(jnp.finfo(dtype).eps) / 8 < error < bound


def test_precision_is_that_of_the_image(network):
    for dtype in (jnp.float32, jnp.float16):
        assert jax.eval_shape(network, 1.0, jnp.zeros((8, 8, 2), dtype), 1).dtype == dtype


@pytest.mark.float32
def test_a_stored_network_comes_back(network, tmp_path):
    save_network(tmp_path, network, sj.EDM(), "denoiser", dtype="float64" if X64 else "float32")
    field = load_network(tmp_path, label=1)
    assert isinstance(field.network, EDM2)
    assert field.network.config == network.config
    assert (field.prediction, field.label) == ("denoiser", 1)
    x, label = images(8, 8, 2), jnp.asarray(1)
    assert np.array_equal(denoise(field.network, 2.0, x, label), denoise(network, 2.0, x, label))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, jnp.zeros((4, 8, 8, 2))), "For a batch of images use jax.vmap"),
        ((1.0, jnp.zeros((8, 8, 3))), r"x must be one image \(h, w, 2\), got shape \(8, 8, 3\)"),
        ((1.0, jnp.zeros((8, 7, 2))), r"multiples of 2, got \(8, 7\)"),
        ((1.0, jnp.zeros((8, 8, 2)), 3), "labels run from 0 to 2, got 3"),
        ((1.0, jnp.zeros((8, 8, 2)), jnp.zeros(4)), r"must be one configuration of shape \(3,\)"),
        ((1.0, jnp.zeros((8, 8, 2)), jnp.zeros(3, int)), "an integer label"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(without_type_checks, arguments, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: awake(**TWO_LEVELS)(*arguments))


def test_an_unconditional_network_refuses_labels():
    with pytest.raises(ValueError, match="this network is unconditional, got the label 1"):
        awake(**SMALL | {"label_dim": 0})(1.0, images(8, 8, 2), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_channels": 0}, "sizes must be at least 1"),
        ({"channel_mult": ()}, "sizes must be at least 1"),
        ({"channel_mult_emb": 0}, "sizes must be at least 1"),
        ({"label_dim": -1}, "label_dim must not be negative"),
        ({"img_resolution": 9}, "img_resolution must be a multiple of 2, got 9"),
        ({"res_balance": -0.1}, r"balances must be in \[0, 1\]"),
        ({"sigma_data": 0.0}, "sigma_data must be positive"),
        ({"clip_act": -1.0}, "clip_act must be positive"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"resample_filter": (1.0, 2.0, 1.0)}, "even number of taps"),
        ({"resample_filter": (1.0, -1.0)}, "a sum that is not zero"),
        ({"compute_dtype": "float8"}, "compute_dtype must be one of"),
    ],
)
def test_sizes_that_no_network_can_have_are_refused(without_type_checks, change, message):
    with pytest.raises(ValueError, match=message):
        EDM2Config(**TWO_LEVELS | change)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="16 channels cannot be divided among 3 heads"):
        awake(**SMALL | {"channels_per_head": 5})


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="size must be one of 'xs', 's', 'm', 'l', 'xl', 'xxl'; got 'tiny'"):
        EDM2Config.preset("tiny")
    assert EDM2Config.preset("s", img_channels=4) == EDM2Config(img_channels=4)
