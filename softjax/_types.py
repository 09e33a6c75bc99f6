"""Array types shared by all layers. A configuration is one lattice of sites; batches are `jax.vmap`."""

from jaxtyping import Array, ArrayLike, Complex, Float, Int, PRNGKeyArray

Time = Float[Array, ""] | float | int
"""Diffusion time of a VP process (dimensionless), or the noise level sigma of an EDM process."""

Times = Float[Array, " times"]
"""A grid of decreasing times."""

Configuration = Float[Array, "..."]
"""One configuration, shape (*lattice)."""

__all__ = [
    "Array",
    "ArrayLike",
    "Complex",
    "Configuration",
    "Float",
    "Int",
    "PRNGKeyArray",
    "Time",
    "Times",
]
