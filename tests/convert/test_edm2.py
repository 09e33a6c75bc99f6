"""Parity with the reference implementation in double precision, on its own random weights (tests/data/edm2)."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, X64, needs_x64

from softjax.convert import CheckpointError, load_module, parameters, save_network
from softjax.convert._edm2 import edm2_config, edm2_from_tensors, edm2_parameters, edm2_rules
from softjax.convert._rules import parameter_shapes
from softjax.networks import EDM2, EDM2Config

DATA = Path(__file__).parents[1] / "data" / "edm2"
MANIFEST = json.loads((DATA / "s64_manifest.json").read_text())
D_TOLERANCE, JVP_TOLERANCE = (1e-10, 1e-10) if X64 else (1e-5, 2e-5)


class Golden:
    """A network's weights as a checkpoint holds them, and the reference's answers with pixels last but channels."""

    def __init__(self, name):
        with np.load(DATA / f"{name}_weights.npz") as file:
            self.tensors = dict(file)
        self.arguments = json.loads(str(self.tensors.pop("config")))
        self.num_parameters = int(self.tensors.pop("n_parameters"))
        self.config = edm2_config(self.arguments)
        with np.load(DATA / f"{name}_forward.npz") as file:
            answers = dict(file)
        images = ("x", "D_f64", "D_nolabel_f64", "D_half_upcast_f64", "jvp_f64", "tangents")
        self.answers = {k: np.moveaxis(v, -3, -1) if k in images else v for k, v in answers.items()}
        self.x, self.sigma = jnp.asarray(self.answers["x"], FLOAT), jnp.asarray(self.answers["sigma"], FLOAT)
        labels = self.answers.get("labels", np.zeros((len(self.sigma), 0)))
        self.labels = jnp.asarray(labels, FLOAT)
        self.tangents = jnp.asarray(self.answers["tangents"], FLOAT)

    def network(self, **changes):
        return edm2_from_tensors(self.tensors | changes, self.config)

    def probe(self, network, labels=None):
        """D and its JVPs along every tangent, compiled once for all weights."""
        return probe(network, self.sigma, self.x, self.labels if labels is None else labels, self.tangents)

    def denoise(self, network, labels=None):
        """D of every image."""
        return self.probe(network, labels)[0]

    def raw(self, denoised):
        """The raw network's output behind a denoised batch."""
        sigma = np.asarray(self.answers["sigma"], float)[:, None, None, None]
        sigma_data = self.config.sigma_data
        total = sigma**2 + sigma_data**2
        skip, out = sigma_data**2 / total, sigma * sigma_data / np.sqrt(total)
        return (np.asarray(denoised, float) - skip * np.asarray(self.answers["x"], float)) / out


@jax.jit
def probe(network, sigma, x, labels, tangents):
    def one(sigma, x, label, tangent):
        return jax.jvp(lambda x: network(sigma, x, label if label.size else None), (x,), (tangent,))

    batch = jax.vmap(one, (0, 0, 0, None))
    return jax.vmap(batch, (None, None, None, 0), (None, 0))(sigma, x, labels, tangents)


@pytest.fixture(scope="module", params=["options", pytest.param("uncond", marks=pytest.mark.slow)])
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module")
def options():
    """Every option of the constructor off its default."""
    return Golden("options")


def error(batch, expected):
    """Relative error of the worst image."""
    gaps = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(np.asarray(batch, float), expected, strict=True)]
    return max(gaps)


@pytest.mark.slow
@pytest.mark.float32
def test_denoiser_is_the_reference(golden):
    network = golden.network()
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == golden.num_parameters
    denoised, expected = golden.denoise(network), golden.answers["D_f64"]
    assert denoised.dtype == FLOAT
    assert error(denoised, expected) < D_TOLERANCE
    # at small noise D is nearly x, so the raw output is compared; in single precision where D shows it
    rows = slice(None) if X64 else golden.answers["sigma"] > 0.2
    assert error(golden.raw(denoised)[rows], golden.raw(expected)[rows]) < D_TOLERANCE


@pytest.mark.float32
def test_jvps_are_the_reference(golden):
    _, found = golden.probe(golden.network())
    for batch, expected in zip(found, golden.answers["jvp_f64"], strict=True):
        assert error(batch, expected) < JVP_TOLERANCE


@pytest.mark.float32
def test_log_variance_is_the_reference(golden):
    found = jax.vmap(golden.network().log_variance)(golden.sigma)
    np.testing.assert_allclose(found, golden.answers["logvar_f64"], rtol=0, atol=D_TOLERANCE)


@pytest.mark.float32
def test_no_label_is_the_reference(options):
    unlabelled = options.denoise(options.network(), jnp.zeros_like(options.labels))
    assert error(unlabelled, options.answers["D_nolabel_f64"]) < D_TOLERANCE
    network = options.network()
    assert np.array_equal(network.embed(jnp.zeros(()), None), network.embed(jnp.zeros(()), jnp.zeros(5)))


@pytest.mark.float32
def test_half_precision_is_raised_before_anything_is_computed(options):
    network = options.network(**{name: tensor.astype(np.float16) for name, tensor in options.tensors.items()})
    assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {jnp.dtype(FLOAT)}
    assert error(options.denoise(network), options.answers["D_half_upcast_f64"]) < D_TOLERANCE


@pytest.mark.parametrize("name", ["unet.emb_noise.weight", "unet.dec.8x8_block1.attn_qkv.weight", "unet.out_gain"])
def test_one_percent_of_noise_on_one_tensor_is_seen(options, name):
    noise = 0.01 * np.random.default_rng(1).normal(size=options.tensors[name].shape)
    network = options.network(**{name: np.asarray(options.tensors[name] * (1 + noise))})
    assert error(options.denoise(network), options.answers["D_f64"]) > 10 * 1e-5


def test_square_weights_are_not_transposed(options):
    """Per layer: the rows that torch calls outputs are the last axis here, also where shapes cannot tell."""
    network, rng = options.network(), np.random.default_rng(2)
    weight = options.tensors["unet.dec.4x4_in0.attn_proj.weight"].astype(float)[:, :, 0, 0]
    assert weight.shape == (32, 32)
    rows = weight / (1e-4 + np.sqrt(np.mean(weight**2, axis=1, keepdims=True))) / math.sqrt(32)
    x = rng.normal(size=(2, 3, 32))
    np.testing.assert_allclose(network.middle[0].projection(jnp.asarray(x)), x @ rows.T, rtol=1e-12)

    weight = options.tensors["unet.dec.4x4_in0.conv_res1.weight"].astype(float)
    kernel = weight / (1e-4 + np.sqrt(np.mean(weight**2, axis=(1, 2, 3), keepdims=True))) / math.sqrt(9 * 32)
    x = rng.normal(size=(3, 3, 32))
    centre = np.einsum("oihw,hwi->o", kernel, x)
    np.testing.assert_allclose(network.middle[0].conv2(jnp.asarray(x))[1, 1], centre, rtol=1e-11)
    corner = np.einsum("oihw,hwi->o", kernel[:, :, 1:, 1:], x[:2, :2])
    np.testing.assert_allclose(network.middle[0].conv2(jnp.asarray(x))[0, 0], corner, rtol=1e-11)


def test_the_full_size_manifest_is_matched_name_for_name():
    config = edm2_config(MANIFEST["config"])
    outline = jax.eval_shape(lambda: EDM2(config, rngs=nnx.Rngs(0)))
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(outline, nnx.Param))]
    assert sum(sizes) == MANIFEST["n_parameters"] == 280_209_381
    tensors = {name: np.broadcast_to(np.float16(1), shape) for name, shape in MANIFEST["tensors"].items()}
    converted = edm2_parameters(tensors, config)
    assert {name: value.shape for name, value in converted.items()} == parameter_shapes(outline)
    assert len(converted) == len(MANIFEST["tensors"]) == 203
    assert {value.dtype for value in converted.values()} == {np.dtype(np.float16)}


def test_a_checkpoint_of_another_network_is_refused(options):
    tensors, config = options.tensors, options.config
    missing = "unet.enc.8x8_block0.conv_skip.weight"
    with pytest.raises(CheckpointError, match=r"(?s)2 problems.*encoder.1.0.skip.kernel: no tensor.*output_gain: no"):
        edm2_parameters({k: v for k, v in tensors.items() if k not in (missing, "unet.out_gain")}, config)
    wrong = tensors | {missing: np.ones((32, 16, 3, 3)), "unet.enc.16x16_down.emb_gain": np.ones(())}
    with pytest.raises(CheckpointError, match=r"(?s)2 problems.*16x16_down.emb_gain: no rule.*conv_skip.*no place"):
        edm2_parameters(wrong, config)
    with pytest.raises(CheckpointError, match=r"1 problems:\n  unet.emb_label.weight: the network has no"):
        edm2_parameters(tensors, replace(config, label_dim=0))


def test_no_two_rules_are_the_same():
    rules = edm2_rules(EDM2Config())
    assert len({rule.pattern for rule in rules}) == len(rules)


@needs_x64
def test_a_converted_network_survives_the_disk(options, tmp_path):
    network = options.network()
    save_network(tmp_path, network, dtype="float32")
    loaded = load_module(tmp_path)
    assert loaded.config == network.config
    for name, value in parameters(network).items():
        assert np.array_equal(parameters(loaded)[name], value), name


def test_options_of_the_constructor_are_those_of_the_configuration(options):
    config = options.config
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in options.arguments.items() if k != "use_fp16"}
    assert {name: getattr(config, name) for name in arguments} == arguments
    assert edm2_config({"img_resolution": 64, "img_channels": 3, "label_dim": 1000}) == EDM2Config()
    assert edm2_config(options.arguments | {"clip_act": None}).clip_act is None
    assert edm2_config(options.arguments | {"channel_mult_emb": None}).embedding_size == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter_mode": "x", "augment_dim": 9}, "augment_dim is no argument of EDM2; filter_mode is no argument"),
        ({"compute_dtype": "float16"}, "compute_dtype is no argument"),
        ({"img_channels": None}, "img_channels must be a whole number"),
        ({"label_dim": True}, "label_dim must be a whole number, or several, up to 1048576; got True"),
        ({"num_blocks": 10**5}, "num_blocks must be a whole number, or several, up to 64; got 100000"),
        ({"channel_mult": [1] * 100_000}, "channel_mult must be a list of at most 16 numbers"),
        ({"channel_mult": 2}, "channel_mult must be a list"),
        ({"channel_mult": [1, 1.5]}, "channel_mult must be a whole number, or several"),
        ({"resample_filter": [1, float("nan")]}, "resample_filter must be a finite number"),
        ({"resample_filter": [1, 2, 1]}, "resample_filter must have an even number of taps"),
        ({"sigma_data": "0.5"}, "sigma_data must be a finite number"),
        ({"use_fp16": 1}, "use_fp16 must be true or false, got 1"),
        ({"attn_balance": 1.5}, r"balances must be in \[0, 1\]"),
    ],
)
def test_other_arguments_are_refused(change, message):
    arguments = {"img_resolution": 64, "img_channels": 3, "label_dim": 1000}
    with pytest.raises(CheckpointError, match=message):
        edm2_config(arguments | change)


def test_missing_arguments_are_named():
    with pytest.raises(CheckpointError, match="img_channels is missing; label_dim is missing"):
        edm2_config({"img_resolution": 64})
