"""Drifts of one channel of a colour configuration, for functions that act on plain lattices."""

from typing import Literal

import jax.numpy as jnp

from softjax._checks import public, require
from softjax._types import Configuration
from softjax.jacobian._linearise import Drift
from softjax.observables import luminance


@public
def channel_drift(
    f: Drift, x: Configuration, channel: int | Literal["luminance"] = "luminance"
) -> tuple[Drift, Configuration]:
    """A drift of one channel, others held fixed, and the channel of `x`: a pair (g, y) with y of shape (*lattice).

    `f` maps (*lattice, channels) to itself. For a channel number, g(y) is that channel of f where the channel of `x`
    is y. For `"luminance"` (three channels, Rec. 709) g(y) is the luminance of f where the state's luminance is y
    and its colour differences are those of `x`. `mode_response(*channel_drift(f, x), modes)` and the like follow.
    Raises `ValueError` for a channel that does not exist.
    """
    require(x.ndim >= 2, f"x must have shape (*lattice, channels), got {x.shape}.")
    if isinstance(channel, str):
        grey = luminance(x)
        return lambda y: luminance(f(x + (y - grey)[..., jnp.newaxis])), grey
    count = x.shape[-1]
    require(0 <= channel < count, f"channel must lie between 0 and {count - 1}, or be 'luminance'; got {channel}.")
    return lambda y: f(x.at[..., channel].set(y))[..., channel], x[..., channel]
