r"""Finite-size scaling: cumulants, susceptibilities and lengths of lattices of several sizes (theory.md section 9)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import concrete, public, require
from softjax._repr import number, readable, sides, with_interval
from softjax._types import Array, Float, PRNGKeyArray
from softjax.analysis._jackknife import Jackknife, jackknifed

_REFITS = 20


class FiniteSize(eqx.Module):
    r"""What a lattice of one size says of its order; each a `Jackknife` of shape (...).

    * `binder`: $U = 1 - \langle m^4\rangle / 3\langle m^2\rangle^2$: 0 where m is Gaussian, 2/3 where $|m|$ is sharp;
    * `susceptibility`: $\chi = N\langle m^2\rangle$, in squared units of the field;
    * `connected_susceptibility`: $N(\langle m^2\rangle - \langle|m|\rangle^2)$, the same;
    * `length`: second-moment correlation length $\sqrt{S(0)/S(k_1) - 1}\,/\,2\sin(\pi/L)$, in sites;
      NaN where $S(0) < S(k_1)$, and so is the error where a block decides on that;
    * `length_ratio`: the same over L, without unit.

    >>> means = jnp.asarray([1.0, -1.0, 0.5, -0.5])
    >>> found = sj.finite_size(means, 0.1 * jnp.ones(4), side=4)
    >>> print(f"{found.binder.value:.3f} {found.susceptibility.value:.3f} {found.length_ratio.value:.3f}")
    0.547 10.000 1.759
    """

    binder: Jackknife
    susceptibility: Jackknife
    connected_susceptibility: Jackknife
    length: Jackknife
    length_ratio: Jackknife

    @readable
    def __repr__(self) -> list[str]:
        return [f"{sides(self.binder.value.shape)} states", f"U={self.binder!r}", f"xi/L={self.length_ratio!r}"]


@public
def finite_size(
    magnetisation: Float[Array, "samples ..."],
    first_mode: Float[Array, "samples ..."],
    side: int,
    ndim: int = 2,
    num_blocks: int | None = None,
) -> FiniteSize:
    r"""Binder cumulant, susceptibilities and second-moment length of a lattice of equal sides, with jackknife errors.

    * `magnetisation`: (samples, ...), mean m of each state over its sites, of a field whose ensemble mean is zero;
    * `first_mode`: (samples, ...), structure factor $S(k_1)$ of each state at the smallest wavevector $2\pi/L$, mean
      over the axes: `structure_factor(x)[0, 1]` and `[1, 0]`; in squared units of the field;
    * `side`, `ndim`: L, in sites, and the number of axes; $N = L^d$ sites;
    * `num_blocks`: as for `jackknife`, for samples that are correlated.

    Of 200 samples of a Gaussian m, two errors about the cumulant, free of its bias, cover 0 in 87% of all cases, and
    about the susceptibility its value in 94%: fourth moments need many samples. Raises `ValueError` for shapes that
    differ, a side below 2, and as `jackknife` does.

    >>> means = jnp.asarray([1.0, -1.0, 0.5, -0.5])
    >>> found = sj.finite_size(means, 0.1 * jnp.ones(4), side=4)
    >>> print(f"{found.binder.value:.3f}", bool(found.binder.standard_error > 0))
    0.547 True
    """
    require(
        magnetisation.shape == first_mode.shape and magnetisation.ndim >= 1,
        f"magnetisation and first_mode must both be (samples, ...), got {magnetisation.shape} and {first_mode.shape}.",
    )
    require(side >= 2 and ndim >= 1, f"side must be at least 2 and ndim at least 1, got {side} and {ndim}.")
    number = magnetisation.shape[0] if num_blocks is None else num_blocks
    require(
        2 <= number <= magnetisation.shape[0],
        f"num_blocks must lie between 2 and the number of samples, {magnetisation.shape[0]}, got {number}.",
    )
    made = jackknifed(Estimators(side, ndim), moments(magnetisation, first_mode), number)
    binder, susceptibility, connected, length = (
        Jackknife(*(part[place] for part in (made.value, made.standard_error, made.bias))) for place in range(4)
    )
    return FiniteSize(binder, susceptibility, connected, length, jax.tree.map(lambda leaf: leaf / side, length))


def moments(magnetisation: Array, first_mode: Array) -> Array:
    """What is averaged: m^2, m^4, |m| and S(k_1) along a last axis of 4."""
    return jnp.stack([magnetisation**2, magnetisation**4, jnp.abs(magnetisation), first_mode], axis=-1)


def binder(averages: Array) -> Array:
    """The cumulant of the averages of `moments`."""
    return 1 - averages[..., 1] / (3 * averages[..., 0] ** 2)


class Estimators(eqx.Module):
    """Cumulant, both susceptibilities and length as a function of the averages of `moments`."""

    side: int = eqx.field(static=True)
    ndim: int = eqx.field(static=True)

    def __call__(self, averages: Array) -> tuple[Array, Array, Array, Array]:
        """The four, each of shape (...)."""
        m2, _, modulus, first = (averages[..., place] for place in range(4))
        sites = self.side**self.ndim
        excess = sites * m2 / first - 1
        length = jnp.sqrt(jnp.where(excess > 0, excess, jnp.nan)) / (2 * np.sin(np.pi / self.side))
        return binder(averages), sites * m2, sites * (m2 - modulus**2), length


@public
def structure_length(
    structure_factors: Float[Array, "samples ... modes"], side: int, ndim: int = 2, num_blocks: int | None = None
) -> Jackknife:
    r"""Correlation length of lattices much larger than it, in sites, from the low modes of the structure factor.

    * `structure_factors`: (samples, ..., modes), $S(2\pi n/L)$ along an axis, mean over the axes, n = 0, 1, ...;
    * `side`, `ndim`: L, in sites, and the number of axes that the mean is over;
    * `num_blocks`: as for `jackknife`.

    A weighted fit of $1/S = (1 + \xi^2\hat k^2)/S(0)$, $\hat k = 2\sin(k/2)$, with weights $(1 + \xi^2\hat k^2)^{-2}$:
    exact for a free field, and for any scaling function $S(k\xi)$ the same multiple of its length whatever the
    lattice, as long as $\xi k$ reaches from well below to well above 1 over the modes. White noise on the sites is in S
    and shortens it. `FiniteSize.length`, of the first mode, drowns in noise where $\xi$ is far below L. NaN where the
    length is not positive. Raises `ValueError` for fewer than three modes, and as `jackknife` does.

    >>> k = 2 * np.pi * np.arange(4) / 64
    >>> free = 1 / (0.04 + 4 * np.sin(k / 2) ** 2) * np.ones((2, 1))
    >>> print(f"{sj.analysis.structure_length(free, side=64).value:.3f}")
    5.000
    """
    modes = structure_factors.shape[-1]
    require(
        structure_factors.ndim >= 2 and 3 <= modes <= side // 2 + 1,
        f"structure_factors must have from 3 to side // 2 + 1 = {side // 2 + 1} modes last, got {modes}.",
    )
    require(ndim >= 1, f"ndim must be at least 1, got {ndim}.")
    samples = structure_factors.shape[0]
    number = samples if num_blocks is None else num_blocks
    require(
        2 <= number <= samples, f"num_blocks must lie between 2 and the number of samples, {samples}, got {number}."
    )
    return jackknifed(LowModes(side, ndim), structure_factors, number)


class LowModes(eqx.Module):
    """The fit of `structure_length` as a function of averages (..., modes)."""

    side: int = eqx.field(static=True)
    ndim: int = eqx.field(static=True)

    def __call__(self, averages: Array) -> Array:
        """The length (...)."""
        modes = averages.shape[-1]
        k_squared = jnp.asarray(4 * np.sin(np.pi * np.arange(modes) / self.side) ** 2, averages.dtype)
        known = jnp.asarray([0.5, *[float(self.ndim)] * (modes - 1)], averages.dtype)  # one over relative variances

        shares = averages / jnp.mean(averages, axis=-1, keepdims=True)

        def refit(_: Any, squared: Array) -> Array:
            weight = known * shares / (1 + jnp.maximum(squared, 0)[..., None] * k_squared) ** 2
            ones, first, second = (jnp.sum(weight * shares * k_squared**power, axis=-1) for power in range(3))
            right, right_first = (jnp.sum(weight * k_squared**power, axis=-1) for power in range(2))
            return (right_first * ones - right * first) / (right * second - right_first * first)

        start = jnp.full(averages.shape[:-1], 1 / k_squared[2], averages.dtype)
        squared = jax.lax.fori_loop(0, _REFITS, refit, start)
        return jnp.sqrt(jnp.where(squared > 0, squared, jnp.nan))


class SizeCrossing(eqx.Module):
    """Where the curve of a larger lattice rises above that of a smaller one.

    * `location`: on the axis of the curves; NaN where they do not cross beyond their errors;
    * `interval`: (2,), of the location, bootstrap over samples; NaN without a location;
    * `height`, `height_interval`: the value that both curves have there;
    * `share`: share of the resamples that cross, 0 without a location: below 0.95 the interval is too narrow.

    >>> xs = np.linspace(0.0, 1.0, 11)
    >>> small, large = 0.5 + 0 * xs + np.zeros((4, 1)), xs + np.asarray([[0.01], [-0.01], [0.02], [-0.02]])
    >>> found = sj.analysis.size_crossing(xs, small, large, lambda mean: mean, key=jr.key(0))
    >>> print(f"{found.location:.2f} {found.height:.2f}", found.share)
    0.50 0.50 1.0
    """

    location: Float[Array, ""]
    interval: Float[Array, "2"]
    height: Float[Array, ""]
    height_interval: Float[Array, "2"]
    share: Float[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        if not np.isfinite(self.location):
            return ["none: the curves do not cross beyond their errors"]
        height = with_interval(self.height, self.height_interval)
        return [with_interval(self.location, self.interval), f"height={height}", f"share={number(self.share)}"]


@public
def size_crossing(
    xs: Float[Array, " points"],
    small: Float[Array, "samples points ..."],
    large: Float[Array, "others points ..."],
    function: Callable[[Array], Array],
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    significance: float = 3.0,
) -> SizeCrossing:
    """Where a dimensionless quantity of the larger lattice, smaller at first, exceeds that of the smaller lattice.

    * `xs`: (points,), strictly rising or falling: times, couplings;
    * `small`, `large`: (samples, points, ...), what is averaged on either lattice, of independent samples;
    * `function`: of the averages (points, ...) to the curve (points,);
    * `key`, `num_bootstrap`, `confidence`: of the resamples, of each lattice's samples by themselves;
    * `significance`: the difference must be so many standard errors below 0 at some point, and above 0 at a later one.

    Linear between points. Raises `ValueError` for shapes that do not fit.

    >>> xs, noise = np.linspace(0.0, 1.0, 11), np.asarray([[0.01], [-0.01], [0.02], [-0.02]])
    >>> found = sj.analysis.size_crossing(xs, 0.5 * xs + 0.3 + noise, xs + noise, lambda mean: mean, key=jr.key(0))
    >>> print(f"{found.location:.2f}", bool(found.interval[0] < 0.6 < found.interval[1]))
    0.60 True
    """
    fits = small.ndim >= 2 and large.ndim >= 2 and small.shape[1:] == large.shape[1:]
    require(
        fits and small.shape[1:2] == xs.shape,
        f"small and large must have shape (samples, points = {xs.shape[0]}, ...), got {small.shape}, {large.shape}.",
    )
    known = concrete(xs)
    steps = np.ones(1) if known is None else np.diff(known)
    require(bool(np.all(steps > 0) or np.all(steps < 0)), "xs must rise or fall strictly: sort the points.")
    require(min(small.shape[0], large.shape[0]) >= 2, "each lattice must have at least two samples.")
    require(num_bootstrap >= 2, f"num_bootstrap must be at least 2, got {num_bootstrap}.")
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence}.")
    return _crossed(xs, small, large, function, key, num_bootstrap, confidence, significance)


@eqx.filter_jit
def _crossed(
    xs: Array,
    small: Array,
    large: Array,
    function: Callable[[Array], Array],
    key: PRNGKeyArray,
    num_bootstrap: int,
    confidence: float,
    significance: float,
) -> SizeCrossing:
    def resampled(key: PRNGKeyArray) -> tuple[Array, Array]:
        curves = [
            function(jnp.mean(samples[jr.randint(key, samples.shape[:1], 0, samples.shape[0])], axis=0))
            for samples, key in zip((small, large), jr.split(key), strict=True)
        ]
        return curves[0], curves[1]

    curves = function(jnp.mean(small, axis=0)), function(jnp.mean(large, axis=0))
    replicas = jax.lax.map(resampled, jr.split(key, num_bootstrap), batch_size=64)
    sure = (curves[1] - curves[0]) / jnp.std(replicas[1] - replicas[0], axis=0)
    below = jax.lax.cummax(jnp.where(sure <= -significance, jnp.arange(xs.size), -1))
    above = (sure >= significance) & (below >= 0)
    end = jnp.argmax(above)
    window = (below[end], end, jnp.any(above))
    location, height = _zero_within(xs, curves, window)
    found, heights = jax.vmap(lambda pair: _zero_within(xs, pair, window))(replicas)
    tail = 0.5 * (1 - confidence)
    tails = jnp.asarray([tail, 1 - tail], xs.dtype)
    interval, height_interval = (jnp.nanquantile(values, tails) for values in (found, heights))
    return SizeCrossing(location, interval, height, height_interval, jnp.mean(jnp.isfinite(found), dtype=xs.dtype))


def _zero_within(xs: Array, curves: tuple[Array, Array], window: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Where the second curve last rises above the first between two points, and its height; NaN where nowhere."""
    first, last, exists = window
    difference, place = curves[1] - curves[0], jnp.arange(xs.size - 1)
    rises = (difference[:-1] < 0) & (difference[1:] >= 0) & (place >= first) & (place < last) & exists
    index = xs.size - 2 - jnp.argmax(rises[::-1])
    low, high = difference[index], difference[index + 1]
    fraction = low / jnp.where(low == high, 1, low - high)
    location, height = (values[index] + fraction * (values[index + 1] - values[index]) for values in (xs, curves[0]))
    return jnp.where(jnp.any(rises), location, jnp.nan), jnp.where(jnp.any(rises), height, jnp.nan)
