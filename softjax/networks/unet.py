r"""The convolutional U-Net of the paper's Fashion-MNIST experiments (App. D.3), in Flax NNX.

It maps one noisy image and its diffusion time to one image, by default the noise in it. Images are (h, w), or
(h, w, channels) where there are several channels; batches are `jax.vmap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softjax._checks import concrete, require, require_option
from softjax._types import Array, Configuration, Float, Int, Time
from softjax.networks._bounds import MAX_BLOCKS, MAX_CLASSES, MAX_SIZE, normalise_counts

GROUP_SIZE = 8  # channels of a normalisation group
_FREQUENCY_RANGE = (0.25, 16.0)  # of the time embedding, in radians per e-fold of t


@dataclass(frozen=True)
class UNetConfig:
    """Everything that fixes the architecture.

    >>> sj.networks.UNetConfig(widths=(16, 32, 32)).stride
    4
    """

    channels: int = 1
    """Channels of the image."""
    widths: tuple[int, ...] = (64, 128, 128)
    """Channels of each resolution, finest first; each further one halves both sides."""
    num_blocks: int = 1
    """Residual blocks of the encoder and of the decoder on each resolution."""
    num_middle_blocks: int = 2
    """Residual blocks of the bottleneck."""
    embedding_size: int = 256
    """Width of the time embedding."""
    padding: Literal["zeros", "circular"] = "zeros"
    """Border of the convolutions: zeros (the paper's), or circular, which makes the network translation equivariant."""
    num_classes: int = 0
    """Labels of a conditional network, 0 for none. Label `num_classes` stands for no label."""

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        require_option("padding", self.padding, ("zeros", "circular"))
        largest = dict.fromkeys(("channels", "widths", "embedding_size"), MAX_SIZE) | {"num_classes": MAX_CLASSES}
        normalise_counts(self, largest | dict.fromkeys(("num_blocks", "num_middle_blocks"), MAX_BLOCKS))
        require(
            len(self.widths) >= 1 and all(w >= GROUP_SIZE and w % GROUP_SIZE == 0 for w in self.widths),
            f"widths must be multiples of {GROUP_SIZE}, one per resolution; got {self.widths}.",
        )
        counts = {name: getattr(self, name) for name in ("channels", "num_blocks", "embedding_size")}
        require(all(count >= 1 for count in counts.values()), f"sizes must be at least 1, got {counts}.")
        require(self.embedding_size % 4 == 0, f"embedding_size must be a multiple of 4, got {self.embedding_size}.")
        require(self.num_middle_blocks >= 0 and self.num_classes >= 0, "counts must not be negative.")

    @property
    def stride(self) -> int:
        """Side of the pixels of the coarsest resolution: image sides are multiples of it."""
        return 2 ** (len(self.widths) - 1)


class UNet(nnx.Module):
    """`network(t, x)`, or `network(t, x, label)`, with the shape of `x`.

    * `config`: the architecture, by default `UNetConfig()`;
    * `rngs`: `flax.nnx.Rngs`, for the initial weights.

    >>> from flax import nnx
    >>> config = sj.networks.UNetConfig(widths=(8,), num_middle_blocks=0, embedding_size=8)
    >>> network = sj.networks.UNet(config, rngs=nnx.Rngs(0))
    >>> sj.NetworkField(network, sj.VP(), "noise").denoise(1.0, jnp.zeros((8, 8))).shape
    (8, 8)
    """

    def __init__(self, config: UNetConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or UNetConfig()
        widths, blocks, size = config.widths, config.num_blocks, config.embedding_size
        self.embedding = TimeEmbedding(size, config.num_classes, rngs=rngs)
        self.input = _conv(config.channels, widths[0], config.padding, rngs=rngs)

        encoder, downs, decoder, width = [], [], [], widths[0]
        for level, out in enumerate(widths):
            encoder.append(_stage(width, out, blocks, config, rngs))
            if level + 1 < len(widths):
                downs.append(_conv(out, out, config.padding, stride=2, rngs=rngs))
            width = out
        self.encoder, self.downs = nnx.List(encoder), nnx.List(downs)
        self.middle = _stage(width, width, config.num_middle_blocks, config, rngs)
        for out in reversed(widths[:-1]):
            decoder.append(_stage(width + out, out, blocks, config, rngs))
            width = out
        self.decoder = nnx.List(decoder)

        self.output_norm = GroupNorm(width)
        self.output = _conv(width, config.channels, config.padding, rngs=rngs, kernel_init=nnx.initializers.zeros)

    def __call__(self, t: Time, x: Configuration, label: Int[Array, ""] | int | None = None) -> Configuration:
        """The prediction for one image at one time; raises `ValueError` for images that do not fit the network.

        * `t`: the time, in the units that it was trained with;
        * `x`: one image, (h, w) or (h, w, channels);
        * `label`: the class, from 0 on; `num_classes` for no label.
        """
        h = self._as_image(x)
        embedding = self.embedding(jnp.asarray(t, h.dtype), label)
        h = self.input(h)
        skips = []
        for level, stage in enumerate(self.encoder):
            h = _apply(stage, h, embedding)
            if level < len(self.downs):
                skips.append(h)
                h = self.downs[level](h)
        h = _apply(self.middle, h, embedding)
        for stage in self.decoder:
            h = jnp.concatenate([_double(h), skips.pop()], axis=-1)
            h = _apply(stage, h, embedding)
        return self.output(jax.nn.silu(self.output_norm(h))).reshape(x.shape)

    def _as_image(self, x: Configuration) -> Float[Array, "h w c"]:
        channels, stride = self.config.channels, self.config.stride
        image = x[..., None] if channels == 1 and x.ndim == 2 else x
        require(
            image.ndim == 3 and image.shape[-1] == channels,
            f"x must be one image (h, w{'' if channels == 1 else f', {channels}'}), got shape {x.shape}. "
            "For a batch of images use jax.vmap.",
        )
        require(
            all(side > 0 and side % stride == 0 for side in image.shape[:2]),
            f"the sides of x must be multiples of {stride}, got {image.shape[:2]}; pad the image.",
        )
        return image


class TimeEmbedding(nnx.Module):
    r"""Two-layer SiLU network on $\sin(\omega_j \ln t)$ and $\cos(\omega_j \ln t)$, frequencies evenly spaced in log.

    The logarithm, because training times are log-uniform: neighbouring times of the log grid stay neighbours in the
    embedding at every t. A label adds its own learned vector.
    """

    def __init__(self, size: int, num_classes: int = 0, *, rngs: nnx.Rngs):
        self.num_classes = num_classes
        self.num_frequencies = size // 4
        self.first = _linear(2 * self.num_frequencies, size, rngs)
        self.second = _linear(size, size, rngs)
        dtype = jnp.result_type(float)
        self.labels = nnx.Embed(num_classes + 1, size, param_dtype=dtype, rngs=rngs) if num_classes else None

    def __call__(self, t: Float[Array, ""], label: Int[Array, ""] | int | None = None) -> Float[Array, " size"]:
        """The embedding after its last SiLU, ready for the blocks' projections."""
        angles = jnp.asarray(np.geomspace(*_FREQUENCY_RANGE, self.num_frequencies), t.dtype) * jnp.log(t)
        features = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])
        embedding = self.second(jax.nn.silu(self.first(features)))
        if self.labels is not None:
            embedding = embedding + self._label_vector(self.labels, label)
        else:
            require(label is None, f"this network takes no labels, got {label}.")
        return jax.nn.silu(embedding)

    def _label_vector(self, labels: nnx.Embed, label: Int[Array, ""] | int | None) -> Float[Array, " size"]:
        """Refuses a label out of range; where it is traced, the vector is NaN."""
        if label is None:
            return labels(jnp.asarray(self.num_classes))
        known, label = concrete(label), jnp.asarray(label)
        inside = known is None or bool(np.all((known >= 0) & (known <= self.num_classes)))
        require(inside, f"labels run from 0 to {self.num_classes - 1}, or {self.num_classes} for none; got {known}.")
        return jnp.where((label >= 0) & (label <= self.num_classes), labels(label), jnp.nan)


class ResidualBlock(nnx.Module):
    """GroupNorm, SiLU, convolution, plus the projected time, GroupNorm, SiLU, convolution, plus the shortcut."""

    def __init__(self, width: int, out: int, config: UNetConfig, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = GroupNorm(width), GroupNorm(out)
        self.conv1 = _conv(width, out, config.padding, rngs=rngs)
        self.conv2 = _conv(out, out, config.padding, rngs=rngs)
        self.time = _linear(config.embedding_size, out, rngs)
        self.shortcut = _linear(width, out, rngs) if width != out else None

    def __call__(self, x: Float[Array, "h w c"], embedding: Float[Array, " size"]) -> Float[Array, "h w out"]:
        """One step of the residual stream."""
        h = self.conv1(jax.nn.silu(self.norm1(x))) + self.time(embedding)
        h = self.conv2(jax.nn.silu(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class GroupNorm(nnx.Module):
    """Normalises groups of neighbouring channels over the image to mean 0 and variance 1, then scales and shifts."""

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones(width))
        self.shift = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """As one multiplication and one addition per pixel: the statistics are per channel first."""
        groups = (x.shape[-1] // GROUP_SIZE, GROUP_SIZE)
        mean = jnp.mean(x, axis=(0, 1)).reshape(groups).mean(1, keepdims=True)
        square = jnp.mean(x * x, axis=(0, 1)).reshape(groups).mean(1, keepdims=True)
        scale = (jax.lax.rsqrt(square - mean * mean + 1e-5) * self.scale[...].reshape(groups)).reshape(-1)
        shift = self.shift[...] - jnp.broadcast_to(mean, groups).reshape(-1) * scale
        return x * scale + shift


def _stage(width: int, out: int, num_blocks: int, config: UNetConfig, rngs: nnx.Rngs) -> Sequence[ResidualBlock]:
    return nnx.List([ResidualBlock(out if i else width, out, config, rngs=rngs) for i in range(num_blocks)])


def _apply(stage: Sequence[ResidualBlock], x: Array, embedding: Array) -> Array:
    for block in stage:
        x = block(x, embedding)
    return x


def _conv(width: int, out: int, padding: str, stride: int = 1, *, rngs: nnx.Rngs, **options) -> nnx.Conv:
    """A 3 x 3 convolution whose window is centred on the pixel, strided or not."""
    border = "CIRCULAR" if padding == "circular" else ((1, 1), (1, 1))
    options |= {"param_dtype": jnp.result_type(float)}
    return nnx.Conv(width, out, (3, 3), strides=stride, padding=border, rngs=rngs, **options)


def _linear(width: int, out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(width, out, param_dtype=jnp.result_type(float), rngs=rngs)


def _double(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Nearest-neighbour upsampling by two."""
    h, w, c = x.shape
    return jnp.broadcast_to(x[:, None, :, None], (h, 2, w, 2, c)).reshape(2 * h, 2 * w, c)
