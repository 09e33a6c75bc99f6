r"""Score of a stationary Gaussian field: linear, diagonal in Fourier space, exactly solvable."""

from abc import abstractmethod

import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_lattice, require_shape
from softjax._repr import number, readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Time
from softjax.fields._base import AbstractField
from softjax.processes import AbstractProcess


class AbstractGaussianField(AbstractField):
    """A field of Gaussian data: the Jacobian of its drift is the same at every state, symmetric, and known.

    `softjax.theory.gaussian_responses` needs no more of it than its principal components.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> isinstance(field, sj.fields.AbstractGaussianField)
    True
    >>> shares, variances = field.principal_shares(sj.fourier_modes((4, 4), 1).directions)
    >>> print(shares.shape, float(variances[0]))
    (5, 16) 1.0
    """

    @abstractmethod
    def principal_shares(
        self, directions: Float[Array, "modes ..."]
    ) -> tuple[Float[Array, "modes components"], Float[Array, " components"]]:
        """How unit vectors are spread over the principal components of the data.

        * `directions`: (modes, *shape), real, of unit norm.

        Returns the share of each direction in each component, (modes, components), which add up to 1, and the variance
        of the components, (components,), in squared units of the data. Raises `ValueError` for another shape.
        """


class GaussianField(AbstractGaussianField):
    r"""Gaussian data with structure factor $S(k)$ and uniform mean $\mu$ on a periodic lattice.

    * `spectrum`: (*lattice), S in FFT order, not negative and even in k, in units of the data squared
      (`free_field_spectrum` makes one; a constant one is white data);
    * `process`: of the noise;
    * `mean`: $\mu$, one number, in units of the data.

    $\hat D = \mu + \alpha S(\hat x - \alpha\mu)/(\alpha^2 S + \sigma^2)$, so that every Fourier mode is an eigenvector
    of the reverse drift, with growth rate $\beta[\tfrac12 - 1/(\alpha^2 S(k) + \sigma^2)]$ under VP.

    Raises `ValueError` for another spectrum. `from_samples` measures it; data that are not stationary, or have
    channels, are `CovarianceField`.

    >>> spectrum = sj.spectral.free_field_spectrum((4, 4), mass=0.5, stiffness=1.0)
    >>> field = sj.GaussianField(spectrum, sj.VP())
    >>> print(f"{field.denoise(1.0, jnp.ones((4, 4)))[0, 0]:.3f}")
    0.887
    """

    spectrum: Float[Array, "..."]
    process: AbstractProcess
    mean: Array
    channels = 0

    @readable
    def __repr__(self) -> list[str]:
        return [f"{sides(self.spectrum.shape)} sites", f"mean={number(self.mean)}", repr(self.process)]

    @public
    def __init__(self, spectrum: Float[Array, "..."], process: AbstractProcess, mean: ArrayLike = 0.0):
        require_lattice("spectrum", np.shape(spectrum))
        require(np.ndim(mean) == 0, f"mean must be one number, got shape {np.shape(mean)}.")
        values = concrete(spectrum)
        if values is not None:
            axes = tuple(range(values.ndim))
            mirrored = np.roll(np.flip(values, axes), 1, axes)
            require(bool(np.all(values >= 0)), "spectrum must not be negative.")
            require(np.allclose(values, mirrored, rtol=1e-4), "spectrum must be even in k, for the field to be real.")
        self.spectrum = jnp.asarray(spectrum)
        self.process = process
        self.mean = jnp.asarray(mean)

    @classmethod
    @public
    def from_samples(
        cls, samples: ArrayLike, process: AbstractProcess, mean: float | Array | None = None
    ) -> "GaussianField":
        r"""The stationary Gaussian field with the structure factor of samples; the null of an equivariant model.

        * `samples`: (samples, *lattice), in units of the data, without channels;
        * `process`: the noise;
        * `mean`: the uniform mean that is subtracted, one number in units of the data; by default that of all samples
          and sites. What the mean image has beyond it, which a stationary field can't have, counts as fluctuation.

        $S(k) = \langle|\hat x(k)|^2\rangle/N$ of the deviations, at k = 0 without bias where the mean is measured too.
        Raises `ValueError` for shapes that do not fit, fewer than two samples without a mean, and samples that are not
        known (call it outside `jit`).
        """
        known, given = concrete(samples), concrete(mean) if mean is not None else None
        if known is None or (mean is not None and given is None):
            raise ValueError("samples and mean must be known, to be measured: call this outside jit.")
        least = 1 if given is not None else 2
        require(
            known.ndim >= 2 and known.shape[0] >= least,
            f"samples must have shape (samples >= {least}, *lattice), got {known.shape}.",
        )
        lattice = known.shape[1:]
        require_lattice("each sample", lattice)
        level = np.mean(known, dtype=float) if given is None else given
        spectrum = _mean_power(known, level)
        spectrum.flat[0] *= known.shape[0] / (known.shape[0] - 1) if given is None else 1
        return cls(jnp.asarray(spectrum, known.dtype), process, jnp.asarray(level, known.dtype))

    @public
    def principal_shares(
        self, directions: Float[Array, "modes ..."]
    ) -> tuple[Float[Array, "modes components"], Float[Array, " components"]]:
        """As `AbstractGaussianField` says; the components are the plane waves, in FFT order."""
        require_shape("each of directions", directions.shape[1:], self.spectrum.shape)
        waves = jnp.fft.fftn(directions, axes=range(1, directions.ndim), norm="ortho")
        return jnp.abs(waves.reshape(len(waves), -1)) ** 2, self.spectrum.ravel()

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean given `x` (*lattice) at time `t`."""
        require_shape("x", x.shape, self.spectrum.shape)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        half = self.spectrum[..., : x.shape[-1] // 2 + 1]
        gain = alpha * half / (alpha**2 * half + sigma**2)
        spectrum = jnp.fft.rfftn(x - alpha * self.mean)
        return self.mean + jnp.fft.irfftn(gain.astype(spectrum.dtype) * spectrum, s=x.shape, axes=range(x.ndim))


def _mean_power(samples: np.ndarray, level: ArrayLike) -> np.ndarray:
    """Mean over samples of the structure factor of their deviations, in double precision, some samples at a time."""
    total, lattice = np.zeros(samples.shape[1:]), tuple(range(1, samples.ndim))
    for start in range(0, len(samples), 1024):
        total += np.sum(np.abs(np.fft.fftn(samples[start : start + 1024] - level, axes=lattice)) ** 2, axis=0)
    return total / (len(samples) * total.size)
