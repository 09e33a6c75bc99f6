r"""Linear stability of the empirical score of K prototypes (theory.md section 2; Eq. 6).

With weights $w_i$ at x, $J = a + w(-1/\sigma^2 + (\alpha^2/\sigma^4)C)$ where $C = \sum_i w_i(y_i - \bar y)(y_i - \bar
y)^T$: J and the covariance of the prototypes share their eigenvectors.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_positive, require_shape
from softjax._linalg import matmul
from softjax._types import Array, Configuration, Float, Time
from softjax.fields import EmpiricalField
from softjax.theory._critical import softest_ratio
from softjax.theory._spectra import linear_growth_rate


class PrototypeSpectrum(eqx.Module):
    """Eigenvalues of the reverse drift's Jacobian, in descending order.

    * `covariances`: (modes,), eigenvalues of C, in units of the data squared; modes = min(K, sites);
    * `growth_rates`: (modes,), those of J along the same directions, per unit of t;
    * `transverse`: (), that of all other directions, per unit of t;
    * `num_transverse`: how many these are.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> found = sj.theory.prototype_spectrum(sj.EmpiricalField(images, sj.VP()), 2.0)
    >>> print(np.asarray(found.covariances).round(3), f"{found.transverse:.3f}", found.num_transverse)
    [16.  0.] -0.657 14
    """

    covariances: Float[Array, " modes"]
    growth_rates: Float[Array, " modes"]
    transverse: Float[Array, ""]
    num_transverse: int = eqx.field(static=True)


@public
@eqx.filter_jit
def prototype_spectrum(field: EmpiricalField, t: Time, x: Configuration | None = None) -> PrototypeSpectrum:
    """All eigenvalues of the Jacobian of the empirical score's reverse drift at `x`, by default x = 0, Eq. (6).

    * `field`: the prototypes, with their process;
    * `t`: the time;
    * `x`: the state, of the shape of a prototype.

    From the K x K Gram matrix when there are fewer prototypes than sites. Raises `ValueError` for a time that is not
    positive and for the wrong shape.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> field = sj.EmpiricalField(images, sj.VP())
    >>> print(f"{sj.theory.prototype_spectrum(field, 2.0).growth_rates[0]:.3f}")
    2.240
    >>> print(f"{sj.theory.two_pattern_eigenvalues(sj.VP(), 2.0, 16.0)[1]:.3f}")
    2.240
    """
    require_positive("t", t)
    shape = field.patterns.shape[1:]
    x = jnp.zeros(shape, field.patterns.dtype) if x is None else x
    require_shape("x", x.shape, shape)
    alpha, variance = field.process.alpha(t), field.process.sigma(t) ** 2
    distances = field.squared_norms - jnp.min(field.squared_norms)
    logits = alpha / variance * (field.evidence(x) - 0.5 * alpha * distances) + field.log_prior
    covariances = _covariance_eigenvalues(field.patterns, jax.nn.softmax(logits))
    rates = linear_growth_rate(field.process, t, covariances)
    transverse = linear_growth_rate(field.process, t, jnp.zeros((), covariances.dtype))
    return PrototypeSpectrum(covariances, rates, transverse, x.size - covariances.shape[0])


@public
def prototype_critical_times(field: EmpiricalField) -> Float[Array, " modes"]:
    r"""Times at which the directions of the data turn unstable at x = 0, in descending order, Eq. (6).

    * `field`: the prototypes, of equal norms, with their process.

    Each solves $\tfrac12 - 1/\sigma^2 + \alpha^2\lambda_j/\sigma^4 = 0$ for an eigenvalue $\lambda_j$ of the
    prototypes' covariance under their priors: $B(t) = \mathrm{arcsinh}\,\lambda_j$ under VP. The min(K, sites)
    eigenvalues include zeros, whose time is 0: stable as long as there is noise. Raises `ValueError` for unequal
    norms, with which the weights at x = 0 change with t: find the zeros of `prototype_spectrum` instead.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> times = sj.theory.prototype_critical_times(sj.EmpiricalField(images, sj.VP()))
    >>> print(f"{times[0]:.3f} {np.arcsinh(16):.3f}")
    3.467 3.467
    """
    norms = concrete(field.squared_norms)
    if norms is not None:
        require(
            np.allclose(norms, norms[0], rtol=1e-4),
            f"prototypes must have equal norms, got squared norms from {norms.min():g} to {norms.max():g}; "
            "prototype_spectrum(field, t) has no such limit.",
        )
    covariances = _covariance_eigenvalues(field.patterns, jnp.exp(field.log_prior))
    return jax.vmap(lambda c: field.process.from_noise_to_signal(softest_ratio(field.process, c)))(covariances)


def _covariance_eigenvalues(patterns: Array, weights: Array) -> Array:
    """The largest min(K, sites) eigenvalues of the weighted covariance, in descending order."""
    flat = patterns.reshape(patterns.shape[0], -1)
    scaled = jnp.sqrt(weights)[:, None] * (flat - matmul(weights, flat))
    gram = matmul(scaled, scaled.T) if flat.shape[0] <= flat.shape[1] else matmul(scaled.T, scaled)
    return jnp.maximum(jnp.linalg.eigvalsh(gram)[::-1], 0)
