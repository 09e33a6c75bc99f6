r"""Jacobians of configurations with channels, as maps of plain lattices.

With E the embedding of a lattice in one channel, or in all $c$ of them equally and divided by $\sqrt c$, the reduced
Jacobian is $E^TJE$; a block keeps all $c \times c$ of them, the channel of the response before that of the cause.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require, require_channel
from softjax._types import Array, Channel, Configuration
from softjax.jacobian._linearise import Drift
from softjax.observables import luminance


@public
def channel_drift(
    f: Drift, x: Configuration, channel: int | Literal["luminance"] = "luminance"
) -> tuple[Drift, Configuration]:
    """A drift of one channel, others held fixed, and the channel of `x`: a pair (g, y) with y of shape (*lattice).

    * `f`: maps (*lattice, channels) to itself;
    * `x`: (*lattice, channels), the state;
    * `channel`: a number, or "luminance" (three channels, Rec. 709).

    For a channel number, g(y) is that channel of f where the channel of `x` is y. For `"luminance"` (three channels,
    Rec. 709) g(y) is the luminance of f where the state's luminance is y and its colour differences are those of `x`.
    `mode_response(*channel_drift(f, x), modes)` and the like follow. Raises `ValueError` for a channel that does not
    exist.

    >>> g, y = sj.channel_drift(lambda x: -(x**2), jnp.ones((4, 4, 3)), channel=1)
    >>> print(y.shape, np.asarray(sj.mode_response(g, y, sj.fourier_modes((4, 4), 1)).rayleigh).round(3))
    (4, 4) [-2. -2.]
    """
    require(x.ndim >= 2, f"x must have shape (*lattice, channels), got {x.shape}.")
    if isinstance(channel, str):
        grey = luminance(x)
        return lambda y: luminance(f(x + (y - grey)[..., jnp.newaxis])), grey
    count = x.shape[-1]
    require(0 <= channel < count, f"channel must lie between 0 and {count - 1}, or be 'luminance'; got {channel}.")
    return lambda y: f(x.at[..., channel].set(y))[..., channel], x[..., channel]


def on_lattice(jacobian: Drift, channels: int | None, channel: Channel) -> Callable[[Array], Array]:
    """The Jacobian as a map from a lattice to (*lattice), or for a block to (*lattice, channels, channels)."""
    require_channel(channel, channels)
    if not channels:
        return jacobian
    if channel == "equal":
        unit = float(np.sqrt(channels))
        return lambda z: jnp.sum(jacobian(jnp.stack([z / unit] * channels, axis=-1)), axis=-1) / unit
    if channel != "block":
        return lambda z: jacobian(z[..., None] * _one_hot(channel, channels, z))[..., channel]

    def block(z: Array) -> Array:
        causes = jax.vmap(lambda b: jacobian(z[..., None] * _one_hot(b, channels, z)))(jnp.arange(channels))
        return jnp.moveaxis(causes, 0, -1)

    return block


def _one_hot(channel: int | Array, channels: int, like: Array) -> Array:
    return (jnp.arange(channels) == channel).astype(like.dtype)
