r"""Self-consistent Gaussian (Hartree) closure of the reverse SDE (theory.md section 4).

The state is treated as a Gaussian field with mean $\mu$ and structure factor S(k). In reverse time $\tau = -t$, with a
the damping, $dS/d\tau = 2\lambda S + \beta$ and $\lambda(k) = a + \beta(-1/\sigma^2 + (\alpha^2/\sigma^4)\hat C(k))$,
where $\hat C$ is the posterior covariance averaged over that field: fluctuations weaken the coupling, and the uniform
mode turns unstable later than in mean field.
"""

from collections.abc import Sequence

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require_decreasing, require_positive
from softjax._repr import number, readable, sides, times
from softjax._types import Array, Float, Times
from softjax.fields import PatchDictionary
from softjax.processes import AbstractProcess
from softjax.spectral import radial_average
from softjax.theory._closures import AbstractClosure, Averages, DictionaryClosure, TwoPatternClosure
from softjax.theory._neighbourhood import Neighbourhood

RESOLVED = 1.8
"""Of two dictionaries with nearly the same patterns, one met the simulation at 1.64, one missed it at 2.10."""


class Hartree(eqx.Module):
    r"""Prediction of the Gaussian closure for the reverse SDE.

    * `ts`: (times,), decreasing;
    * `growth_rate`: (times, *lattice), that of every mode of the probed drift, FFT order, per unit of t;
    * `structure_factor`: (times, *lattice), in units of the data squared;
    * `mean`: (times,), of the state; 0 for a dictionary that is sign symmetric;
    * `standard_error`: (times,), of the uniform mode's growth rate, from the sampling of a dictionary's evidence;
    * `resolution`: (times,), $\alpha\lVert y\rVert/\sigma$ of the dictionary's longest pattern, signal over noise
      in a single patch; 0 for the two-pattern model, whose average needs no such bound;
    * `critical_time`: where the uniform mode's growth rate stops being negative, coming from noise; NaN if it does not,
      or if `resolution` there is above 1.8: a patch then tells the patterns apart by itself, its local field has a peak
      for each of them, and no Gaussian closure can be trusted. `reason` says which.

    >>> closure = sj.theory.hartree(sj.VP(), sj.log_grid(8.0, 0.5, 20), 3, (8, 8))
    >>> print(closure.growth_rate.shape, f"{closure.critical_time:.2f}")
    (21, 8, 8) 2.20
    >>> print(f"{closure.correlation_length[-1]:.2f} {closure.binarised_length[-1]:.2f}")
    1.43 0.56
    """

    ts: Times
    growth_rate: Float[Array, "times ..."]
    structure_factor: Float[Array, "times ..."]
    mean: Float[Array, " times"]
    standard_error: Float[Array, " times"]
    resolution: Float[Array, " times"]
    critical_time: Float[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        sites = f"{sides(self.growth_rate.shape[1:])} sites"
        known = concrete(self.critical_time)
        reason = self.reason if known is not None and known.ndim == 0 else ""
        return [times(self.ts), sites, f"critical_time={number(self.critical_time)}", *([reason] if reason else [])]

    @property
    def reason(self) -> str:
        """Why there is no critical time; empty for a good one. Outside `jit`."""
        rates = np.asarray(self.growth_rate).reshape(len(self.ts), -1)[:, 0]
        if np.isfinite(self.critical_time):
            return ""
        crosses = np.any((rates[:-1] < 0) & (rates[1:] >= 0))
        return "single patches resolve the patterns: not Gaussian" if crosses else "the uniform mode stays stable"

    @property
    def correlation_length(self) -> Float[Array, " times"]:
        r"""Second-moment length $\sqrt{S(0)/S(k_1) - 1}/2\sin(k_1/2)$, in sites, (times,); mean over axes."""
        return jax.vmap(_second_moment_length)(self.structure_factor)

    @property
    def binarised_length(self) -> Float[Array, " times"]:
        r"""First-moment length of the signs, Eq. (45), in sites, (times,), for a state without mean.

        Signs of a Gaussian field have the correlation $\frac2\pi\arcsin(C(r)/C(0))$. One configuration's length is
        longer: the positive part of its noisy correlation adds about 0.4 sites on a 64 x 64 lattice.
        """
        return jax.vmap(_sign_length)(self.structure_factor)


@public
def hartree(
    process: AbstractProcess,
    ts: Times,
    patch_size: Neighbourhood | PatchDictionary,
    shape: Sequence[int],
    num_samples: int = 4096,
) -> Hartree:
    r"""Gaussian closure of the patch model's reverse SDE on the lattice `shape`, from white noise at `ts[0]`.

    * `process`: of the noise;
    * `ts`: (times,), the grid, decreasing and positive;
    * `patch_size`: the neighbourhood of the two-pattern model (an odd side, a tuple of sides, a boolean mask), whose
      average is exact to rounding; or a `PatchDictionary`, whose average over the Gaussian evidence is a
      quasi-Monte-Carlo sum;
    * `shape`: of the lattice, in sites;
    * `num_samples`: fixed points of that sum, in 8 shifted replicas, which give `standard_error`.

    S(k, t) is integrated with diffrax (Tsit5, adaptive), from the `prior_scale` of the process, forward in -t. The
    critical time is the root of the growth rate on the cubic interpolant of S between grid points.

    The closure takes the state for Gaussian. With patterns of comparable weight it would predict transitions that do
    not happen: of a dictionary with half its prior on the uniform pair, the rest on stripes, a checkerboard and a
    random pair (w = 3), one at t = 1.11, where simulations stay stable. Such times are NaN, with a `reason`.

    Differentiable in reverse mode. Raises `ValueError` for grids that do not decrease to a positive time, and
    neighbourhoods that do not fit; `FloatingPointError` when the integration fails (outside `jit` only).

    >>> closure = sj.theory.hartree(sj.VP(), sj.log_grid(8.0, 0.5, 20), 3, (8, 8))
    >>> print(f"{closure.critical_time:.2f} {sj.theory.critical_time(sj.VP(), 9):.2f}")
    2.20 2.89
    """
    require_decreasing("ts", ts)
    require_positive("ts", ts)
    if isinstance(patch_size, PatchDictionary):
        closure: AbstractClosure = DictionaryClosure(patch_size, shape, num_samples)
    else:
        closure = TwoPatternClosure(patch_size, shape)
    result = _hartree(process, jnp.asarray(ts, float), closure, tuple(shape))
    final = concrete(result.structure_factor)
    if final is not None and not np.all(np.isfinite(final)):
        raise FloatingPointError("the integration of the structure factor failed: take a smaller range of times.")
    return result


class _Flow(eqx.Module):
    """The closed equations for the mean and the structure factor, in s = -t."""

    process: AbstractProcess
    closure: AbstractClosure

    def averages(self, t: Array, state: tuple[Array, Array]) -> Averages:
        return self.closure(self.process.alpha(t), self.process.sigma(t) ** 2, *state)

    def rate(self, t: Array, covariance: Array, weight: Array) -> Array:
        """Growth rates of a drift that weights the score with `weight`."""
        variance = self.process.sigma(t) ** 2
        return self.process.damping(t) + weight * (self.process.alpha(t) ** 2 / variance * covariance - 1) / variance

    def __call__(self, s: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        t = -s
        found, beta = self.averages(t, state), self.process.beta(t)
        pull = (self.process.alpha(t) * found.denoised - state[0]) / self.process.sigma(t) ** 2
        change = self.process.damping(t) * state[0] + beta * pull
        return change, 2 * self.rate(t, found.covariance, beta) * state[1] + beta

    def probed(self, t: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        """Growth rates of the probed drift, and the standard error at k = 0."""
        found, weight = self.averages(t, state), self.process.drift_weight(t)
        signal = self.process.alpha(t) ** 2 / self.process.sigma(t) ** 4
        return self.rate(t, found.covariance, weight), weight * signal * found.error

    def uniform_rate(self, t: Array, state: tuple[Array, Array]) -> Array:
        return self.probed(t, state)[0].ravel()[0]


@eqx.filter_jit
def _hartree(process: AbstractProcess, ts: Times, closure: AbstractClosure, shape: tuple[int, ...]) -> Hartree:
    flow = _Flow(process, closure)
    start = (jnp.zeros((), ts.dtype), jnp.ones(shape, ts.dtype) * process.prior_scale(ts[0]) ** 2)
    tolerance = max(1e-8, 80 * float(jnp.finfo(ts.dtype).eps))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(lambda s, state, args: flow(jnp.asarray(s), state)),
        dfx.Tsit5(),
        -ts[0],
        -ts[-1],
        0.01 * (ts[0] - ts[1]),
        start,
        stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance, norm=_largest),
        saveat=dfx.SaveAt(ts=-ts),
        throw=False,
    )
    assert solution.ys is not None
    mean, structure_factor = solution.ys
    rates, errors = jax.lax.map(lambda point: flow.probed(point[0], point[1]), (ts, (mean, structure_factor)))
    critical = _first_zero(flow, ts, (mean, structure_factor), rates.reshape(ts.shape[0], -1)[:, 0])

    def resolution(t: Array) -> Array:
        return process.alpha(t) / process.sigma(t) * closure.longest

    critical = jnp.where(resolution(critical) > RESOLVED, jnp.nan, critical)
    return Hartree(ts, rates, structure_factor, mean, errors, jax.vmap(resolution)(ts), critical)


def _largest(state: tuple[Array, Array]) -> Array:
    """Norm of an error: the worst mode's, not the average over all of them."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in state]))


def _first_zero(flow: _Flow, ts: Times, states: tuple[Array, Array], rates: Array) -> Array:
    """Time of the first upward zero of the uniform mode's rate: bracketed on the grid, bisected, polished by Newton."""
    crosses = (rates[:-1] < 0) & (rates[1:] >= 0)
    index = jnp.argmax(crosses)
    state = _interpolant(flow, ts, states, index)

    def rate(fraction: Array) -> Array:
        return flow.uniform_rate(*state(fraction))

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        negative = rate(middle) < 0
        return jnp.where(negative, middle, low), jnp.where(negative, high, middle)

    found = jax.lax.stop_gradient(jax.lax.fori_loop(0, 40, halve, (jnp.zeros((), ts.dtype), jnp.ones((), ts.dtype)))[0])
    slope = jax.lax.stop_gradient(jax.jvp(rate, (found,), (jnp.ones_like(found),))[1])
    return jnp.where(jnp.any(crosses), state(found - rate(found) / slope)[0], jnp.nan)


def _interpolant(flow: _Flow, ts: Times, states: tuple[Array, Array], index: Array):  # noqa: ANN202
    """Cubic Hermite interpolant of the state over a grid interval, as a function of the fraction of it."""
    ends = [(ts[i], jax.tree.map(lambda path, i=i: path[i], states)) for i in (index, index + 1)]
    step = ends[0][0] - ends[1][0]
    slopes = [flow(-t, state) for t, state in ends]

    def state(f: Array) -> tuple[Array, tuple[Array, Array]]:
        weights = ((1 + 2 * f) * (1 - f) ** 2, f**2 * (3 - 2 * f), step * f * (1 - f) ** 2, -step * f**2 * (1 - f))
        knots = (ends[0][1], ends[1][1], slopes[0], slopes[1])

        def mix(part: int) -> Array:
            return jnp.sum(jnp.stack([w * knot[part] for w, knot in zip(weights, knots, strict=True)]), axis=0)

        return ends[0][0] - f * step, (mix(0), mix(1))

    return state


def _second_moment_length(structure_factor: Array) -> Array:
    shape = structure_factor.shape
    first = structure_factor[tuple(np.eye(len(shape), dtype=int))]
    k_hat_squared = jnp.asarray(4 * np.sin(np.pi / np.asarray(shape)) ** 2, first.dtype)
    squared = jnp.mean((structure_factor.ravel()[0] / first - 1) / k_hat_squared)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _sign_length(structure_factor: Array) -> Array:
    covariance = jnp.fft.ifftn(structure_factor).real
    correlation = jnp.clip(covariance / covariance.ravel()[0], -1, 1)
    positive = jnp.maximum(radial_average(jnp.arcsin(correlation), channels=0), 0)
    return jnp.sum(jnp.arange(positive.shape[0], dtype=positive.dtype) * positive) / jnp.sum(positive)
