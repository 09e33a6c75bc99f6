r"""EDM2: the magnitude-preserving U-Net of Karras et al. 2024 (arXiv 2312.02696), in Flax NNX.

The network is the denoiser itself, $D(x; \sigma) = c_\mathrm{skip} x + c_\mathrm{out} F(c_\mathrm{in} x;
c_\mathrm{noise})$ with the raw network $F$ and

$$c_\mathrm{skip} = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \quad
c_\mathrm{out} = \frac{\sigma\sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad
c_\mathrm{in} = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad c_\mathrm{noise} = \frac{\ln\sigma}{4}.$$

Images are (h, w, channels), in [-1, 1] without noise; batches are `jax.vmap`, under which weights are normalised once
for all images. Everything can be differentiated forward, attention included. Accelerators multiply matrices at reduced
precision by default: `jax.default_matmul_precision("highest")` gives single precision.
"""

import math
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from softjax._checks import concrete, require, require_shape
from softjax._types import Array, Configuration, Float, Int, PRNGKeyArray, Time
from softjax.networks._edm2_config import EDM2Config
from softjax.networks._edm2_layers import (
    MPConv,
    MPFourier,
    MPLinear,
    MPWeight,
    attend,
    double,
    halve,
    mp_concat,
    mp_silu,
    mp_sum,
    normalize,
)

Label = Int[Array, ""] | Float[Array, " classes"] | int | None
"""A class, weights of the classes, or none."""


class EDM2(nnx.Module):
    """`network(sigma, x)`, or `network(sigma, x, label)`: the denoised image, with the shape of `x`.

    * `config`: the architecture, by default `EDM2Config()`;
    * `rngs`: `flax.nnx.Rngs`, for the initial weights.

    >>> from flax import nnx
    >>> config = sj.networks.EDM2Config(8, 1, label_dim=0, model_channels=8, channel_mult=(1,), num_blocks=1)
    >>> network = sj.networks.EDM2(config, rngs=nnx.Rngs(0))
    >>> sj.NetworkField(network, sj.EDM(0.5), "denoiser").denoise(1.0, jnp.zeros((8, 8))).shape
    (8, 8)
    """

    def __init__(self, config: EDM2Config | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or EDM2Config()
        size = config.embedding_size
        self.noise_features = MPFourier(config.noise_size, rngs=rngs)
        self.noise = MPLinear(config.noise_size, size, rngs=rngs)
        self.label = MPLinear(config.label_dim, size, rngs=rngs) if config.label_dim else None
        self.log_variance_features = MPFourier(config.logvar_channels, rngs=rngs)
        self.log_variance_head = MPLinear(config.logvar_channels, 1, rngs=rngs)

        widths, attention = config.widths, [side in config.attn_resolutions for side in config.resolutions]
        self.input = MPConv(config.img_channels + 1, widths[0], rngs=rngs)
        encoder, downs, skips, width = [], [], [widths[0]], widths[0]
        for level, out in enumerate(widths):
            if level:
                downs.append(Block(width, width, config, "encoder", "halve", rngs=rngs))
                skips.append(width)
            blocks = []
            for _ in range(config.num_blocks):
                blocks.append(Block(width, out, config, "encoder", attention=attention[level], rngs=rngs))
                skips.append(width := out)
            encoder.append(nnx.List(blocks))
        self.encoder, self.downs = nnx.List(encoder), nnx.List(downs)

        self.middle = nnx.List([Block(width, width, config, attention=a, rngs=rngs) for a in (True, False)])
        decoder, ups = [], []
        for level, out in reversed(list(enumerate(widths))):
            if level + 1 < len(widths):
                ups.append(Block(width, width, config, resample="double", rngs=rngs))
            blocks = []
            for _ in range(config.num_blocks + 1):
                blocks.append(Block(width + skips.pop(), out, config, attention=attention[level], rngs=rngs))
                width = out
            decoder.append(nnx.List(blocks))
        self.decoder, self.ups = nnx.List(decoder), nnx.List(ups)

        self.output_gain = nnx.Param(jnp.zeros(()))
        self.output = MPConv(width, config.img_channels, rngs=rngs)

    def __call__(
        self, t: Time, x: Configuration, label: Label = None, *, key: PRNGKeyArray | None = None
    ) -> Configuration:
        """D(x; sigma = t) of one image, (h, w) or (h, w, channels).

        * `t`: the noise level sigma, in units of the data;
        * `x`: the noisy image, (h, w) or (h, w, channels), in units of the data;
        * `label`: a class, weights of the classes, shape (label_dim,), or None, which a conditional network takes for
          no class at all;
        * `key`: switches on the dropout of training.

        Raises `ValueError` for images and labels that do not fit the network. A class out of range that is traced, and
        so can't be looked at, makes the image NaN.
        """
        image = x[..., None] if self.config.img_channels == 1 and x.ndim == 2 else x
        sigma, sigma_data = jnp.asarray(t, x.dtype), self.config.sigma_data
        total = jnp.hypot(sigma, sigma_data)
        raw = self.raw(jnp.log(sigma) / 4, image / total, label, key=key)
        return ((sigma_data / total) ** 2 * image + sigma * sigma_data / total * raw).reshape(x.shape)

    def raw(
        self,
        c_noise: Float[Array, ""],
        x: Configuration,
        label: Label = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Configuration:
        """F(x; c_noise), the network without its preconditioning, of one image (h, w, channels) of unit variance.

        * `c_noise`: ln(sigma) / 4;
        * `x`: the image, (h, w, channels), of unit variance;
        * `label`, `key`: as for the network.
        """
        config = self.config
        self._check_image(x)
        embedding = self.embed(jnp.asarray(c_noise, x.dtype), label)
        keys = self._keys(key)
        h = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
        skips = [h := self.input(h.astype(config.compute_dtype or x.dtype))]
        for level, blocks in enumerate(self.encoder):
            for block in [*self.downs[level - 1 : level], *blocks]:
                skips.append(h := block(h, embedding, next(keys)))
        for block in self.middle:
            h = block(h, embedding, next(keys))
        for level, blocks in enumerate(self.decoder):
            for block in self.ups[level - 1 : level]:
                h = block(h, embedding, next(keys))
            for block in blocks:
                h = block(mp_concat(h, skips.pop(), config.concat_balance), embedding, next(keys))
        return self.output(h, self.output_gain[...]).astype(x.dtype)

    def embed(self, c_noise: Float[Array, ""], label: Label = None) -> Float[Array, " size"]:
        """Embedding of noise level and label that every block sees.

        * `c_noise`: ln(sigma) / 4;
        * `label`: as for the network.
        """
        embedding = self.noise(self.noise_features(c_noise))
        if self.label is not None:
            weights = self._label_weights(label, embedding.dtype)
            embedding = mp_sum(embedding, self.label(weights), self.config.label_balance)
        else:
            require(label is None, f"this network is unconditional, got the label {label}; leave it out.")
        return mp_silu(embedding)

    def log_variance(self, t: Time) -> Float[Array, ""]:
        """u(sigma = t): logarithm of the variance that the denoising error has per pixel, learned beside D.

        * `t`: the noise level sigma, in units of the data.
        """
        sigma = jnp.asarray(t, self.log_variance_head.kernel[...].dtype)
        return self.log_variance_head(self.log_variance_features(jnp.log(sigma) / 4))[0]

    def _check_image(self, x: Array) -> None:
        channels, stride = self.config.img_channels, self.config.stride
        require(
            x.ndim == 3 and x.shape[-1] == channels,
            f"x must be one image (h, w, {channels}), got shape {x.shape}. For a batch of images use jax.vmap.",
        )
        require(
            all(side > 0 and side % stride == 0 for side in x.shape[:2]),
            f"the sides of x must be multiples of {stride}, got {x.shape[:2]}; pad the image.",
        )

    def _label_weights(self, label: Label, dtype: jnp.dtype) -> Float[Array, " classes"]:
        """Weights of the classes at unit magnitude for one class.

        A class out of range is refused where it is known. Where it is traced, its weights are NaN: zeros would be those
        of no label, and the network would silently answer another question.
        """
        classes = self.config.label_dim
        if label is None:
            return jnp.zeros(classes, dtype)
        known, label = concrete(label), jnp.asarray(label)
        if jnp.issubdtype(label.dtype, jnp.integer):
            require_shape("an integer label", label.shape, ())
            require(known is None or 0 <= int(known) < classes, f"labels run from 0 to {classes - 1}, got {known}.")
            weights = jax.nn.one_hot(label, classes, dtype=dtype) * math.sqrt(classes)
            return jnp.where((label >= 0) & (label < classes), weights, jnp.nan)
        require_shape("a label of weights", label.shape, (classes,))
        return label.astype(dtype) * math.sqrt(classes)

    def _keys(self, key: PRNGKeyArray | None) -> Iterator[PRNGKeyArray | None]:
        """A key for each block, or none for any."""
        lists = [*self.encoder, self.downs, self.middle, *self.decoder, self.ups]
        count = sum(len(blocks) for blocks in lists)
        return iter([None] * count if key is None else jax.random.split(key, count))


class Block(nnx.Module):
    """Residual block with the embedding's modulation, and attention where there are heads for it (Fig. 21)."""

    def __init__(
        self,
        width: int,
        out: int,
        config: EDM2Config,
        side: Literal["encoder", "decoder"] = "decoder",
        resample: Literal["keep", "halve", "double"] = "keep",
        attention: bool = False,
        *,
        rngs: nnx.Rngs,
    ):
        self.config, self.side, self.resample = config, side, resample
        self.num_heads = out // config.channels_per_head if attention else 0
        require(
            self.num_heads == 0 or out % self.num_heads == 0,
            f"{out} channels cannot be divided among {self.num_heads} heads: change channels_per_head.",
        )
        self.conv1 = MPConv(out if side == "encoder" else width, out, rngs=rngs)
        self.embedding = MPLinear(config.embedding_size, out, rngs=rngs)
        self.embedding_gain = nnx.Param(jnp.zeros(()))
        self.conv2 = MPConv(out, out, rngs=rngs)
        self.skip = MPLinear(width, out, rngs=rngs) if width != out else None
        self.qkv = MPLinear(out, 3 * out, rngs=rngs) if self.num_heads else None
        self.projection = MPLinear(out, out, rngs=rngs) if self.num_heads else None

    def __call__(
        self, x: Float[Array, "h w c"], embedding: Float[Array, " size"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "h2 w2 out"]:
        """The next activations, at most `clip_act` in size."""
        config = self.config
        if self.resample != "keep":
            x = (halve if self.resample == "halve" else double)(x, config.resample_filter)
        if self.side == "encoder":
            x = normalize(x if self.skip is None else self.skip(x), (2,))
        y = self._residual(x, embedding, key)
        if self.side == "decoder" and self.skip is not None:
            x = self.skip(x)
        x = mp_sum(x, y, config.res_balance)
        if self.qkv is not None and self.projection is not None:
            x = mp_sum(x, self.projection(attend(self.qkv(x), self.num_heads)), config.attn_balance)
        return x if config.clip_act is None else jnp.clip(x, -config.clip_act, config.clip_act)

    def _residual(self, x: Array, embedding: Array, key: PRNGKeyArray | None) -> Array:
        modulation = self.embedding(embedding, self.embedding_gain[...]) + 1
        y = mp_silu(self.conv1(mp_silu(x)) * modulation.astype(x.dtype))
        if key is not None and self.config.dropout:
            keep = 1 - self.config.dropout
            y = jnp.where(jax.random.bernoulli(key, keep, y.shape), y / keep, 0)
        return self.conv2(y)


def normalized_weights(network: nnx.Module) -> nnx.Module:
    """The network with every weight at unit magnitude per output: forced weight normalisation, Eq. (66).

    * `network`: an `EDM2`.

    A training loop calls it after each step. The network stays the same function, up to the normalisation's 1e-4.

    >>> field = sj.convert.load_network(sj.convert.shipped("edm2-fashion-guide"))
    >>> network = sj.networks.normalized_weights(field.network)
    >>> kernel = network.noise.kernel[...]
    >>> print(f"{jnp.mean(jnp.sum(kernel**2, axis=0)) / kernel.shape[0]:.2f}")
    1.00
    """
    return jax.tree.map(
        lambda leaf: (
            leaf.replace(normalize(leaf[...], tuple(range(leaf[...].ndim - 1)))) if isinstance(leaf, MPWeight) else leaf
        ),
        network,
        is_leaf=lambda leaf: isinstance(leaf, MPWeight),
    )
