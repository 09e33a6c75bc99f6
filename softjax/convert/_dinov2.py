"""DINOv2 from the tensors of its published files, under the original names or Hugging Face's.

The configuration follows from the shapes. What they cannot tell, how positions are interpolated, follows from the
names: each origin's weights keep the recipe of the code that they are published with.
"""

import math
import re
from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from softjax.convert._parameters import CheckpointError, with_parameters
from softjax.convert._rules import Rule, conv_kernel, convert_tensors, linear_kernel, parameter_shapes
from softjax.networks import DINOv2, DINOv2Config


def _rows(tensor: np.ndarray) -> np.ndarray:
    """(1, n, width), learned tokens or positions, as (n, width)."""
    return tensor.reshape(-1, *tensor.shape[-1:])


_CLASS_TOKEN = r"(?:embeddings\.)?cls_token"
_REGISTERS = r"(?:embeddings\.)?register_tokens"
_POSITIONS = r"pos_embed|embeddings\.position_embeddings"
_HEAD = r"(?:head|classifier)"
_BLOCK = r"(?:blocks|encoder\.layer)\.(\d+)\."
_PATCHES = r"(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)"
_FIRST_LAYER = rf"{_BLOCK}mlp\.fc1\.weight"
_WANTED = {
    _CLASS_TOKEN: "cls_token or embeddings.cls_token",
    _POSITIONS: "pos_embed or embeddings.position_embeddings",
    rf"{_PATCHES}\.weight": "patch_embed.proj.weight or embeddings.patch_embeddings.projection.weight",
    _FIRST_LAYER: "blocks.0.mlp.fc1.weight or encoder.layer.0.mlp.fc1.weight",
}
"""What the patterns of tensors that every backbone has stand for."""

RULES = (
    Rule(_CLASS_TOKEN, "class_token", np.ravel),
    Rule(_REGISTERS, "registers", _rows),
    Rule(_POSITIONS, "positions", _rows),
    Rule(rf"{_PATCHES}\.weight", "patches.kernel", conv_kernel),
    Rule(rf"{_PATCHES}\.bias", "patches.bias"),
    Rule(_BLOCK + r"norm([12])\.weight", r"blocks.\1.norm\2.scale"),
    Rule(_BLOCK + r"norm([12])\.bias", r"blocks.\1.norm\2.bias"),
    Rule(_BLOCK + r"(?:attn|attention)\.qkv\.weight", r"blocks.\1.qkv.kernel", linear_kernel),
    Rule(_BLOCK + r"(?:attn|attention)\.qkv\.bias", r"blocks.\1.qkv.bias"),
    Rule(_BLOCK + r"(?:attn\.proj|attention\.output\.dense)\.weight", r"blocks.\1.projection.kernel", linear_kernel),
    Rule(_BLOCK + r"(?:attn\.proj|attention\.output\.dense)\.bias", r"blocks.\1.projection.bias"),
    Rule(_BLOCK + r"(?:ls|layer_scale)([12])\.(?:gamma|lambda1)", r"blocks.\1.scale\2"),
    Rule(_BLOCK + r"mlp\.fc1\.weight", r"blocks.\1.first.kernel", linear_kernel),
    Rule(_BLOCK + r"mlp\.fc1\.bias", r"blocks.\1.first.bias"),
    Rule(_BLOCK + r"mlp\.fc2\.weight", r"blocks.\1.second.kernel", linear_kernel),
    Rule(_BLOCK + r"mlp\.fc2\.bias", r"blocks.\1.second.bias"),
    Rule(r"(?:layer)?norm\.weight", "norm.scale"),
    Rule(r"(?:layer)?norm\.bias", "norm.bias"),
    Rule(rf"{_HEAD}\.weight", "head.kernel", linear_kernel),
    Rule(rf"{_HEAD}\.bias", "head.bias"),
)
IGNORED = (r"(?:embeddings\.)?mask_token",)
"""Only used in training."""


def dinov2_from_tensors(
    backbone: Mapping[str, np.ndarray], head: Mapping[str, np.ndarray] | None = None, num_heads: int | None = None
) -> DINOv2:
    """The classifier of a backbone, original or Hugging Face, and of a linear head that is stored apart, if any.

    * `backbone`: arrays by name, as `read_checkpoint(...).tensors`;
    * `head`: the `weight` and `bias` of an original one- or four-layer head. Hugging Face's classifiers have theirs in
      the same file. Without one the network returns its features;
    * `num_heads`: needed where attention heads are not 64 wide, as they are in every published network.

    Parameters take the default float type.

    Raises `CheckpointError` for tensors of another network, listing every one that does not fit.

    >>> backbone = sj.convert.read_checkpoint("dinov2_vits14_pretrain.pth").tensors  # doctest: +SKIP
    >>> sj.convert.dinov2_from_tensors(backbone).features(jnp.zeros((224, 224, 3))).shape  # doctest: +SKIP
    (1920,)
    """
    tensors = _with_merged_attention({re.sub(r"^dinov2(_with_registers)?\.", "", k): v for k, v in backbone.items()})
    tensors |= {f"head.{name}": value for name, value in (head or {}).items()}
    config = _config(tensors, num_heads)
    network = jax.eval_shape(lambda: DINOv2(config, rngs=nnx.Rngs(0)))
    return with_parameters(network, convert_tensors(tensors, RULES, IGNORED, parameter_shapes(network)))


def _with_merged_attention(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hugging Face's query, key and value of each block as one tensor, in this order along the rows."""
    merged = dict(tensors)
    for name in [name for name in tensors if ".attention.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        shapes = {np.shape(tensors[part]) if part in tensors else () for part in parts}
        if len(shapes) == 1 and () not in shapes:  # what cannot be merged is reported as what no rule matches
            merged[name.replace(".attention.query.", ".qkv.")] = np.concatenate([merged.pop(part) for part in parts])
    return merged


def _config(tensors: Mapping[str, np.ndarray], num_heads: int | None) -> DINOv2Config:
    """What names and shapes tell. Only the shapes that are read here are checked here; the rules check all."""
    if gated := [name for name in tensors if re.search(r"\.mlp\.(w12|weights_in)\.", name)]:
        raise CheckpointError(f"{gated[0]}: networks with SwiGLU perceptrons (vitg14) are not built here; take vitl14.")
    width = _shape(tensors, _CLASS_TOKEN, 3)[-1]
    if num_heads is None and width % 64 != 0:
        raise CheckpointError(
            f"tokens are {width} wide, not in heads of 64: give num_heads, as an option or as --num-heads."
        )
    registers = _shape(tensors, _REGISTERS, 3, (1, 0, width))[1]
    num_classes, inputs = _shape(tensors, rf"{_HEAD}\.weight", 2, (0, 2 * width))
    if inputs not in (2 * width, 5 * width):
        raise CheckpointError(
            f"a head on {inputs} features fits no network of width {width}: one-layer heads take {2 * width}, "
            f"four-layer heads {5 * width}."
        )
    try:
        return DINOv2Config(
            width,
            depth=len({match[1] for name in tensors if (match := re.match(_BLOCK, name))}),
            num_heads=num_heads or width // 64,
            patch_size=_shape(tensors, rf"{_PATCHES}\.weight", 4)[-1],
            mlp_ratio=_shape(tensors, _FIRST_LAYER, 2)[0] // width,
            num_registers=registers,
            table_size=math.isqrt(_shape(tensors, _POSITIONS, 3)[1] - 1),
            pos_offset=0.1 if "pos_embed" in tensors and not registers else 0.0,
            pos_antialias=registers > 0,
            num_classes=num_classes,
            head="linear" if inputs == 2 * width else "linear4",
        )
    except ValueError as error:
        raise CheckpointError(f"these are the tensors of no DINOv2 network: {error}") from error


def _shape(
    tensors: Mapping[str, np.ndarray], pattern: str, ndim: int, default: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """Shape of the first tensor with such a name."""
    name = next((name for name in tensors if re.fullmatch(pattern, name)), None)
    if name is not None:
        shape = np.shape(tensors[name])
        if len(shape) == ndim and min(shape) > 0:
            return shape
        raise CheckpointError(f"{name} must have {ndim} dimensions, none of them empty; got shape {shape}.")
    if default is not None:
        return default
    wanted = _WANTED.get(pattern, "as it must be")
    raise CheckpointError(f"no tensor is named {wanted}: this is no DINOv2 backbone, original or Hugging Face's.")
