r"""Score of a stationary Gaussian field: linear, diagonal in Fourier space, exactly solvable."""

import jax.numpy as jnp
import numpy as np

from softjax._checks import concrete, public, require, require_lattice, require_shape
from softjax._repr import number, readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Time
from softjax.fields._base import AbstractField
from softjax.processes import AbstractProcess


class GaussianField(AbstractField):
    r"""Gaussian data with structure factor $S(k)$ and uniform mean $\mu$ on a periodic lattice.

    $\hat D = \mu + \alpha S(\hat x - \alpha\mu)/(\alpha^2 S + \sigma^2)$, so that every Fourier mode is an
    eigenvector of the reverse drift, with growth rate $\beta[\tfrac12 - 1/(\alpha^2 S(k) + \sigma^2)]$ under VP.

    `spectrum` has shape (*lattice), in FFT order, non-negative and even in k (`free_field_spectrum` makes one;
    a constant one is white data). Raises `ValueError` otherwise.
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

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean given `x` (*lattice) at time `t`."""
        require_shape("x", x.shape, self.spectrum.shape)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        half = self.spectrum[..., : x.shape[-1] // 2 + 1]
        gain = alpha * half / (alpha**2 * half + sigma**2)
        spectrum = jnp.fft.rfftn(x - alpha * self.mean)
        return self.mean + jnp.fft.irfftn(gain.astype(spectrum.dtype) * spectrum, s=x.shape, axes=range(x.ndim))
