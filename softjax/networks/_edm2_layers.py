r"""Magnitude-preserving layers of EDM2 (Karras et al. 2024, arXiv 2312.02696; equation numbers are that paper's).

Each keeps activations at unit root-mean-square magnitude: weights are normalised whenever they are used, sums and
concatenations are renormalised, and there are no biases. Everything is computed in the precision of the activations,
except that means of squares, softmax and weight norms take at least single precision.
"""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from softjax._types import Array, Float

EPS = 1e-4  # added to every magnitude that is divided by
_SMALLEST_SQUARE = 1e-36  # below it the square root has no finite derivative


class MPWeight(nnx.Param):
    """A kernel (..., inputs, outputs) that is used at unit magnitude per output."""


class MPLinear(nnx.Module):
    """Linear layer of the last axis, Eq. (47): of pixels, a 1 x 1 convolution."""

    def __init__(self, width: int, out: int, *, rngs: nnx.Rngs):
        self.kernel = _random_weight((width, out), rngs)

    def __call__(self, x: Float[Array, "*sites c"], gain: Array | float = 1.0) -> Float[Array, "*sites out"]:
        """Its outputs, times `gain`."""
        return x @ effective_kernel(self.kernel[...], gain, x.dtype)


class MPConv(nnx.Module):
    """3 x 3 convolution with a border of zeros, Eq. (47)."""

    def __init__(self, width: int, out: int, *, rngs: nnx.Rngs):
        self.kernel = _random_weight((3, 3, width, out), rngs)

    def __call__(self, x: Float[Array, "h w c"], gain: Array | float = 1.0) -> Float[Array, "h w out"]:
        """Its outputs, times `gain`."""
        kernel = effective_kernel(self.kernel[...], gain, x.dtype)
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=layout)[0]


class MPFourier(nnx.Module):
    """Random Fourier features of one number, Eq. (75). Frequencies and phases are drawn once and never trained."""

    def __init__(self, size: int, *, rngs: nnx.Rngs):
        dtype = jnp.result_type(float)
        self.frequencies = nnx.Variable(2 * math.pi * jax.random.normal(rngs.params(), (size,), dtype))
        self.phases = nnx.Variable(2 * math.pi * jax.random.uniform(rngs.params(), (size,), dtype))

    def __call__(self, x: Float[Array, ""]) -> Float[Array, " size"]:
        """Features of unit magnitude."""
        frequencies, phases = (
            jax.lax.stop_gradient(buffer[...]).astype(x.dtype) for buffer in (self.frequencies, self.phases)
        )
        return math.sqrt(2) * jnp.cos(x * frequencies + phases)


def effective_kernel(kernel: Array, gain: Array | float, dtype: jnp.dtype) -> Array:
    """The weights that are used, Eq. (47): unit magnitude per output, times gain / sqrt(inputs per output)."""
    axes = tuple(range(kernel.ndim - 1))
    fan_in = math.prod(kernel.shape[:-1])
    return (kernel * (gain / (EPS + magnitude(kernel, axes)) / math.sqrt(fan_in))).astype(dtype)


def magnitude(x: Array, axes: tuple[int, ...]) -> Array:
    """Root mean square over some axes, which are kept; at least in single precision."""
    mean_square = jnp.mean(jnp.square(_at_least_single(x)), axis=axes, keepdims=True)
    return jnp.sqrt(jnp.maximum(mean_square, _SMALLEST_SQUARE))


def normalize(x: Array, axes: tuple[int, ...]) -> Array:
    """Unit magnitude over some axes."""
    return (_at_least_single(x) / (EPS + magnitude(x, axes))).astype(x.dtype)


def mp_silu(x: Array) -> Array:
    """SiLU, Eq. (81)."""
    return jax.nn.silu(x) / 0.596


def mp_sum(a: Array, b: Array, t: float) -> Array:
    """Interpolation from a to b, Eq. (88)."""
    return ((1 - t) * a + t * b) / math.hypot(1 - t, t)


def mp_concat(a: Array, b: Array, t: float) -> Array:
    """Channels of a and of b, the share of each independent of their numbers, Eq. (103)."""
    num_a, num_b = a.shape[-1], b.shape[-1]
    scale = math.sqrt(num_a + num_b) / math.hypot(1 - t, t)
    return jnp.concatenate([a * (scale * (1 - t) / math.sqrt(num_a)), b * (scale * t / math.sqrt(num_b))], axis=-1)


def attend(qkv: Float[Array, "h w c3"], num_heads: int) -> Float[Array, "h w c"]:
    """Self-attention of the pixels, with cosine similarities; channels are ordered (head, channel, query-key-value).

    Written as products and a softmax, which forward-mode differentiation passes through; PyTorch's fused attentions
    have no forward-mode derivative.
    """
    h, w, c3 = qkv.shape
    q, k, v = jnp.unstack(normalize(qkv.reshape(h * w, num_heads, -1, 3), (2,)), axis=-1)
    logits = jnp.einsum("qhc,khc->hqk", q, k / math.sqrt(q.shape[-1]))
    weights = jax.nn.softmax(_at_least_single(logits)).astype(qkv.dtype)
    return jnp.einsum("hqk,khc->qhc", weights, v).reshape(h, w, c3 // 3)


def halve(x: Float[Array, "h w c"], taps: tuple[float, ...]) -> Float[Array, "h2 w2 c"]:
    """Every other pixel of x, filtered along both sides by `taps` at sum one; an even number of them."""
    pad = len(taps) // 2 - 1
    for axis in (0, 1):
        padded, size = _pad(x, axis, pad), x.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, k, k + size - 1, 2, axis) for k in range(len(taps))]
        x = _weighted_sum(parts, [tap / sum(taps) for tap in taps])
    return x


def double(x: Float[Array, "h w c"], taps: tuple[float, ...]) -> Float[Array, "h2 w2 c"]:
    """The transpose of `halve` times 4, which keeps the mean; [1, 1] repeats every pixel."""
    pad, margin = len(taps) // 2 - 1, len(taps) // 2
    for axis in (0, 1):
        padded, size = _pad(x, axis, margin), x.shape[axis]
        phases = []
        for phase in (0, 1):
            used = range((pad + phase) % 2, len(taps), 2)
            starts = [margin + (pad + phase - k) // 2 for k in used]
            parts = [jax.lax.slice_in_dim(padded, start, start + size, 1, axis) for start in starts]
            phases.append(_weighted_sum(parts, [2 * taps[k] / sum(taps) for k in used]))
        x = jnp.stack(phases, axis + 1).reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def _weighted_sum(parts: list[Array], weights: list[float]) -> Array:
    return functools.reduce(operator.add, (part * weight for part, weight in zip(parts, weights, strict=True)))


def _pad(x: Array, axis: int, width: int) -> Array:
    return jnp.pad(x, [(width, width) if i == axis else (0, 0) for i in range(x.ndim)])


def _random_weight(shape: tuple[int, ...], rngs: nnx.Rngs) -> MPWeight:
    return MPWeight(jax.random.normal(rngs.params(), shape, jnp.result_type(float)))


def _at_least_single(x: Array) -> Array:
    return x.astype(jnp.float32) if np.dtype(x.dtype).itemsize < 4 else x
