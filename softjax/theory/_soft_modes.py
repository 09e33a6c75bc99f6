"""Which order parameter a dispersion selects: the wavevectors of its maximum (theory.md section 5; App. B.1)."""

from typing import Literal

import equinox as eqx
import numpy as np

from softjax._checks import concrete, public, require, require_finite, require_lattice
from softjax._types import Array, ArrayLike, Complex
from softjax.spectral import integer_wavevectors


class SoftModes(eqx.Module):
    r"""The soft modes of a dispersion and the effective theory near its instability.

    * `kind`: `"scalar"`, the maximum is at k = 0 (Ising); `"modulated scalar"`, at one k* ≠ 0 with k* ≡ -k*, such as
      $(\pi, \pi)$; `"multi-component"` otherwise;
    * `wavevectors`: (maximisers, ndim), all integer wavevectors n of the maximum, k* = 2 pi n / L;
    * `num_amplitudes`: how many amplitudes the effective theory has: a pair ±k* shares one;
    * `num_components`: how many real ones, two for such a pair;
    * `growth_rate`: the maximum of the dispersion.

    >>> found = sj.theory.classify_soft_modes(sj.theory.patch_spectrum(sj.VP(), 2.0, 3, (8, 8)))
    >>> print(found.kind, found.wavevectors, found.num_amplitudes)
    scalar [[0 0]] 1
    """

    kind: Literal["scalar", "modulated scalar", "multi-component"] = eqx.field(static=True)
    wavevectors: np.ndarray
    num_amplitudes: int = eqx.field(static=True)
    num_components: int = eqx.field(static=True)
    growth_rate: float


@public
def classify_soft_modes(dispersion: ArrayLike | Complex[Array, "..."], tolerance: float = 1e-5) -> SoftModes:
    """Classify the instability of a dispersion by the wavevectors that maximise its real part (App. B.1).

    * `dispersion`: (*lattice), real or complex, in FFT order, outside `jit`: from `patch_spectrum`,
      `dictionary_spectrum`, or measured;
    * `tolerance`: values this close to the maximum, as a fraction of the range of growth rates, tie with it.

    -k ties with k. For a measured dispersion give its standard error over that range. A constant dispersion has every
    wavevector as its maximiser. Raises `ValueError` for values that are not finite or traced, and a negative
    tolerance.

    >>> waves = -sj.theory.patch_spectrum(sj.VP(), 2.0, 3, (8, 8))
    >>> print(sj.theory.classify_soft_modes(waves).wavevectors.shape)
    (2, 2)
    """
    require(tolerance >= 0, f"tolerance must not be negative, got {tolerance}.")
    values = concrete(dispersion)
    if values is None:
        raise ValueError("classify_soft_modes decides on values, which are unknown inside jit; call it outside.")
    require_finite("dispersion", values)
    require_lattice("dispersion", values.shape)
    rates = np.real(values).astype(float)
    top = np.max(rates)
    soft = rates >= top - tolerance * (top - np.min(rates))
    axes = tuple(range(rates.ndim))
    soft |= np.roll(np.flip(soft, axes), 1, axes)  # the growth rate of a real convolution is even in k
    numbers = integer_wavevectors(rates.shape)[soft]
    own_negative = np.all(2 * numbers % np.asarray(rates.shape) == 0, axis=-1)
    num_amplitudes = int(np.sum(own_negative) + np.sum(~own_negative) // 2)
    one = num_amplitudes == 1 and bool(own_negative[0])
    kind = "multi-component" if not one else "modulated scalar" if np.any(numbers) else "scalar"
    return SoftModes(kind, numbers, num_amplitudes, len(numbers), float(top))
