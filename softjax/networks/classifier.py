"""A small convolutional classifier of images, to judge what a diffusion model has drawn."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from softjax._checks import require, require_shape
from softjax._types import Array, Configuration, Float
from softjax.networks._bounds import MAX_CLASSES, MAX_SIZE, normalise_counts
from softjax.networks.unet import GROUP_SIZE, GroupNorm


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that fixes the architecture.

    >>> from flax import nnx
    >>> config = sj.networks.ClassifierConfig(num_classes=2, side=8, widths=(8,))
    >>> sj.networks.Classifier(config, rngs=nnx.Rngs(0))(jnp.zeros((8, 8))).shape
    (2,)
    """

    num_classes: int = 10
    """Classes that images are told apart by."""
    side: int = 28
    """Side of the images (pixels)."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of each resolution, multiples of 8, finest first; each further one halves both sides."""

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        normalise_counts(self, {"num_classes": MAX_CLASSES, "side": MAX_SIZE, "widths": MAX_SIZE})
        require(self.side >= 1, f"side must be at least 1, got {self.side}.")
        groups = all(width >= GROUP_SIZE and width % GROUP_SIZE == 0 for width in self.widths)
        require(groups, f"widths must be multiples of {GROUP_SIZE}, got {self.widths}.")


class Classifier(nnx.Module):
    """`network(x)`: logits (num_classes,) of one image (side, side) with values in [-1, 1].

    * `config`: the architecture, by default `ClassifierConfig()`;
    * `rngs`: `flax.nnx.Rngs`, for the initial weights.

    >>> network = sj.convert.load_module(sj.convert.shipped("classifier-binary"))
    >>> network(-jnp.ones((28, 28))).shape
    (10,)
    """

    def __init__(self, config: ClassifierConfig | None = None, *, rngs: nnx.Rngs):
        self.config = config = config or ClassifierConfig()
        require(config.num_classes >= 2, f"num_classes must be at least 2, got {config.num_classes}.")
        dtype = jnp.result_type(float)
        convolutions, norms, width = [], [], 1
        for out in config.widths:
            for stride in (1, 2):
                options = {"strides": stride, "param_dtype": dtype, "rngs": rngs}
                convolutions.append(nnx.Conv(width, out, (3, 3), padding=((1, 1), (1, 1)), **options))
                norms.append(GroupNorm(out))
                width = out
        self.convolutions, self.norms = nnx.List(convolutions), nnx.List(norms)
        coarsest = -(-config.side // 2 ** len(config.widths))
        self.output = nnx.Linear(coarsest**2 * width, config.num_classes, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: Configuration) -> Float[Array, " classes"]:
        """Logits of one image (side, side); raises `ValueError` for other shapes.

        * `x`: one image, (side, side), from -1 to 1.
        """
        require_shape("x", x.shape, (self.config.side,) * 2)
        h = x[..., None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = jax.nn.relu(norm(convolution(h)))
        return self.output(h.ravel())
