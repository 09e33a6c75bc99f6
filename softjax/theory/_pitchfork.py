r"""The pitchfork of two patterns (theory.md section 2; Eqs. 4, 5).

Projected on $m = y\cdot x/\|y\|^2$, the reverse drift of the patterns ±y is $\dot m = (a - w/\sigma^2)m +
(w\alpha/\sigma^2)\tanh(\alpha\|y\|^2m/\sigma^2)$, with a the damping and w the drift weight of the process (under VP $a
= \beta/2$ and $w = \beta$). Its rest points solve $y = h\tanh y$ with $y = \alpha\|y\|^2m/\sigma^2$ and one parameter
$h$, that of the mean-field magnet: h = 1 at the critical time.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import public, require_decreasing, require_positive
from softjax._types import Array, Float, Time, Times
from softjax.processes import AbstractProcess
from softjax.theory._spectra import linear_growth_rate


class BifurcationDiagram(eqx.Module):
    r"""Rest points of the projected drift over time; the other branch is the mirror image.

    * `ts`: (times,), decreasing;
    * `growth_rate`: (times,), that of the symmetric point m = 0, per unit of t: unstable where positive;
    * `equilibrium`: (times,), the stable rest point m >= 0; 0 while the symmetric point is stable;
    * `near_onset`: (times,), its leading term $\sqrt{\lambda/g}$;
    * `relaxation_rate`: (times,), growth rate at the stable rest point, negative.

    >>> diagram = sj.theory.bifurcation_diagram(sj.VP(), [4.0, 2.0, 1.0], 9.0)
    >>> print(np.asarray(diagram.equilibrium).round(3), np.asarray(diagram.relaxation_rate).round(2))
    [0.    0.638 0.887] [-0.35 -0.61 -1.08]
    """

    ts: Times
    growth_rate: Float[Array, " times"]
    equilibrium: Float[Array, " times"]
    near_onset: Float[Array, " times"]
    relaxation_rate: Float[Array, " times"]


def cubic_coefficient(process: AbstractProcess, t: Time, count: Time | int) -> Float[Array, ""]:
    r"""$g = \beta\alpha^4n^3/3\sigma^8$ under VP: minus the cubic coefficient of the drift of a mean over n sites.

    Of the pitchfork with $n = \|y\|^2$, Eq. (5), and of the Landau theory with n = P, Eq. (25). Per unit of t.
    """
    return process.drift_weight(t) * process.alpha(t) ** 4 * _real(count) ** 3 / (3 * process.sigma(t) ** 8)


@public
def pitchfork_equilibrium(process: AbstractProcess, t: Time, squared_norm: Time | int) -> Float[Array, ""]:
    r"""Stable rest point $m^* \ge 0$ of the two-pattern reverse drift at frozen t, in units of the pattern, Eq. (5).

    * `process`: of the noise;
    * `t`: the time;
    * `squared_norm`: $\|y\|^2$, in units of the data squared.

    Under VP the root of $(\tfrac12 - 1/\sigma^2)m + (\alpha/\sigma^2)\tanh(\alpha\|y\|^2m/\sigma^2) = 0$; the other is
    its negative. 0 while the symmetric point is stable. Differentiable on either side of the onset. Raises
    `ValueError` unless t and the norm are positive.

    >>> print([f"{sj.theory.pitchfork_equilibrium(sj.VP(), t, 9.0):.3f}" for t in (4.0, 2.5, 1.0)])
    ['0.000', '0.452', '0.887']
    """
    h, unstable, scale = _parameter(process, t, squared_norm)
    return jnp.where(unstable, _magnet(jnp.where(unstable, h, 2)) * scale, 0)


@public
def pitchfork_near_onset(process: AbstractProcess, t: Time, squared_norm: Time | int) -> Float[Array, ""]:
    r"""Leading form $\sqrt{\lambda_\parallel/g}$ of `pitchfork_equilibrium` just after the onset; 0 before it.

    * `process`, `t`, `squared_norm`: as there.

    >>> exact, near = sj.theory.pitchfork_equilibrium, sj.theory.pitchfork_near_onset
    >>> print(f"{exact(sj.VP(), 2.89, 9.0):.4f} {near(sj.VP(), 2.89, 9.0):.4f}")
    0.0454 0.0453
    """
    _, unstable, _ = _parameter(process, t, squared_norm)
    rate = linear_growth_rate(process, t, _real(squared_norm))
    ratio = rate / cubic_coefficient(process, t, squared_norm)
    return jnp.where(unstable, jnp.sqrt(jnp.where(unstable, ratio, 1)), 0)


@public
def bifurcation_diagram(process: AbstractProcess, ts: Times, squared_norm: Time | int) -> BifurcationDiagram:
    r"""Branches of the two-pattern model and their stability on a decreasing grid of positive times.

    * `process`: of the noise;
    * `ts`: (times,), the grid, decreasing and positive;
    * `squared_norm`: $\|y\|^2$: N for a ±1 pattern on N sites, P for the uniform state of the patch model.

    >>> diagram = sj.theory.bifurcation_diagram(sj.VP(), sj.log_grid(4.0, 1.0, 2), 9.0)
    >>> print(np.asarray(diagram.growth_rate).round(3), np.asarray(diagram.equilibrium).round(3))
    [-0.348  0.973  7.204] [0.    0.638 0.887]
    """
    require_decreasing("ts", ts)
    require_positive("ts", ts)
    require_positive("squared_norm", squared_norm)

    def branches(t: Array) -> tuple[Array, ...]:
        m, n = pitchfork_equilibrium(process, t, squared_norm), _real(squared_norm)
        bend = jnp.cosh(process.alpha(t) * n * m / process.sigma(t) ** 2) ** -2
        rates = (linear_growth_rate(process, t, n), linear_growth_rate(process, t, n * bend))
        return rates[0], m, pitchfork_near_onset(process, t, squared_norm), rates[1]

    return BifurcationDiagram(ts, *jax.vmap(branches)(ts))


def _parameter(process: AbstractProcess, t: Time, squared_norm: Time | int) -> tuple[Array, Array, Array]:
    """The parameter h, whether it exceeds 1, and m / y."""
    require_positive("t", t)
    require_positive("squared_norm", squared_norm)
    n, variance = _real(squared_norm), process.sigma(t) ** 2
    restoring = 1 - variance * process.damping(t) / process.drift_weight(t)
    scale = variance / (process.alpha(t) * n)
    h = process.alpha(t) / (scale * restoring)
    return h, h > 1, scale


def _magnet(h: Array) -> Array:
    """The root y > 0 of y = h tanh(y), for h > 1.

    From coth y - 1/y >= y / (3 + y) the start is to the right of the root. There the residual is concave, so that
    Newton's method falls to the root without overshooting; near h = 1, where the root is nearly double, the start is
    sharp.
    """
    e = h - 1
    y = jnp.minimum(h, 0.5 * (e + jnp.sqrt(e**2 + 12 * e)))
    for _ in range(8):
        tanh = jnp.tanh(y)
        y = y - (h * tanh - y) / (h * (1 - tanh**2) - 1)
    return y


def _real(value: Time | int) -> Array:
    return 1.0 * jnp.asarray(value)  # a count is often an integer, whose powers would overflow
