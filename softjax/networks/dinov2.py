r"""DINOv2's vision transformer with its linear classifier (Oquab et al. 2023), in Flax NNX.

It maps one normalised image (h, w, 3) to logits; `preprocess` and `preprocess_sample` make such images. Batches are
`jax.vmap`. The position table, learned on a square of patches, is interpolated to those of the image in three ways that
differ by origin of the weights; the coefficients are computed in double precision while tracing.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from softjax._checks import require, require_lattice, require_option
from softjax._types import Array, Configuration, Float
from softjax.networks._bounds import (
    MAX_BLOCKS,
    MAX_CLASSES,
    MAX_SIZE,
    normalise_counts,
    require_flag,
    require_numbers,
)
from softjax.networks._resize import cubic_matrix

_LAYERS = {"linear": 1, "linear4": 4}  # blocks whose class tokens the head sees


@dataclass(frozen=True)
class DINOv2Config:
    """Everything that fixes the architecture. The defaults are ViT-B/14's with the four-layer head on ImageNet-1k.

    >>> config = sj.networks.DINOv2Config.preset("vits14", num_classes=0)
    >>> config.width, config.depth, config.num_features
    (384, 12, 1920)
    """

    width: int = 768
    """Width of the tokens."""
    depth: int = 12
    """Number of blocks."""
    num_heads: int = 12
    """Attention heads of a block."""
    patch_size: int = 14
    """Side of a patch in pixels; image sides are multiples of it."""
    mlp_ratio: int = 4
    """Hidden width of a block's perceptron, in widths."""
    num_registers: int = 0
    """Register tokens: 0, or 4 in the published networks that have them."""
    table_size: int = 37
    """Side of the square of patches for which positions were learned: 37 for 518 x 518 pixels."""
    pos_offset: float = 0.1
    """Added to the number of patches of a side when positions are interpolated: 0.1 for the original weights without
    registers, 0 for those with registers and for Hugging Face's."""
    pos_antialias: bool = False
    """Whether that interpolation antialiases: for weights with registers."""
    num_classes: int = 1000
    """Number of logits. 0 for a backbone without a head, whose output is its features."""
    head: Literal["linear", "linear4"] = "linear4"
    """What the head sees beside the mean of the patches: class tokens of the last block, or of the last four."""

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        require_option("head", self.head, _LAYERS)
        largest = {"depth": MAX_BLOCKS, "num_classes": MAX_CLASSES, "mlp_ratio": MAX_BLOCKS}
        others = ("width", "num_heads", "patch_size", "num_registers", "table_size")
        normalise_counts(self, largest | dict.fromkeys(others, MAX_SIZE))
        require_numbers(self, "pos_offset")
        require_flag(self, "pos_antialias")
        names = ("width", "depth", "num_heads", "patch_size", "mlp_ratio", "table_size")
        sizes = {name: getattr(self, name) for name in names}
        require(all(size >= 1 for size in sizes.values()), f"sizes must be at least 1, got {sizes}.")
        require(
            self.width % self.num_heads == 0,
            f"width must be a multiple of num_heads, got {self.width} and {self.num_heads}.",
        )
        require(self.num_registers >= 0 and self.num_classes >= 0, "counts must not be negative.")
        require(self.pos_offset >= 0, f"pos_offset must not be negative, got {self.pos_offset}.")
        require(
            self.depth >= _LAYERS[self.head],
            f"head {self.head!r} needs {_LAYERS[self.head]} blocks or more, got {self.depth}.",
        )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "DINOv2Config":
        """The published sizes: "vits14", "vitb14", "vitl14", each also with registers as "vits14_reg" and so on.

        * `name`: of the size;
        * `changes`: options to be replaced, by name.

        Raises `ValueError` for another name, such as "vitg14", whose blocks have
        gated perceptrons (SwiGLU) that are not built here.
        """
        sizes = {"vits14": (384, 12, 6), "vitb14": (768, 12, 12), "vitl14": (1024, 24, 16)}
        size = name.removesuffix("_reg")
        require(size != "vitg14", "vitg14 has SwiGLU perceptrons, which are not built here; take vitl14.")
        require_option("name", name, [*sizes, *(f"{size}_reg" for size in sizes)])
        width, depth, num_heads = sizes[size]
        config = cls(width, depth, num_heads)
        if name.endswith("_reg"):
            config = replace(config, num_registers=4, pos_offset=0.0, pos_antialias=True)
        return replace(config, **changes)

    @property
    def num_features(self) -> int:
        """What the head sees: class tokens, and the mean of the patches."""
        return (_LAYERS[self.head] + 1) * self.width


class DINOv2(nnx.Module):
    """`network(x)`: logits (num_classes,) of one normalised image (h, w, 3), sides multiples of the patches'.

    * `config`: the architecture, by default `DINOv2Config()`;
    * `rngs`: `flax.nnx.Rngs`, for the initial weights.

    >>> from flax import nnx
    >>> config = sj.networks.DINOv2Config(width=16, depth=1, num_heads=2, table_size=2, num_classes=5, head="linear")
    >>> network = sj.networks.DINOv2(config, rngs=nnx.Rngs(0))
    >>> network(jnp.zeros((28, 28, 3))).shape, network.features(jnp.zeros((28, 28, 3))).shape
    ((5,), (32,))
    """

    def __init__(self, config: DINOv2Config | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or DINOv2Config()
        width, patch, dtype = config.width, (config.patch_size,) * 2, jnp.result_type(float)
        self.patches = nnx.Conv(3, width, patch, strides=patch, padding="VALID", param_dtype=dtype, rngs=rngs)
        small = nnx.initializers.normal(0.02)
        self.class_token = nnx.Param(small(rngs.params(), (width,), dtype))
        registers = (config.num_registers, width)
        self.registers = nnx.Param(small(rngs.params(), registers, dtype)) if config.num_registers else None
        self.positions = nnx.Param(small(rngs.params(), (1 + config.table_size**2, width), dtype))
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.depth)])
        self.norm = LayerNorm(width)
        self.head = _linear(config.num_features, config.num_classes, rngs) if config.num_classes else None

    def __call__(self, x: Configuration) -> Float[Array, " classes"]:
        """Logits of one image; raises `ValueError` for images that do not fit the network.

        * `x`: one image, (h, w, 3), as `preprocess` makes it.
        """
        features = self.features(x)
        return features if self.head is None else self.head(features)

    def features(self, x: Configuration) -> Float[Array, " features"]:
        """What the head sees: normalised class tokens of the last block or four, then the mean of the patches.

        * `x`: one image, (h, w, 3), as `preprocess` makes it.
        """
        num_layers, registers = _LAYERS[self.config.head], self.config.num_registers
        tokens, kept = self._embed(x), []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index >= self.config.depth - num_layers:
                kept.append(self.norm(tokens))
        return jnp.concatenate([*(tokens[0] for tokens in kept), jnp.mean(kept[-1][1 + registers :], axis=0)])

    def _embed(self, x: Configuration) -> Float[Array, "tokens width"]:
        """Class token, registers and patches, with the positions of the first and the last."""
        patch = self.config.patch_size
        require_lattice("x", x.shape[:-1], 2)
        require(x.shape[-1] == 3, f"x must have 3 channels, got shape {x.shape}.")
        require(
            all(side % patch == 0 for side in x.shape[:2]),
            f"the sides of x must be multiples of {patch}, got {x.shape[:2]}; crop the image or resize it.",
        )
        patches = self.patches(x)
        patches = (patches + self.patch_positions(patches.shape[0], patches.shape[1])).reshape(-1, self.config.width)
        class_token = self.class_token[...] + self.positions[0]
        registers = [] if self.registers is None else [self.registers[...]]
        return jnp.concatenate([class_token[None], *registers, patches])

    def patch_positions(self, rows: int, columns: int) -> Float[Array, "rows columns width"]:
        """The position table interpolated to an image of so many patches; as it is at its own size.

        * `rows`, `columns`: of the image, in patches.
        """
        config = self.config
        size = config.table_size
        table = self.positions[1:].reshape(size, size, config.width)
        if rows == columns == size:
            return table
        # PyTorch's cubic kernel has a = -0.75, but -0.5, as Pillow's, where it antialiases.
        options = {"offset": config.pos_offset, "antialias": config.pos_antialias}
        options |= {"sharpness": -0.5 if config.pos_antialias else -0.75}
        left, right = (jnp.asarray(cubic_matrix(size, n, **options), table.dtype) for n in (rows, columns))
        return jnp.einsum("ih,jw,hwc->ijc", left, right, table, precision=jax.lax.Precision.HIGHEST)


class Block(nnx.Module):
    """Attention, then a perceptron, each after a layer normalisation, scaled per channel and added."""

    def __init__(self, config: DINOv2Config, *, rngs: nnx.Rngs):
        width, hidden, dtype = config.width, config.mlp_ratio * config.width, jnp.result_type(float)
        self.num_heads = config.num_heads
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.qkv, self.projection = _linear(width, 3 * width, rngs), _linear(width, width, rngs)
        self.first, self.second = _linear(width, hidden, rngs), _linear(hidden, width, rngs)
        self.scale1, self.scale2 = (nnx.Param(jnp.full(width, 1e-5, dtype)) for _ in range(2))

    def __call__(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """One step of the residual stream."""
        x = x + self.scale1[...] * self._attention(self.norm1(x))
        hidden = jax.nn.gelu(self.first(self.norm2(x)), approximate=False)
        return x + self.scale2[...] * self.second(hidden)

    def _attention(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Softmax attention; the projected channels are queries, keys, values, and head by head in each."""
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(x.shape[0], 3, self.num_heads, -1), 1, 0)
        weights = jax.nn.softmax(jnp.einsum("qhc,khc->hqk", q, k) / q.shape[-1] ** 0.5)
        return self.projection(jnp.einsum("hqk,khc->qhc", weights, v).reshape(x.shape))


class LayerNorm(nnx.Module):
    """Normalises the channels of each token to mean 0 and variance 1, then scales and shifts."""

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Deviations first, squares after: no cancellation."""
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        deviation = jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x / deviation * self.scale[...] + self.bias[...]


def _linear(width: int, out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(width, out, param_dtype=jnp.result_type(float), rngs=rngs)
