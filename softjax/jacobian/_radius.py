r"""How far a Jacobian reaches: its rms displacement, from commutators with the position (theory.md section 5)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import lattice_of, public, require
from softjax._repr import readable, with_error
from softjax._types import Array, Channel, Configuration, Float, PRNGKeyArray
from softjax.jacobian._channels import on_lattice
from softjax.jacobian._linearise import Drift, as_precise, linearise


class EffectiveRadius(NamedTuple):
    """How far a Jacobian reaches, in sites.

    * `radius`: (), rms distance between the sites that it connects;
    * `standard_error`: (), of the radius, from the scatter of the probes.

    >>> found = sj.effective_radius(jnp.tanh, jnp.zeros((8, 8)), key=jr.key(0))
    >>> print(f"{found.radius:.3f} {found.standard_error:.3f}")  # it acts site by site
    0.000 0.000
    """

    radius: Float[Array, ""]
    standard_error: Float[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        return [f"{with_error(self.radius, self.standard_error)} sites"]


@public
def effective_radius(
    f: Drift,
    x: Configuration,
    *,
    key: PRNGKeyArray,
    num_probes: int = 16,
    boundary: Literal["open", "periodic"] = "open",
    batch_size: int = 16,
    channels: int | None = None,
    channel: Channel = "equal",
) -> EffectiveRadius:
    r"""Rms distance $R$ between the sites that the Jacobian of `f` at `x` connects, and its standard error, in sites.

    * `f`: a map of configurations that keeps their shape;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `key`: probe i depends on the key and i only;
    * `num_probes`: how many, at least 2;
    * `boundary`: "open", or "periodic";
    * `batch_size`: probes at a time, which bounds the memory;
    * `channels`: how many channels the last axis of `x` holds, 0 for none; to be said where the shape does not;
    * `channel`: "equal", the Jacobian of what is equal in all channels; a number, that of one channel; "block", the
      whole one, whose sums run over all pairs of channels.

    $R^2 = \sum_{ij} J_{ij}^2\,|r_i - r_j|^2 / \sum_{ij} J_{ij}^2 = \sum_a\|[r_a, J]\|_F^2/\|J\|_F^2$: the commutators
    with the coordinates $r_a$, whose Frobenius norms random signs z estimate without bias as $\|[r_a, J]z\|^2$. One
    linearisation and, per probe, 1 + d products (1 + 2 d on periodic lattices, where the distance along an axis of L
    sites is that of the chord, $(L/\pi)\sin(\pi|r|/L)$). A Jacobian that is zero has radius and error 0.

    Not compiled here. Raises `ValueError` as `mode_response` does, for a shape that may be a lattice or have channels,
    and for fewer than two probes.

    >>> def f(x):
    ...     return jnp.roll(x, 2, axis=0)
    >>> found = sj.effective_radius(f, jnp.zeros((16, 16)), key=jr.key(0), boundary="periodic")
    >>> print(f"{found.radius:.3f} {16 / np.pi * np.sin(2 * np.pi / 16):.3f}")
    1.949 1.949
    """
    lattice = lattice_of("x", x.shape, channels)
    require(num_probes >= 2, f"num_probes must be at least 2, for a standard error; got {num_probes}.")
    require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")
    x = as_precise(f, x)
    jacobian = linearise(f, x)
    coordinates = jnp.asarray(np.stack(_coordinates(lattice, boundary)), x.dtype)
    shape = lattice
    if channels and channel == "block":
        coordinates, shape = coordinates[..., None], x.shape
    else:
        jacobian = on_lattice(jacobian, channels, channel)

    def squared_norms(index: Array) -> tuple[Array, Array]:
        z = jr.rademacher(jr.fold_in(key, index), shape, x.dtype)
        jz = jacobian(z)
        commutators = coordinates * jz - jax.vmap(jacobian)(coordinates * z)
        return jnp.sum(commutators**2), jnp.sum(jz**2)

    above, below = jax.lax.map(squared_norms, jnp.arange(num_probes), batch_size=batch_size)
    norm = jnp.where(jnp.all(above + below == 0), 1, jnp.mean(below))
    squared = jnp.mean(above) / norm
    # The ratio's error to first order: that of its residuals.
    error = _root(jnp.var((above - squared * below) / norm, ddof=1) / num_probes)
    radius = _root(squared)
    return EffectiveRadius(radius, jnp.where(radius == 0, 0, error / (2 * jnp.where(radius == 0, 1, radius))))


def _root(square: Array) -> Array:
    """Square root, with the derivative 0 at 0."""
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def _coordinates(shape: tuple[int, ...], boundary: str) -> list[np.ndarray]:
    """Coordinates whose differences between two sites have the distance as their Euclidean norm."""
    positions = np.indices(shape).astype(float)
    if boundary == "open":
        return list(positions)
    angles = [(length / (2 * np.pi), 2 * np.pi * r / length) for length, r in zip(shape, positions, strict=True)]
    return [scale * part(angle) for scale, angle in angles for part in (np.cos, np.sin)]
