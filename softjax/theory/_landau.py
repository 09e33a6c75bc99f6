"""Landau theory of the patch model: coefficients, long waves, and the one-loop shift (theory.md section 4)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require_not_negative, require_positive
from softjax._linalg import matmul
from softjax._types import Array, Float, Time
from softjax.dynamics import LandauCoefficients
from softjax.fields import PatchDictionary
from softjax.processes import AbstractProcess
from softjax.theory._closures import mean_slope, mean_third_derivative
from softjax.theory._hartree import Hartree
from softjax.theory._neighbourhood import Neighbourhood, neighbourhood_offsets
from softjax.theory._pitchfork import cubic_coefficient
from softjax.theory._spectra import linear_growth_rate, neighbourhood_spectrum, posterior_covariance


@public
def landau_coefficients(
    process: AbstractProcess, t: Time, patch_size: Neighbourhood, ndim: int = 2, variance: Time = 0.0
) -> LandauCoefficients:
    r"""Coefficients of the coarse-grained two-pattern patch model, Eqs. (19), (23)-(25), per unit of t.

    * `process`: of the noise;
    * `t`: the time, positive;
    * `patch_size`: an odd side, a tuple of sides or a boolean mask;
    * `ndim`: axes of the lattice, for a side;
    * `variance`: v, that of the patch mean, in units of the data squared.

    * `.mass` $r = \beta(\tfrac12 - 1/\sigma^2 + \alpha^2P/\sigma^4)$;
    * `.stiffness` $\kappa = \beta(\alpha^2/\sigma^4)\tfrac12\sum_{r\in N}r_a^2$ in sites squared: for a hypercube one
      number, $\beta\alpha^2PR(R + 1)/6\sigma^4$, else (ndim,), one per axis;
    * `.quartic` $u = \beta\alpha^4P^3/3\sigma^8$; `.noise` $\beta$.

    With v > 0 the tanh is not expanded at 0 but projected on the first and third Hermite polynomial of a field of that
    variance: then $r - 3uv$ is the Hartree growth rate, not its first order. Raises `ValueError` for even sides, an
    empty mask, times that are not positive and negative variances.

    >>> found = sj.theory.landau_coefficients(sj.VP(), 2.0, patch_size=3)
    >>> print(f"{found.mass:.3f} {found.stiffness:.3f} {found.quartic:.3f} {found.noise:.3f}")
    0.973 0.543 7.962 1.000
    """
    require_positive("t", t)
    require_not_negative("variance", variance)
    volume = float(len(neighbourhood_offsets(patch_size, ndim)))
    mass, stiffness = long_wave_expansion(process, t, patch_size, ndim)
    stiffness = stiffness[0] if np.ndim(patch_size) == 0 else stiffness
    cubic = cubic_coefficient(process, t, volume)
    if isinstance(variance, float) and variance == 0:
        return LandauCoefficients(mass, stiffness, cubic, process.beta(t))
    v = jnp.asarray(variance, mass.dtype)
    c = process.alpha(t) / process.sigma(t) ** 2 * volume * jnp.sqrt(v)
    slope, third = mean_slope(c), mean_third_derivative(c)
    projected = linear_growth_rate(process, t, volume * (slope - 0.5 * c**2 * third))
    return LandauCoefficients(projected, slope * stiffness, -0.5 * third * cubic, process.beta(t))


@public
def long_wave_expansion(
    process: AbstractProcess, t: Time, model: Neighbourhood | PatchDictionary, ndim: int = 2
) -> tuple[Float[Array, ""], Float[Array, " ndim"]]:
    r"""Mass and stiffness of $\mathrm{Re}\,\lambda(k) = r - \sum_a\kappa_ak_a^2 + \dots$ at x = 0, Eq. (18).

    * `process`: of the noise;
    * `t`: the time;
    * `model`: a neighbourhood of the two-pattern model, or a dictionary;
    * `ndim`: axes of the lattice, for a neighbourhood.

    $\kappa_a = \beta(\alpha^2/\sigma^4)\tfrac12\sum_r C(r)r_a^2$, where C is 1 on the neighbourhood of the two-pattern
    model, and the covariance of a dictionary. Returns r, per unit of t, and (ndim,) values in sites squared per unit
    of t, along the axes. Raises `ValueError` for times that are not positive.

    >>> mass, stiffness = sj.theory.long_wave_expansion(sj.VP(), 2.0, 3)
    >>> print(f"{mass:.3f}", np.asarray(stiffness).round(3))
    0.973 [0.543 0.543]
    """
    require_positive("t", t)
    signal = process.drift_weight(t) * process.alpha(t) ** 2 / process.sigma(t) ** 4
    if isinstance(model, PatchDictionary):
        covariance = posterior_covariance(model, process, t).ravel()
        offsets = neighbourhood_offsets(model.patch_shape, len(model.patch_shape))
    else:
        offsets = neighbourhood_offsets(model, ndim)
        covariance = jnp.ones(len(offsets), signal.dtype)
    moments = 0.5 * matmul(covariance, jnp.asarray(offsets**2, covariance.dtype))
    return linear_growth_rate(process, t, jnp.sum(covariance)), signal * moments


class LandauModel(eqx.Module):
    r"""`landau_coefficients` of the patch model as a function of t, for `simulate_landau`.

    * `process`: of the noise;
    * `patch_size`: a side or a tuple of sides, in sites;
    * `ndim`: axes of the lattice;
    * `spacing`: b, the lattice constant of the simulated field, in sites;
    * `hartree`: a `Hartree` prediction, whose patch variance sets the coefficients.

    The values of the field are means over $b^d$ sites, so that stiffness is divided by $b^2$ and noise by $b^d$. With
    b = w the cubic term sees fluctuations of a patch mean, as in the patch model; with b = 1 those of a site, P times
    as large.

    The paper's expansion at 0 needs $\alpha P\varphi/\sigma^2 \ll 1$, but fluctuations alone make it about 0.7 at
    $t_c$ for every P: from there on its cubic term is too strong. Given the `Hartree` prediction, the coefficients are
    those of the projection at its patch variance (`landau_coefficients`).

    >>> model = sj.theory.LandauModel(sj.VP(), patch_size=3)
    >>> print(f"{model(2.0).mass:.3f} {model(2.0).stiffness:.3f}")
    0.973 0.543
    """

    process: AbstractProcess
    patch_size: int | tuple[int, ...] = eqx.field(static=True)
    ndim: int = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    grid: tuple[Array, Array] | None

    @public
    def __init__(
        self,
        process: AbstractProcess,
        patch_size: int | tuple[int, ...],
        ndim: int = 2,
        spacing: float | int = 1.0,
        hartree: Hartree | None = None,
    ):
        self.process, self.patch_size, self.ndim, self.spacing = process, patch_size, ndim, float(spacing)
        self.grid = None
        if hartree is not None:
            variances = jax.vmap(lambda s: patch_variance(s, patch_size))(hartree.structure_factor)
            self.grid = (jnp.log(hartree.ts[::-1]), jnp.log(variances[::-1]))

    @public
    def __call__(self, t: Time) -> LandauCoefficients:
        """Coefficients at t.

        * `t`: the time, positive, in units of the process's time.
        """
        log_t = jnp.log(jnp.asarray(t))
        grid = jax.tree.map(lambda values: values.astype(log_t.dtype), self.grid)
        variance = 0.0 if grid is None else jnp.exp(jnp.interp(log_t, *grid))
        c = landau_coefficients(self.process, t, self.patch_size, self.ndim, variance)
        return LandauCoefficients(c.mass, c.stiffness / self.spacing**2, c.quartic, c.noise / self.spacing**self.ndim)


@public
def one_loop_mass(coefficients: LandauCoefficients, variance: Time) -> Float[Array, "..."]:
    r"""Effective mass $r - 3u\langle\psi^2\rangle$ of the one-loop theory, Eqs. (20), (21), per unit of t.

    * `coefficients`: `landau_coefficients`;
    * `variance`: $\langle\psi^2\rangle$ of the coarse-grained field: `patch_variance` of its structure factor.

    The first order in the variance of the Hartree closure. Raises `ValueError` for a negative variance.

    >>> coefficients = sj.theory.landau_coefficients(sj.VP(), 2.5, patch_size=3)
    >>> print(f"{coefficients.mass:.3f} {sj.theory.one_loop_mass(coefficients, 0.1):.3f}")
    0.287 -0.405
    """
    require_not_negative("variance", variance)
    return coefficients.mass - 3 * coefficients.quartic * variance


@public
def patch_variance(structure_factor: Float[Array, "..."], patch_size: Neighbourhood) -> Float[Array, ""]:
    r"""Variance of the mean over a patch, $\frac1{NP^2}\sum_k|\hat W(k)|^2S(k)$, of a field with this structure factor.

    * `structure_factor`: (*lattice), in FFT order, in units of the field squared;
    * `patch_size`: the neighbourhood.

    Raises `ValueError` for a neighbourhood of other dimension.

    >>> print(f"{sj.theory.patch_variance(jnp.ones((8, 8)), 3):.4f} {1 / 9:.4f}")
    0.1111 0.1111
    """
    window = jnp.abs(neighbourhood_spectrum(patch_size, structure_factor.shape)).astype(structure_factor.dtype)
    return jnp.mean(window**2 * structure_factor) / window.ravel()[0] ** 2
