r"""Correlation function and correlation lengths (theory.md section 6; Eqs. 43-45, App. E.3)."""

from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import lattice_of, public, require
from softjax._types import Array, Configuration, Float, PRNGKeyArray
from softjax.spectral import extended, radial_average

Estimator = Literal["first_moment", "second_moment", "exponential_fit"]


@public
def correlation_function(x: Configuration, connected: bool = False, channels: int | None = None) -> Configuration:
    r"""Autocorrelation $C(r) = \frac1N\sum_i x_i x_{i+r}$ by FFT, Eq. (44), shape (*lattice), zero displacement first.

    * `x`: (*lattice), or (*lattice, channels), of which the mean over channels is returned, in squared units of `x`;
    * `connected`: whether the mean of `x`, of each channel, is subtracted first;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    Raises `ValueError` for a shape that may be a lattice or have channels.

    >>> print(np.asarray(sj.correlation_function([1.0, 1.0, -1.0, -1.0])).round(3))
    [ 1.  0. -1.  0.]
    """
    lattice_of("x", x.shape, channels)
    if channels:
        return jnp.mean(jax.vmap(lambda y: _autocorrelation(y, connected), -1)(x), axis=0)
    return _autocorrelation(x, connected)


def _autocorrelation(x: Configuration, connected: bool) -> Configuration:
    centred = _subtract_mean(x) if connected else x
    power = jnp.abs(jnp.fft.rfftn(centred)) ** 2
    return jnp.fft.irfftn(power, s=x.shape, axes=range(x.ndim)) / x.size


@public
def correlation_length(
    x: Configuration,
    estimator: Estimator = "first_moment",
    connected: bool | None = None,
    channels: int | None = None,
) -> Float[Array, ""]:
    r"""Correlation length of one configuration, in sites, from its radially averaged correlation $C(r)$.

    * `x`: (*lattice), or (*lattice, channels) with `channels` said: then C is the mean of the channels' correlations,
      $x_i\cdot x_{i+r}$;
    * `estimator`: one of those below;
    * `connected`: whether the mean is subtracted first, by default as the estimator has it;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    With $C_+ = \max(C, 0)$ and integer distances r up to half the lattice side:

    * `"first_moment"`: $\sum_r r\,C_+ / \sum_r C_+$ of the full correlation, Eq. (45). The paper takes it of the
      binarised field: `correlation_length(binarize(x))`.
    * `"second_moment"`: $\sqrt{\sum_r r^2 C_+ / \sum_r C_+}$ of the connected correlation, for continuous
      fields (App. E.3), the paper's colour images by way of their `luminance`.
    * `"exponential_fit"`: minus the inverse slope of $\log C(r)$ of the connected correlation, by least squares
      weighted with $C^2$ over the distances before C first falls below a tenth of C(0). A length to compare curves by,
      no estimator of $\xi$: in two dimensions C falls as $r^{-1/2}e^{-r/\xi}$ and faster nearby, so that of the Ising
      model it makes 1.64, 2.27 and 3.94 sites of 3.93, 5.96 and 11.91. `plane_correlation_length` estimates $\xi$.

    Both moments are positive for white noise too, by the noise of C at large r, of which only the positive part is
    kept, and grow with the lattice: `noise_floor`. A constant field has connected length 0.

    Raises `ValueError` for a shape that may be a lattice or have channels, as (16, 16, 3).

    >>> spins = jnp.sign(jnp.arange(64.0) - 31.5).reshape(8, 8)
    >>> print(f"{sj.correlation_length(spins):.3f}")
    0.732
    >>> print(f"{sj.correlation_length(spins, 'second_moment'):.3f}")
    1.117
    """
    connected = estimator != "first_moment" if connected is None else connected
    profile = radial_average(correlation_function(x, connected, channels), channels=0)
    r = jnp.arange(profile.shape[0], dtype=profile.dtype)
    if estimator == "exponential_fit":
        return _exponential_fit(r, profile)
    positive = jnp.maximum(profile, 0)
    power = 1 if estimator == "first_moment" else 2
    return _ratio(jnp.sum(r**power * positive), jnp.sum(positive)) ** (1 / power)


@public
def noise_floor(
    x: Configuration,
    estimator: Estimator = "first_moment",
    connected: bool | None = None,
    channels: int | None = None,
    *,
    key: PRNGKeyArray,
    num: int = 64,
) -> tuple[Array, Array]:
    r"""What `correlation_length` is without correlations: mean over shuffles of `x` and its standard error, in sites.

    * `x`: (*lattice), or (*lattice, channels): its sites are permuted, so that values and magnetisation stay;
    * `estimator`, `connected`, `channels`: as for `correlation_length`;
    * `key`, `num`: which permutations, and how many.

    The floor of the first moment grows about as the square root of the side: of spins that add up to 0 on L x L sites
    it is 0.15, 0.22, 0.36, 0.52 and 0.78 sites for L = 16, 28, 64, 128 and 256. A magnetisation adds its square to
    every C: with spins of coin tosses it is 0.22, 0.28, 0.42, 0.59 and 0.83 (errors below 0.007).

    Raises `ValueError` for fewer than two shuffles, and as `correlation_length` does.

    >>> spins = jnp.sign(jnp.arange(64.0) - 31.5).reshape(8, 8)
    >>> floor, standard_error = sj.noise_floor(spins, key=jr.key(0), num=8)
    >>> bool(floor + 4 * standard_error < sj.correlation_length(spins))
    True
    """
    require(num >= 2, f"a standard error needs at least two shuffles, got num = {num}.")
    lattice = lattice_of("x", x.shape, channels)
    sites = x.reshape(np.prod(lattice, dtype=int), *x.shape[len(lattice) :])

    def length(key: PRNGKeyArray) -> Array:
        shuffled = jr.permutation(key, sites).reshape(x.shape)
        return correlation_length(shuffled, estimator, connected, channels)

    lengths = jax.lax.map(length, jr.split(key, num))
    return jnp.mean(lengths), jnp.std(lengths, ddof=1) / num**0.5


@public
def second_moment_length(
    structure_factors: Float[Array, "samples ..."], channels: int | None = None
) -> tuple[Array, Array]:
    r"""Second-moment length of an ensemble, in sites, with its jackknife standard error.

    $\xi = \sqrt{S(0)/S(k_1) - 1}\,/\,2\sin(k_1/2)$, where $k_1$ is the smallest wavevector along each axis: the lattice
    standard, exact for a free field $1/(r + \kappa\hat k^2)$ at every size.

    * `structure_factors`: (samples, *lattice), zero wavevector first, of fields whose ensemble mean is zero; or
      (samples, *lattice, channels), of which the mean over channels is taken;
    * `channels`: how many channels the last axis holds, 0 for none; to be said where the shape does not.

    Raises `ValueError` for fewer than two samples, and for a shape that may be a lattice or have channels.

    >>> spectrum = sj.spectral.free_field_spectrum((16, 16), mass=0.25, stiffness=1.0)
    >>> length, standard_error = sj.second_moment_length(jnp.stack([spectrum, spectrum]))
    >>> print(f"{length:.3f}")
    2.000
    """
    require(
        structure_factors.ndim >= 2,
        f"structure_factors must have shape (samples, *lattice), got {np.shape(structure_factors)}.",
    )
    samples, shape = structure_factors.shape[0], structure_factors.shape[1:]
    shape = extended(lattice_of("each structure factor", shape, channels))
    structure_factors = jnp.mean(structure_factors, axis=-1) if channels else structure_factors
    require(samples >= 2, f"a standard error needs at least two samples, got {samples}.")
    require(max(shape) > 1, "a length needs a lattice with more than one site.")
    structure_factors = structure_factors.reshape(samples, *shape)
    ndim = len(shape)
    first = tuple(np.eye(ndim, dtype=int))  # index of k_1 along each axis
    s_zero = structure_factors[(slice(None), *(0,) * ndim)]
    s_first = structure_factors[(slice(None), *first)]
    k_hat_squared = jnp.asarray(4 * np.sin(np.pi / np.asarray(shape)) ** 2, s_first.dtype)

    def length(zero: Array, ones: Array) -> Array:
        excess = jnp.mean((zero / ones - 1) / k_hat_squared)
        return jnp.sqrt(jnp.maximum(excess, 0))

    value = length(jnp.mean(s_zero), jnp.mean(s_first, axis=0))
    left_out = [(jnp.sum(s, axis=0) - s) / (samples - 1) for s in (s_zero, s_first)]
    replicas = jnp.stack([length(z, o) for z, o in zip(*left_out, strict=True)])
    return value, jnp.sqrt((samples - 1) * jnp.var(replicas))


def _subtract_mean(x: Array) -> Array:
    """X - mean(x); the mean is taken of x relative to its first site, so that a constant field gives exactly 0."""
    relative = x - x.ravel()[0]
    return relative - jnp.mean(relative)


def _exponential_fit(r: Array, profile: Array) -> Array:
    inside = jnp.cumprod(jnp.where(profile > 0.1 * profile[0], 1.0, 0.0)).astype(profile.dtype)
    weight = inside * profile**2
    log_c = jnp.log(jnp.where(inside > 0, profile, 1))
    total = jnp.sum(weight)
    r_mean, c_mean = _ratio(jnp.sum(weight * r), total), _ratio(jnp.sum(weight * log_c), total)
    spread = jnp.sum(weight * (r - r_mean) ** 2)
    return _ratio(spread, -jnp.sum(weight * (r - r_mean) * (log_c - c_mean)))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """The ratio, and 0 where the denominator vanishes."""
    safe = jnp.where(denominator == 0, 1, denominator)
    return jnp.where(denominator == 0, 0, numerator / safe)
