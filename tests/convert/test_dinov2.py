import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64, needs_x64

from softjax.convert import CheckpointError, load_module, load_network, parameters, save_network
from softjax.convert._dinov2 import dinov2_from_tensors
from softjax.networks import DINOv2, DINOv2Config

pytestmark = pytest.mark.float32

DATA = Path(__file__).parents[1] / "data" / "dinov2"
WEIGHTS, FORWARD = np.load(DATA / "weights.npz"), np.load(DATA / "forward.npz")
SIZES = ("70x70", "42x56", "98x98")  # in patches 5 x 5, the table's own, fewer and more


def stored(prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): WEIGHTS[name] for name in WEIGHTS.files if name.startswith(prefix)}


ORIGINAL, HEADS = stored("orig/"), {"linear": stored("head1/"), "linear4": stored("head4/")}
TO_HUGGING_FACE = [
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("register_tokens", "embeddings.register_tokens"),
    ("blocks.", "encoder.layer."),
    ("attn.proj", "attention.output.dense"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
]


def as_hugging_face(backbone: dict[str, np.ndarray], prefix: str = "dinov2.") -> dict[str, np.ndarray]:
    """The same backbone with its one-layer head, as transformers writes it."""
    renamed = {f"classifier.{name}": value for name, value in HEADS["linear"].items()}
    for name, value in backbone.items():
        name = "layernorm" + name.removeprefix("norm") if name.startswith("norm.") else name
        for ours, theirs in TO_HUGGING_FACE:
            name = name.replace(ours, theirs)
        if ".attn.qkv." in name:
            for part, rows in zip(("query", "key", "value"), np.split(value, 3), strict=True):
                renamed[prefix + name.replace("attn.qkv", f"attention.attention.{part}")] = rows
        else:
            renamed[prefix + name] = value
    return renamed


NETWORKS = {
    "hf": dinov2_from_tensors(as_hugging_face(ORIGINAL), num_heads=4),
    "orig_lc1": dinov2_from_tensors(ORIGINAL, HEADS["linear"], num_heads=4),
    "orig_lc4": dinov2_from_tensors(ORIGINAL, HEADS["linear4"], num_heads=4),
}


@jax.jit
def logits_of(network: DINOv2, x: jax.Array) -> jax.Array:
    """Of a batch; compiled once for all weights."""
    return jax.vmap(network)(x)


def images(size: str) -> jax.Array:
    return jnp.asarray(FORWARD[f"x_{size}"].transpose(0, 2, 3, 1), FLOAT)


def distance(value: Any, wanted: np.ndarray) -> float:
    """Relative, of the worst image."""
    axes = tuple(range(1, wanted.ndim))
    error = np.sum((np.asarray(value, float) - wanted) ** 2, axis=axes)
    return float(np.max(np.sqrt(error / np.sum(np.square(wanted, dtype=float), axis=axes))))


def test_configurations_follow_from_the_tensors():
    small = DINOv2Config(width=48, depth=5, num_heads=4, table_size=5, num_classes=11)
    assert NETWORKS["hf"].config == replace(small, pos_offset=0.0, head="linear")
    assert NETWORKS["orig_lc1"].config == replace(small, head="linear")
    assert NETWORKS["orig_lc4"].config == small


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for size in SIZES for name in NETWORKS if (name, size) != ("orig_lc4", "98x98")]
)
def test_logits_are_the_reference_s(name, size):
    logits = logits_of(NETWORKS[name], images(size))
    # The reference interpolates positions in single precision at other sizes, in double too.
    bound = 1e-10 if X64 and size == "70x70" else 1e-5 if not X64 else 2e-6
    assert distance(logits, FORWARD[f"logits_{name}_{size}"]) < bound


def test_gradients_are_the_reference_s():
    network = NETWORKS["orig_lc4"]

    def log_probability(x, target):
        return jax.nn.log_softmax(network(x))[target]

    gradient = jax.jit(jax.vmap(jax.grad(log_probability)))(images("42x56"), jnp.asarray(FORWARD["target_42x56"]))
    wanted = FORWARD["gradlogp_orig_lc4_42x56"].transpose(0, 2, 3, 1)
    assert distance(gradient, wanted) < (2e-6 if X64 else 2e-5)  # of positions in single precision, as above


@needs_x64
@pytest.mark.parametrize(
    "name",
    ["blocks.4.attn.qkv.weight", "blocks.0.attn.proj.weight", "blocks.2.ls1.gamma", "pos_embed", "cls_token"],
)
def test_a_tensor_that_is_wrong_by_a_percent_is_seen(name):
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(ORIGINAL[name].shape)
    network = dinov2_from_tensors(ORIGINAL | {name: ORIGINAL[name] * noise}, HEADS["linear4"], num_heads=4)
    assert distance(logits_of(network, images("70x70")), FORWARD["logits_orig_lc4_70x70"]) > 1e-5


def test_the_recipe_of_the_other_origin_gives_other_logits():
    logits = logits_of(NETWORKS["orig_lc1"], images("42x56"))
    assert distance(logits, FORWARD["logits_hf_42x56"]) > 1e-2


def test_a_backbone_without_a_head_gives_its_features():
    network = dinov2_from_tensors(ORIGINAL, num_heads=4)
    features = np.asarray(logits_of(network, images("70x70")))
    logits = features @ HEADS["linear"]["weight"].T + HEADS["linear"]["bias"]
    assert features.shape == (1, 96)
    assert distance(logits, FORWARD["logits_orig_lc1_70x70"]) < 1e-5


def test_registers_come_from_both_origins():
    registers = np.random.default_rng(0).standard_normal((1, 4, 48), np.float32)
    backbone = ORIGINAL | {"register_tokens": registers}
    theirs = as_hugging_face(backbone, "dinov2_with_registers.")
    networks = [
        dinov2_from_tensors(backbone, HEADS["linear"], num_heads=4),
        dinov2_from_tensors(theirs, num_heads=4),
    ]
    for network in networks:
        assert network.config == networks[0].config
        assert (network.config.num_registers, network.config.pos_offset, network.config.pos_antialias) == (4, 0.0, True)
        np.testing.assert_array_equal(parameters(network)["registers"], registers[0])
        assert distance(logits_of(network, images("70x70")), FORWARD["logits_orig_lc1_70x70"]) > 1e-2


def test_a_converted_network_survives_the_disk(tmp_path):
    save_network(tmp_path, NETWORKS["orig_lc4"])
    network = load_module(tmp_path)
    assert network.config == NETWORKS["orig_lc4"].config
    x = images("42x56")
    np.testing.assert_array_equal(logits_of(network, x), logits_of(NETWORKS["orig_lc4"], x))
    with pytest.raises(CheckpointError, match="dinov2, which is not a diffusion model"):
        load_network(tmp_path)


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in ORIGINAL.items() if name not in names}


HEAD = HEADS["linear"]
THEIRS = as_hugging_face(ORIGINAL)
QUERY = "dinov2.encoder.layer.1.attention.attention.query.weight"


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ({}, None, r"no tensor is named .*cls_token: this is no DINOv2 backbone"),
        (without("pos_embed"), HEAD, "no tensor is named pos_embed"),
        (
            without("norm.bias", "blocks.3.ls2.gamma"),
            HEAD,
            r"(?s)2 problems.*blocks.3.scale2:.*norm.bias:",
        ),
        (ORIGINAL | {"extra.weight": np.ones(3)}, HEAD, "extra.weight: no rule"),
        (ORIGINAL | {"blocks.0.mlp.w12.weight": np.ones((2, 2))}, HEAD, r"SwiGLU perceptrons \(vitg14\)"),
        (ORIGINAL | {"cls_token": np.ones(48)}, HEAD, r"cls_token must have 3 dimensions.*got shape \(48,\)"),
        (ORIGINAL | {"cls_token": np.ones((1, 1, 0))}, HEAD, "none of them empty"),
        (
            ORIGINAL | {"pos_embed": np.ones((1, 24, 48))},
            HEAD,
            r"pos_embed: has shape \(1, 24, 48\).*\(17, 48\)",
        ),
        (ORIGINAL | {"norm.bias": np.full(48, np.nan)}, HEAD, "norm.bias: holds NaN"),
        (ORIGINAL, {"weight": np.ones((11, 97)), "bias": np.ones(11)}, "a head on 97 features fits no network"),
        (ORIGINAL, {"weight": HEAD["weight"]}, "head.bias: no tensor of the checkpoint fills it"),
        (THEIRS, HEAD, "head.kernel: filled by classifier.weight and by head.weight"),
        ({name: v for name, v in THEIRS.items() if name != QUERY}, None, r"blocks.1.qkv.kernel: no tensor"),
        (THEIRS | {QUERY: np.ones(3)}, None, r"attention.attention.query.weight: no rule"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(backbone, head, message):
    with pytest.raises(CheckpointError, match=message):
        dinov2_from_tensors(backbone, head, num_heads=4)


@pytest.mark.parametrize(
    ("num_heads", "message"),
    [(None, "48 wide, not in heads of 64: give num_heads"), (5, "width must be a multiple of num_heads, got 48 and 5")],
)
def test_heads_that_do_not_fit_are_refused(num_heads, message):
    with pytest.raises(CheckpointError, match=message):
        dinov2_from_tensors(ORIGINAL, HEAD, num_heads)


def test_published_widths_have_heads_of_64():
    wide = {"cls_token": np.ones((1, 1, 384)), "pos_embed": np.ones((1, 1370, 384))}
    wide |= {"patch_embed.proj.weight": np.ones((384, 3, 14, 14)), "blocks.0.mlp.fc1.weight": np.ones((1536, 384))}
    with pytest.raises(CheckpointError, match="the checkpoint does not fit") as error:
        dinov2_from_tensors(wide)
    # What is there has the shapes that it should have.
    assert not re.search("has shape", str(error.value))
