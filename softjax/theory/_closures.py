r"""Gaussian averages of the patch score's Jacobian (theory.md section 4).

For Gaussian x the correlation of the denoiser with the state needs the averaged Jacobian only (Stein's identity):
$E[D_i x_j] = \sum_r E[\partial D_i/\partial x_{i+r}]\,\mathrm{Cov}(x_{i+r}, x_j)$ with $\partial D_i/\partial x_{i+r} =
(\alpha/\sigma^2)\,\mathrm{Cov}_p(y(0), y(r))$. A closure maps the structure factor to the transform of that averaged
posterior covariance.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require, require_lattice
from softjax._linalg import matmul, tensordot
from softjax._types import Array, Float
from softjax.fields import PatchDictionary
from softjax.theory._neighbourhood import Neighbourhood, neighbourhood_offsets
from softjax.theory._spectra import neighbourhood_spectrum

# Trapezoidal rule for `mean_slope`, folded at u = 0.
_STEP, _POINTS = 0.2, 101
_JITTER = 64  # in units of rounding, relative to the mean variance of the evidence


class Averages(eqx.Module):
    r"""What a closure returns: the transform of the averaged posterior covariance, and the mean of the denoiser.

    * `covariance`: (*lattice), its real part, in units of the data squared;
    * `error`: its standard error at k = 0;
    * `denoised`: mean of the denoiser, in units of the data.
    """

    covariance: Float[Array, "..."]
    error: Float[Array, ""]
    denoised: Float[Array, ""]


class AbstractClosure(eqx.Module):
    """Averages over Gaussian states.

    `longest` is the norm of the longest pattern that competes with others, in units of the data; 0 for none.
    """

    longest: eqx.AbstractVar[Array]

    @abstractmethod
    def __call__(self, alpha: Array, variance: Array, mean: Array, structure_factor: Array) -> Averages:
        r"""Averages at signal $\alpha$ and noise variance $\sigma^2$, over states of this mean and structure factor."""


class TwoPatternClosure(AbstractClosure):
    r"""Two uniform patterns: $g\hat W(k)$ with $g = E[\mathrm{sech}^2(\alpha\sqrt v z/\sigma^2)]$.

    $v = \frac1N\sum_k|\hat W|^2S$ is the variance of the sum over a neighbourhood. The mean of the states is 0.
    """

    window: Float[Array, "..."]
    power: Float[Array, "..."]
    longest: Float[Array, ""]

    def __init__(self, patch_size: Neighbourhood, shape: Sequence[int]):
        window = neighbourhood_spectrum(patch_size, shape)
        self.window, self.power = window.real, jnp.abs(window) ** 2
        self.longest = jnp.zeros((), self.power.dtype)

    def __call__(self, alpha: Array, variance: Array, mean: Array, structure_factor: Array) -> Averages:
        """The averages, exact to rounding."""
        v = jnp.mean(self.power * structure_factor)
        g = mean_slope(alpha / variance * jnp.sqrt(v))
        zero = jnp.zeros((), g.dtype)
        return Averages(g * self.window, zero, zero)


class DictionaryClosure(AbstractClosure):
    r"""Any dictionary: quasi-Monte-Carlo over the Gaussian evidence of its B patterns (one per mirror pair).

    The evidence has the covariance $y_a\Sigma y_b^T = \frac1N\sum_k\hat y_a\hat y_b^*S$; its averages run over
    `normals`, (replicas, points, B), an additive recurrence shifted at random for each replica, and its mirror image.
    """

    dictionary: PatchDictionary
    transforms: Float[Array, "2 B ..."]
    normals: Float[Array, "replicas points B"]
    longest: Float[Array, ""]

    def __init__(self, dictionary: PatchDictionary, shape: Sequence[int], num_samples: int):
        require_lattice("shape", shape, len(dictionary.patch_shape))
        require(
            all(side <= length for side, length in zip(dictionary.patch_shape, shape, strict=True)),
            f"the patch, {dictionary.patch_shape}, must fit on the lattice, {tuple(shape)}.",
        )
        require(num_samples >= 32, f"num_samples must be at least 32, got {num_samples}.")
        self.dictionary = dictionary
        self.longest = jnp.sqrt(jnp.max(dictionary.squared_norms))
        self.transforms = _transforms(dictionary.representative_patterns, shape)
        self.normals = _shifted_normals(8, num_samples // 16, self.transforms.shape[1])

    def __call__(self, alpha: Array, variance: Array, mean: Array, structure_factor: Array) -> Averages:
        """The averages over replicas, with their standard error."""
        flat = jnp.concatenate(self.transforms.reshape(*self.transforms.shape[:2], -1), axis=-1)
        at_zero, weights = flat[:, 0], jnp.tile(structure_factor.ravel() / structure_factor.size, 2)
        evidence = matmul(flat * weights, flat.T)
        jitter = _JITTER * jnp.finfo(evidence.dtype).eps * jnp.mean(jnp.diag(evidence))
        factor = jnp.linalg.cholesky(evidence + jitter * jnp.eye(len(evidence), dtype=evidence.dtype))
        deviations = matmul(self.normals, factor.T)
        overlaps = mean * at_zero + jnp.concatenate([deviations, -deviations], axis=1)
        pulls, denoised = jax.vmap(lambda e: self._posterior(alpha, variance, e))(overlaps)
        zero_modes = matmul(pulls, at_zero)
        covariance = tensordot(jnp.mean(pulls, 0), self.transforms[0], 1)
        return Averages(covariance, jnp.std(zero_modes, ddof=1) / len(pulls) ** 0.5, jnp.mean(denoised))

    def _posterior(self, alpha: Array, variance: Array, overlaps: Array) -> tuple[Array, Array]:
        """Mean over points of the weight with which each representative enters the covariance, (B,), and of D."""
        owner = np.asarray(self.dictionary.owners)
        sign = jnp.asarray(self.dictionary.signs, overlaps.dtype)
        norms = self.dictionary.squared_norms
        bias = self.dictionary.log_prior - 0.5 * alpha**2 / variance * (norms - jnp.min(norms))
        p = jax.nn.softmax(alpha / variance * sign * overlaps[:, owner] + bias)
        centres = self.dictionary.centres
        denoised = matmul(p, centres)
        pull = sign * jnp.mean(p * (centres - denoised[:, None]), axis=0)
        return jax.ops.segment_sum(pull, owner, len(self.dictionary.representatives)), jnp.mean(denoised)


@public
def mean_slope(c: Array) -> Float[Array, ""]:
    r"""$E[\mathrm{sech}^2(cz)]$ over standard normal z, for c >= 0, to rounding for every c.

    * `c`: an array, not negative.

    Trapezoidal rule in $u = z\sqrt{1 + c^2}$: the integrand is analytic in the strip $|\mathrm{Im}\,u| < \pi/2$ and
    decays on the scale 1 for every c, so that the error of step h is of order $e^{-\pi^2/h}$; h = 1/5, up to |u| = 20.

    >>> print(f"{sj.theory.mean_slope(0.0):.3f} {sj.theory.mean_slope(1.0):.3f}")
    1.000 0.606
    """
    return _normal_mean(lambda slope: slope, jnp.asarray(c))


def mean_third_derivative(c: Array) -> Float[Array, ""]:
    r"""$E[\tanh^{(3)}(cz)]$ over standard normal z, for c >= 0, by the rule of `mean_slope`; -2 at c = 0.

    The error is rounding times `mean_slope`; the value itself falls off as $c^{-3}$.
    """
    return _normal_mean(lambda slope: slope * (4 - 6 * slope), jnp.asarray(c))


def _normal_mean(function: Callable[[Array], Array], c: Array) -> Array:
    """Mean of a function of sech^2(c z), at least as short-ranged as that."""
    u = jnp.asarray(_STEP * np.arange(_POINTS), c.dtype)
    weights = jnp.asarray(np.where(np.arange(_POINTS) == 0, 1, 2) * _STEP / np.sqrt(2 * np.pi), c.dtype)
    stretch = jnp.sqrt(1 + c**2)
    values = function(1 / jnp.cosh(c / stretch * u) ** 2)
    return jnp.sum(weights * jnp.exp(-0.5 * (u / stretch) ** 2) * values) / stretch


def _transforms(patterns: Array, shape: Sequence[int]) -> Float[Array, "2 B ..."]:
    r"""Real and imaginary parts of $\sum_r y(r)e^{ik\cdot r}$ of each pattern, (2, B, *lattice), in FFT order."""
    offsets = neighbourhood_offsets(patterns.shape[1:], patterns.ndim - 1)
    on_lattice = jnp.zeros((patterns.shape[0], *shape), patterns.dtype)
    sites = tuple((offsets % np.asarray(shape)).T)
    on_lattice = on_lattice.at[(slice(None), *sites)].add(patterns.reshape(patterns.shape[0], -1))
    transforms = jnp.fft.fftn(on_lattice, axes=range(1, on_lattice.ndim))
    return jnp.stack([transforms.real, -transforms.imag])


def _shifted_normals(replicas: int, points: int, dimension: int) -> Float[Array, "replicas points dimension"]:
    """Normals at the points of the additive recurrence of the generalised golden ratio, with random shifts."""
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / (dimension + 1))
    steps = golden ** -np.arange(1.0, dimension + 1)
    shifts = np.random.default_rng(0).random((replicas, 1, dimension))
    uniform = (shifts + np.arange(points)[:, None] * steps) % 1
    smallest = 0.25 / points / replicas
    return jax.scipy.special.ndtri(jnp.asarray(np.clip(uniform, smallest, 1 - smallest), float))
