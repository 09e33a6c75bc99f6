"""Array types shared by all layers. A configuration is one lattice of sites; batches are `jax.vmap`."""

from typing import Literal

from jaxtyping import Array, ArrayLike, Complex, Float, Int, PRNGKeyArray

Time = Float[Array, ""] | float | int
"""Diffusion time of a VP process (dimensionless), or the noise level sigma of an EDM process."""

Times = Float[Array, " times"]
"""A grid of decreasing times."""

Configuration = Float[Array, "..."]
"""One configuration, shape (*lattice), or (*lattice, channels) where the channels are said."""

Channel = int | Literal["equal", "block"]
"""Directions of a probe in a configuration with channels: equal in all of them, in one, or in each (a block)."""

__all__ = [
    "Array",
    "ArrayLike",
    "Channel",
    "Complex",
    "Configuration",
    "Float",
    "Int",
    "PRNGKeyArray",
    "Time",
    "Times",
]
