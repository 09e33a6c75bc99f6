r"""Equilibrium correlation length from the low-frequency dispersion (Eqs. 22, 49-51; theory.md section 5)."""

import equinox as eqx
import jax.numpy as jnp

from softjax._checks import public, require
from softjax._repr import readable, sides, spread, with_error
from softjax._types import Array, Float


class EquilibriumLength(eqx.Module):
    """Result of the fit; each of shape (*batch).

    * `length`: sqrt(max(slope, 0)), in sites;
    * `standard_error`: of the length, from the residuals of the fit; infinite at length 0, NaN with one shell;
    * `slope`: the fitted squared length, in sites squared, negative where short waves are softer than long ones.

    >>> found = sj.equilibrium_correlation_length([0.0, 0.5, 1.0], [1.0, 2.0, 5.0], num_shells=2)
    >>> print(f"{found.length:.3f} {found.standard_error:.3f} {found.slope:.3f}")
    2.000 0.000 4.000
    """

    length: Float[Array, "*batch"]
    standard_error: Float[Array, "*batch"]
    slope: Float[Array, "*batch"]

    @readable
    def __repr__(self) -> list[str]:
        if self.length.ndim:
            return [f"{sides(self.length.shape)} lengths, {spread(self.length)} sites"]
        return [f"{with_error(self.length, self.standard_error)} sites"]


@public
def equilibrium_correlation_length(
    wavenumbers: Float[Array, " shells"], magnitudes: Float[Array, "*batch shells"], num_shells: int = 3
) -> EquilibriumLength:
    r"""Fits $\Lambda_n/\Lambda_0 - 1 = \xi_{eq}^2 k_n^2$ over shells 1 to `num_shells`, least squares through 0.

    * `wavenumbers`: (shells,), in radians per site, shell 0 first: `modes.wavenumbers`;
    * `magnitudes`: (..., shells), the response of each shell, per unit of t, as `mode_response` and `ModeProbe` return
      it;
    * `num_shells`: how many shells above 0 are fitted.

    For a stable branch $\lambda = -m^2 - \kappa k^2$ the length is $\sqrt\kappa/m$. Raises `ValueError` when there are
    fewer shells than asked for.

    >>> k = sj.fourier_modes((8, 8), 3).wavenumbers
    >>> print(f"{sj.equilibrium_correlation_length(k, 0.5 + 2.0 * k**2).length:.3f}")
    2.000
    """
    shells = wavenumbers.shape[-1]
    require(1 <= num_shells < shells, f"num_shells must lie between 1 and {shells - 1}, got {num_shells}.")
    require(
        magnitudes.shape[-1] == shells,
        f"magnitudes must have one value per wavenumber on the last axis, {shells}; got {magnitudes.shape[-1]}.",
    )
    k_squared = wavenumbers[1 : num_shells + 1] ** 2
    excess = magnitudes[..., 1 : num_shells + 1] / magnitudes[..., :1] - 1
    norm = jnp.sum(k_squared**2)
    slope = jnp.sum(k_squared * excess, axis=-1) / norm
    residual = excess - slope[..., None] * k_squared
    freedom = num_shells - 1
    slope_error = jnp.sqrt(jnp.sum(residual**2, axis=-1) / norm / freedom) if freedom else jnp.full_like(slope, jnp.nan)
    length = jnp.sqrt(jnp.maximum(slope, 0))
    return EquilibriumLength(length, slope_error / (2 * length), slope)
