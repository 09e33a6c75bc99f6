r"""Score of a finite data set: the exact, memorising optimum (theory.md section 2; Eqs. 1, 3)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import lattice_of, public, require, require_lattice, require_shape
from softjax._linalg import matmul
from softjax._repr import channels, readable, sides
from softjax._types import Array, ArrayLike, Configuration, Float, Time
from softjax.fields._base import AbstractEvidenceField
from softjax.fields._dictionary import require_log_prior
from softjax.fields._streamed import slices, streamed_mean
from softjax.processes import AbstractProcess


class EmpiricalField(AbstractEvidenceField):
    r"""Empirical score of the patterns $y_1, \dots, y_K$: $s = \sum_i w_i(\alpha y_i - x)/\sigma^2$, Eq. (1).

    * `patterns`: (K, *shape), in units of the data;
    * `process`: of the noise;
    * `log_prior`: (K,), logarithms of priors that add up to 1, equal by default;
    * `chunk`: patterns compared with at a time;
    * `channels`: how many channels the last axis holds, 0 for none, which probes ask for.

    The weights are $w = \mathrm{softmax}(\alpha\,x\cdot y_i/\sigma^2 - \alpha^2\|y_i\|^2/2\sigma^2 + \log\pi_i)$, the
    evidence is the overlap with each pattern, (K,). `denoise` streams over `chunk` patterns at a time with a running
    log-sum-exp: besides the patterns, a batch of B states holds B x chunk numbers.

    Raises `ValueError` for shapes that do not fit and priors that do not sum to one.

    >>> images = jnp.stack([jnp.ones((4, 4)), -jnp.ones((4, 4))])
    >>> field = sj.EmpiricalField(images, sj.VP())
    >>> print(f"{field.denoise(1.0, 0.1 * images[0])[0, 0]:.3f}")
    0.911
    """

    patterns: Float[Array, "K ..."]
    log_prior: Float[Array, " K"]
    squared_norms: Float[Array, " K"]
    process: AbstractProcess
    chunk: int = eqx.field(static=True)
    channels: int | None = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.patterns.shape
        return [f"{count} patterns of {sides(shape)}", *channels(self.channels), repr(self.process)]

    @public(mixed=True, infinite=("log_prior",))  # the prior takes the precision of the patterns
    def __init__(
        self,
        patterns: ArrayLike,
        process: AbstractProcess,
        log_prior: ArrayLike | None = None,
        chunk: int = 4096,
        channels: int | None = None,
    ):
        count = np.shape(patterns)[0] if np.ndim(patterns) else 0
        require(count >= 1, f"patterns must have shape (K, *shape) with K >= 1, got {np.shape(patterns)}.")
        require_lattice("each pattern", np.shape(patterns)[1:])
        if channels is not None:
            lattice_of("each pattern", np.shape(patterns)[1:], channels)
        require(chunk >= 1, f"chunk must be at least 1, got {chunk}.")
        log_prior = np.full(count, -np.log(count)) if log_prior is None else log_prior
        require_log_prior(log_prior, count)
        self.patterns = jnp.asarray(patterns)
        self.log_prior = jnp.asarray(log_prior, self.patterns.dtype)
        flat = self.patterns.reshape(count, -1)
        self.squared_norms = jnp.sum(flat**2, axis=1)
        self.process = process
        self.chunk = min(chunk, count)
        self.channels = channels

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given `x` (*shape) at time `t`."""
        require_shape("x", x.shape, self.patterns.shape[1:])
        if self.chunk == self.patterns.shape[0]:
            return self.posterior_mean(t, self.evidence(x))
        scale = self.process.alpha(t) / self.process.sigma(t) ** 2
        bias = self._logits(t, jnp.zeros_like(self.squared_norms))
        parts, take = slices(self.chunk, self._flat, bias, self._flat)
        return streamed_mean(scale * x.ravel(), parts, take, (x.size,)).reshape(x.shape)

    def evidence(self, x: Configuration) -> Float[Array, " K"]:
        """Overlap of `x` (*shape) with each pattern, (K,)."""
        require_shape("x", x.shape, self.patterns.shape[1:])
        return matmul(self._flat, x.ravel())

    def posterior_mean(self, t: Time, evidence: Float[Array, " K"]) -> Configuration:
        """Denoiser (*shape) as a function of the overlaps (K,)."""
        weights = jax.nn.softmax(self._logits(t, evidence))
        return matmul(weights, self._flat).reshape(self.patterns.shape[1:])

    @property
    def _flat(self) -> Float[Array, "K sites"]:
        return self.patterns.reshape(self.patterns.shape[0], -1)

    def _logits(self, t: Time, overlap: Float[Array, " K"]) -> Float[Array, " K"]:
        alpha, variance = self.process.alpha(t), self.process.sigma(t) ** 2
        spread = self.squared_norms - jnp.min(self.squared_norms)  # equal norms cancel exactly, not by subtraction
        return alpha / variance * (overlap - 0.5 * alpha * spread) + self.log_prior
