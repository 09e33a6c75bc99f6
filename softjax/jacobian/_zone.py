r"""Every wavevector of a patch model at once, at any state, from a few averages over the sites (theory.md section 5).

Of a field whose denoiser at site i is a function of the overlaps $u_b(i) = \sum_r y_b(r)\,x_{i+r}$ with B patterns, the
Jacobian of the reverse drift acts on a plane wave as $(Jv_k)_i = [c + c'\sum_b s_b(i)\,\hat y_b(k)]\,v_k(i)$, with the
slopes $s_b(i) = \partial D_i/\partial u_b(i)$, $\hat y_b(k) = \sum_r y_b(r)e^{ik\cdot r}$, $c = a - w/\sigma^2$ and
$c' = w\alpha/\sigma^2$ for damping a and drift weight w. With means and covariances of the slopes over the sites,

$\lambda(k) = c + c'\sum_b\langle s_b\rangle\hat y_b(k)$ and
$\|Jv_k\|^2 = |\lambda(k)|^2 + c'^2\sum_{bb'}\mathrm{cov}(s_b, s_{b'})\,\hat y_b(k)\,\hat y_{b'}(k)^*$.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require_lattice, require_shape, wider
from softjax._linalg import matmul
from softjax._repr import readable, sides, spread
from softjax._types import Array, Complex, Configuration, Float, Time
from softjax.fields import AbstractField, AbstractPatternField
from softjax.jacobian._waves import Linear


class ZoneResponse(eqx.Module):
    r"""Response to every plane wave v of unit norm; each (*lattice), in FFT order.

    * `rates`: $\lambda(k) = \langle v, Jv\rangle$, complex, in units of 1/t: the eigenvalue where J is a convolution.
      Its imaginary part is minus the angular frequency; order and signs are those of `dispersion`;
    * `magnitude`: $\|Jv\|$, in units of 1/t, the root mean square over the phases of the real wave;
    * `leakage`: the share $\|Jv - \lambda v\|/\|Jv\|$ that goes to other waves, from 0 to 1. The one at -k counts,
      unlike for `mode_leakage`.

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> response = sj.ZoneProbe(field, (8, 8))(4.0, jnp.zeros((8, 8)))
    >>> print(np.asarray(response.rayleigh[0, :3]).round(3), bool(response.leakage.max() < 1e-4))
    [-0.348 -0.381 -0.462] True
    """

    rates: Complex[Array, "..."]
    magnitude: Float[Array, "..."]
    leakage: Float[Array, "..."]

    @property
    def rayleigh(self) -> Float[Array, "..."]:
        """The real part of the rates: Rayleigh quotients of cosine and sine, averaged; (*lattice), in units of 1/t."""
        return self.rates.real

    @readable
    def __repr__(self) -> list[str]:
        waves = f"{sides(self.rates.shape)} waves"
        return [waves, f"rayleigh {spread(self.rayleigh)}", f"leakage {spread(self.leakage)}"]


class ZoneProbe(eqx.Module):
    """Response of a patch field's reverse drift to every wavevector, as a function of time and state.

    It is exact at any state, and costs less than `ModeProbe` with a few directions. A pytree: pass it through `jit`, or
    use it in `observe`.

    * `field`: a `PatchField`, or a `LocalField` with periodic boundaries;
    * `shape`: sides of the lattice, in sites.

    Raises `ValueError` for other fields, and for a lattice that does not fit.

    >>> field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    >>> probe = sj.ZoneProbe(field, (8, 8))
    >>> response = probe(4.0, jnp.zeros((8, 8)))
    >>> print(response.rates.shape, f"{response.rayleigh[0, 0]:.3f}")
    (8, 8) -0.348
    """

    field: AbstractPatternField
    waves: Float[Array, "B parts"]
    shape: tuple[int, ...] = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        return [repr(self.field), f"{sides(self.shape)} waves"]

    @public
    def __init__(self, field: AbstractField, shape: Sequence[int]):
        if not isinstance(field, AbstractPatternField):
            raise ValueError(
                f"field must be a PatchField or a LocalField, got {type(field).__name__}: of any drift, `dispersion` "
                "estimates every wavevector, and `local_dispersion` computes it where the drift is local."
            )
        require_lattice("shape", shape)
        self.field, self.shape = field, tuple(shape)
        patterns = field.evidence_patterns
        jax.eval_shape(field.evidence, jnp.zeros(self.shape, patterns.dtype))  # for its refusals
        self.waves = _transforms(patterns, self.shape)

    @public
    def __call__(self, t: Time, x: Configuration) -> ZoneResponse:
        """Response at time `t` and state `x`, (*shape), per unit of t. Raises `ValueError` for another shape.

        * `t`: the time, in units of the process's time;
        * `x`: (*lattice), the state, in units of the data.
        """
        require_shape("x", x.shape, self.shape)
        probe, x = wider(self, x)
        return probe._respond(jnp.asarray(t, x.dtype), x)

    def _respond(self, t: Time, x: Configuration) -> ZoneResponse:
        field = self.field
        slopes = field.slopes(t, field.evidence(x)).reshape(len(self.waves), -1)
        first = jnp.mean(slopes, axis=1)
        apart = slopes - first[:, None]
        second = matmul(apart, apart.T) / x.size
        identity, scale = Linear.of(field.process, t)
        real, imaginary = scale * matmul(first, self.waves).reshape(2, *self.shape)
        real = identity + real
        parts = _quadratic(second, self.waves).reshape(2, *self.shape)
        away = scale**2 * jnp.maximum(parts[0] + parts[1], 0)
        magnitude = jnp.sqrt(real**2 + imaginary**2 + away)
        leakage = jnp.sqrt(away) / jnp.where(magnitude > 0, magnitude, 1)
        return ZoneResponse(jax.lax.complex(real, imaginary), magnitude, leakage)


def _quadratic(matrix: Float[Array, "B B"], vectors: Float[Array, "B num"]) -> Float[Array, " num"]:
    """The form v.M.v of every column v. Row by row, as XLA makes one loop of the whole product, ten times slower."""

    def add(total: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        return total + row[0] * matmul(row[1], vectors), None

    return jax.lax.scan(add, jnp.zeros_like(vectors[0]), (vectors, matrix))[0]


def _transforms(patterns: Float[Array, "B ..."], shape: tuple[int, ...]) -> Float[Array, "B parts"]:
    r"""$\sum_r y_b(r)e^{ik\cdot r}$, r = 0 at the centre of the pattern: all real parts, then all imaginary parts."""
    patch, axes = patterns.shape[1:], tuple(range(1, patterns.ndim))
    room = [(0, length - side) for side, length in zip(patch, shape, strict=True)]
    centred = jnp.roll(jnp.pad(patterns, [(0, 0), *room]), [-(side // 2) for side in patch], axes)
    spectrum = jnp.fft.fftn(centred, axes=axes).reshape(len(patterns), -1)
    return jnp.concatenate([spectrum.real, -spectrum.imag], axis=1)
