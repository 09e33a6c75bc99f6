r"""Plane-averaged correlations: the correlation length $\xi$ of an ensemble, free of prefactors.

Summed over the other axes (at zero transverse momentum), the correlation along one axis is a sum of exponentials, in
any number of dimensions; far enough apart the slowest is left, on a periodic lattice
$G(r) \propto \cosh((L/2 - r)/\xi)$, whose inverse length is the effective mass.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import lattice_of, public, require
from softjax._repr import readable, with_error
from softjax._types import Array, Configuration, Float
from softjax.observables._correlation import _subtract_mean


@public
def plane_correlation(
    x: Configuration, axis: int | None = None, connected: bool = False, channels: int | None = None
) -> Float[Array, " side"]:
    r"""Zero-momentum correlator $G(r) = \sum_{r_\perp} C(r, r_\perp)$ of one configuration along an axis, (side,).

    * `x`: (*lattice), or (*lattice, channels), of which the mean over channels is returned, in squared units of `x`;
    * `axis`: the axis along which r runs, from 0; None for the mean over all, which must have equal sides;
    * `connected`: whether the mean of `x`, of each channel, is subtracted first: not for fields of ensemble mean zero,
      whose G it lowers by a constant;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    Raises `ValueError` for an axis that is not there, unequal sides, a shape that may be a lattice or have channels.

    >>> stripes = jnp.ones((4, 4)) * jnp.asarray([1.0, -1.0, 1.0, -1.0])
    >>> print(sj.plane_correlation(stripes, axis=1), sj.plane_correlation(stripes, axis=0))
    [ 4. -4.  4. -4.] [0. 0. 0. 0.]
    """
    ndim = len(lattice_of("x", x.shape, channels))
    if channels:
        return jnp.mean(jax.vmap(lambda y: plane_correlation(y, axis, connected, channels=0), -1)(x), axis=0)
    x = x.reshape(x.shape[:ndim])
    if axis is None:
        require(len(set(x.shape)) == 1, f"a mean over axes needs equal sides, got {x.shape}; say axis.")
        return jnp.mean(jnp.stack([_along(x, each, connected) for each in range(ndim)]), axis=0)
    require(axis < ndim, f"axis must be one of the lattice's {ndim}, from 0; got {axis}.")
    return _along(x, axis, connected)


def _along(x: Array, axis: int, connected: bool) -> Array:
    side = x.shape[axis]
    centred = _subtract_mean(x) if connected else x
    planes = jnp.sum(jnp.moveaxis(centred, axis, 0).reshape(side, -1), axis=1)
    return jnp.fft.irfft(jnp.abs(jnp.fft.rfft(planes)) ** 2, n=side) / x.size


class PlaneLength(eqx.Module):
    r"""Correlation length of an ensemble from its plane-averaged correlations.

    * `length`, `standard_error`: $\xi$ in sites and its jackknife error over samples; NaN without masses in the window;
    * `effective_mass`, `mass_error`: (side // 2,), in 1/sites, from $G(r)/G(r + 1)$ at r = 0, 1, ...; NaN where G does
      not fall. Within the window they should be level: a fall at its start is of other exponentials.

    >>> r = np.minimum(np.arange(16), 16 - np.arange(16))
    >>> correlations = np.cosh((8 - r) / 4.0) * np.asarray([[1.0], [1.1]])
    >>> found = sj.plane_correlation_length(correlations, window=(1, 5))
    >>> print(f"{found.length:.3f} {found.effective_mass[1]:.3f}")
    4.000 0.250
    """

    length: Float[Array, ""]
    standard_error: Float[Array, ""]
    effective_mass: Float[Array, " distances"]
    mass_error: Float[Array, " distances"]

    @readable
    def __repr__(self) -> list[str]:
        return [f"{with_error(self.length, self.standard_error)} sites"]


@public
def plane_correlation_length(correlations: Float[Array, "samples side"], window: tuple[int, int]) -> PlaneLength:
    r"""Correlation length $\xi$ of an ensemble in equilibrium, in sites, by a plateau of the effective mass.

    * `correlations`: (samples, side), `plane_correlation` of independent configurations;
    * `window`: first and last distance r1 and r2 of G in the fit, 0 <= r1 < r2 <= side / 2. A good one goes from half
      the length to three lengths.

    The masses between r1 and r2 solve $G(r)/G(r+1) = \cosh((L/2-r)m)/\cosh((L/2-r-1)m)$; the plateau is their mean with
    the weights of their jackknife errors, the length its inverse. Raises `ValueError` for fewer than two samples and a
    window that does not fit.

    >>> r = np.minimum(np.arange(16), 16 - np.arange(16))
    >>> correlations = np.cosh((8 - r) / 3.0) * np.asarray([[1.0], [1.1]])
    >>> print(f"{sj.plane_correlation_length(correlations, window=(1, 5)).length:.3f}")
    3.000
    """
    samples, side = correlations.shape
    first, last = window
    require(samples >= 2, f"a standard error needs at least two samples, got {samples}.")
    require(
        0 <= first < last <= side // 2,
        f"window must hold two distances from 0 to half the side, {side // 2}, in order; got {window}.",
    )
    return _plateau(correlations, int(first), int(last))


@partial(jax.jit, static_argnums=(1, 2))
def _plateau(correlations: Array, first: int, last: int) -> PlaneLength:
    samples = correlations.shape[0]
    total = jnp.sum(correlations, axis=0)
    mass, left_out = (_masses(g) for g in (total / samples, (total - correlations) / (samples - 1)))
    error = jnp.sqrt((samples - 1) * jnp.var(left_out, axis=0))
    weights = jnp.where(jnp.isfinite(error) & (error > 0), error, jnp.inf)[first:last] ** -2
    weights = jnp.where(jnp.any(weights > 0), weights, jnp.isfinite(mass[first:last]).astype(mass.dtype))

    def length(masses: Array) -> Array:
        kept = jnp.where(weights > 0, masses[..., first:last], 0)
        return jnp.sum(weights) / jnp.sum(weights * kept, axis=-1)

    spread = jnp.sqrt((samples - 1) * jnp.var(length(left_out)))
    return PlaneLength(length(mass), spread, mass, error)


def _masses(correlation: Array) -> Array:
    """Effective masses (..., side // 2) of correlators (..., side), by bisection: the ratio grows with the mass."""
    side = correlation.shape[-1]
    half = side / 2 - jnp.arange(side // 2, dtype=correlation.dtype)
    here, there = correlation[..., : side // 2], correlation[..., 1 : side // 2 + 1]
    falls = (there > 0) & (here > there)
    target = jnp.log(jnp.where(falls, here, 2)) - jnp.log(jnp.where(falls, there, 1))

    def log_cosh(y: Array) -> Array:
        return jnp.logaddexp(y, -y)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        low = log_cosh(half * middle) - log_cosh((half - 1) * middle) < target
        return jnp.where(low, middle, ends[0]), jnp.where(low, ends[1], middle)

    ends = jnp.zeros_like(target), target + jnp.log(jnp.asarray(2, target.dtype))
    return jnp.where(falls, jax.lax.fori_loop(0, 60, halve, ends)[0], jnp.nan)
