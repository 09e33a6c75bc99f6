r"""Cubic resampling of images as matrices that act on one axis, and images made ready for a classifier.

The kernel is the cubic convolution: $(a+2)|d|^3 - (a+3)d^2 + 1$ for $|d| \le 1$ and $a(|d|^3 - 5d^2 + 8|d| - 4)$ up to
$|d| = 2$, d the distance of an input pixel from the sampled point.
"""

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import require
from softjax._types import Array, Configuration, Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel of ImageNet's images, on the scale of 0 to 1."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel."""


def cubic_matrix(
    size: int, out: int, *, offset: float = 0.0, sharpness: float = -0.5, antialias: bool = False
) -> np.ndarray:
    """Matrix (out, size) in double precision that resamples one axis by cubic convolution, a = `sharpness`.

    Output i samples the input at (i + 1/2) size / (out + offset) - 1/2. With `antialias` the kernel is as much wider
    as the axis shrinks and what reaches past the ends is left out, as in Pillow; without, the end pixels are repeated.
    """
    step = size / (out + offset)
    width = max(step, 1.0) if antialias else 1.0
    reach = int(np.ceil(2 * width)) + 1
    pixels = np.arange(-reach, size + reach)
    distances = np.abs(pixels + 0.5 - (np.arange(out)[:, None] + 0.5) * step) / width
    weights = _cubic(distances, sharpness)
    if antialias:
        inside = weights[:, reach:-reach]
        return inside / np.sum(inside, axis=1, keepdims=True)
    matrix = np.zeros((out, size))
    np.add.at(matrix.T, np.clip(pixels, 0, size - 1), weights.T)
    return matrix


def _cubic(distances: np.ndarray, a: float) -> np.ndarray:
    d = distances
    near, far = ((a + 2) * d - (a + 3)) * d**2 + 1, a * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def preprocess(image: np.ndarray, resize: int = 256, crop: int = 224) -> Float[Array, "crop crop 3"]:
    """An 8-bit image (h, w, 3) as DINOv2's classifiers were evaluated: the centre of the image, normalised.

    * `image`: (h, w, 3), bytes 0 to 255;
    * `resize`: the shorter side after resizing, in pixels;
    * `crop`: side of the result, in pixels.

    The shorter side is brought to `resize` pixels by Pillow's antialiased bicubic filter on 8-bit numbers, the centre
    `crop` x `crop` cut out, scaled to [0, 1] and normalised by ImageNet's mean and standard deviation. Runs in NumPy.
    Raises `ValueError` for other arrays and for a crop that is larger than the resized image.

    >>> photo = np.full((40, 30, 3), 128, np.uint8)
    >>> print(sj.networks.preprocess(photo, resize=30, crop=28).shape)
    (28, 28, 3)
    """
    require(
        image.ndim == 3 and image.shape[-1] == 3 and image.dtype == np.uint8,
        f"image must be one 8-bit image (h, w, 3), got shape {image.shape} of {image.dtype}.",
    )
    require(0 < crop <= resize, f"crop must be between 1 and resize = {resize}, got {crop}.")
    shorter = min(image.shape[:2])
    sides = [int(resize * side / shorter) for side in image.shape[:2]]
    top, left = (round((side - crop) / 2) for side in sides)
    resized = resize_image(image, (sides[0], sides[1]))
    return normalize(jnp.asarray(resized[top : top + crop, left : left + crop] / 255, float))


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An 8-bit image (h, w, c) resized as by Pillow's BICUBIC, to the bit: in fixed point, along rows first.

    Recent versions of Pillow go along columns first where proportions are extreme, which rounds differently.
    """
    for axis in (1, 0):
        weights = np.rint(2**22 * cubic_matrix(image.shape[axis], shape[axis], antialias=True)).astype(np.int64)
        resampled = np.moveaxis(np.tensordot(weights, image.astype(np.int64), (1, axis)), 0, axis)
        image = np.clip((resampled + 2**21) >> 22, 0, 255).astype(np.uint8)
    return image


def preprocess_sample(x: Configuration, shape: tuple[int, int] = (224, 224)) -> Float[Array, "h w 3"]:
    """A sample (h, w, 3) on the scale of -1 to 1, such as a diffusion model's, made ready and differentiable in `x`.

    * `x`: (h, w, 3), from -1 to 1;
    * `shape`: height and width of the result, in pixels.

    It is taken to (x + 1) / 2, resized to `shape` by the same antialiased cubic filter without rounding, and
    normalised. DINOv2 needs sides that are multiples of its patches' 14. Raises `ValueError` for other arrays.

    >>> sj.networks.preprocess_sample(jnp.zeros((8, 8, 3)), (14, 14)).shape
    (14, 14, 3)
    """
    require(x.ndim == 3 and x.shape[-1] == 3, f"x must be one image (h, w, 3), got shape {x.shape}; batch by jax.vmap.")
    sides = zip(x.shape[:2], shape, strict=True)
    rows, columns = (jnp.asarray(cubic_matrix(side, wanted, antialias=True), x.dtype) for side, wanted in sides)
    resized = jnp.einsum("ih,jw,hwc->ijc", rows, columns, (x + 1) / 2, precision=jax.lax.Precision.HIGHEST)
    return normalize(resized)


def normalize(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """An image on the scale of 0 to 1, shifted and scaled by ImageNet's mean and standard deviation per channel."""
    mean, deviation = (jnp.asarray(values, image.dtype) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / deviation
