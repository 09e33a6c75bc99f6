r"""The multistep solver for every stochasticity, exact in its stiff linear part (theory.md section 1).

In $y = x/\alpha$ and $\ell = -\ln(\sigma/\alpha)$ the reverse dynamics of every process are
$dy = (1 + \Lambda)(D - y)\,d\ell + \sqrt{2\Lambda}\,(\sigma/\alpha)\,dW_\ell$: with the denoiser $D$ held fixed a step
has a closed form, its noise included, whatever $\Lambda$ and the step. $D$ is extrapolated to the middle of the step
from the last two, one evaluation each: for $\Lambda = 0$ and 1 DPM-Solver++(2M) and SDE-DPM-Solver++(2M) (Lu et al.
2022).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from softjax._types import Array, Configuration
from softjax.dynamics._brownian import interval_noise
from softjax.dynamics._problem import Problem
from softjax.dynamics._scan import scan_grid
from softjax.processes import AbstractProcess


class _State(NamedTuple):
    """The configuration, the last denoised one, and the length in l of the step between them."""

    x: Configuration
    denoised: Configuration
    length: Array


def dpm(problem: Problem, stochasticity: Array | float) -> tuple[Configuration, Any]:
    """The final state, and what was observed; at stochasticity 0.0 the key is not used."""
    field, observe, x0 = problem.field, problem.observe, problem.x0
    quiet = isinstance(stochasticity, float) and stochasticity == 0
    rate = jnp.asarray(stochasticity, x0.dtype)

    def step(index: Array, t: Array, t_next: Array, state: _State) -> _State:
        keep, pull, noise, length = coefficients(field.process, t, t_next, rate)
        denoised = field.denoise(t, state.x)
        ahead = denoised + 0.5 * length / state.length * (denoised - state.denoised)
        x = keep * state.x + pull * ahead
        if not quiet:
            w, _ = interval_noise(problem.key, index, t - t_next, x0.shape)
            x = x + noise / jnp.sqrt(t - t_next) * w
        return _State(x, denoised, length)

    # Of infinite length, the step before the first leaves nothing to extrapolate.
    start = _State(x0, jnp.zeros_like(x0), jnp.asarray(jnp.inf, x0.dtype))
    seen = None if observe is None else lambda t, state: observe(t, state.x)
    end, path = scan_grid(step, problem.ts, start, seen)
    return end.x, path


def coefficients(
    process: AbstractProcess, t: Array, t_next: Array, stochasticity: Array
) -> tuple[Array, Array, Array, Array]:
    """Of a step: factors of the state, of the denoised state and of unit noise, and its length in ln(sigma/alpha).

    A step that ends at zero noise ends in the denoised state, and is given no length.
    """
    ratio, ratio_next = process.noise_to_signal(t), process.noise_to_signal(t_next)
    noisy = ratio_next > 0
    length = jnp.log(ratio / jnp.where(noisy, ratio_next, ratio))
    decay = -(1 + stochasticity) * length
    kept = jnp.where(noisy, jnp.exp(decay), 0)
    replaced = jnp.where(noisy, -jnp.expm1(decay), 1)
    fresh = jnp.where(noisy, -jnp.expm1(-2 * stochasticity * length), 1)
    alpha_next = process.alpha(t_next)
    return (
        alpha_next / process.alpha(t) * kept,
        alpha_next * replaced,
        process.sigma(t_next) * jnp.sqrt(fresh),
        length,
    )
