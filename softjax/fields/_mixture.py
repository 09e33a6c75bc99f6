r"""Posterior mean of a site under a finite mixture, with its derivative in closed form.

The mixture comes in groups. Group b has a member of logit $u_b + b_b^+$ and value $y_b$ and, if paired, a mirror of
logit $-u_b + b_b^-$ and value $-y_b$. With $p$ the softmax over all members, $D = \sum p\,y$ and
$dD = \sum p\,(y - D)\,d(\text{logit})$.

Groups are a Python sequence, so that XLA fuses one site's whole posterior into one loop; each sum over the
groups is unrolled on purpose.
"""

from collections.abc import Sequence
from functools import partial, reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softjax._types import Array


class Groups(eqx.Module):
    """Log weights of members and of their mirrors, and the members' values; each (groups,).

    `bias_mirror` means nothing where a group has no mirror.
    """

    bias: Array
    bias_mirror: Array
    value: Array


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def mixture_mean(u: Sequence[Array], groups: Groups, paired: tuple[bool, ...]) -> Array:
    """Posterior mean D at every site: `u` holds one array (*lattice) per group, the result is (*lattice)."""
    top, total = _tops(u, groups, paired), []
    peak = reduce(jnp.maximum, [logit for _, logit in top])
    numerator = []
    for b, (tilt, logit) in enumerate(top):
        weight = jnp.exp(logit - peak)
        fade = _fade(tilt, paired[b])
        difference = weight * (1 - fade)
        numerator.append(groups.value[b] * (jnp.copysign(difference, tilt) if paired[b] else difference))
        total.append(weight * (1 + fade))
    return _sum(numerator) / _sum(total)


@partial(mixture_mean.defjvp, symbolic_zeros=True)
def _mixture_mean_jvp(paired: tuple[bool, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, groups, du, dgroups = *primals, *tangents
    member, mirror = _posterior(u, groups, paired)
    excess = [p - q for p, q in zip(member, mirror, strict=True)]
    mean = _sum([groups.value[b] * e for b, e in enumerate(excess)])
    pull = [p * (groups.value[b] - mean) for b, p in enumerate(member)]
    push = [-q * (groups.value[b] + mean) for b, q in enumerate(mirror)]
    terms = [(pull[b] - push[b]) * du_b for b, du_b in enumerate(du) if not isinstance(du_b, SymbolicZero)]
    for slope, tangent in ((pull, dgroups.bias), (push, dgroups.bias_mirror), (excess, dgroups.value)):
        if not isinstance(tangent, SymbolicZero):
            terms += [slope[b] * tangent[b] for b in range(len(u))]
    return mean, _sum(terms) if terms else jnp.zeros_like(mean)


def mixture_slopes(u: Array, groups: Groups, paired: tuple[bool, ...]) -> Array:
    """Derivatives of D in `u` (groups, *lattice) at every site, (groups, *lattice).

    A logarithm of the sum of all weights rounds as the greatest logit does, which single precision feels at small
    noise; `left` is what that leaves out. Logits are those of `_tops`, so that the weights add up to 1.
    """
    mean, top = mixture_mean(tuple(u), groups, paired), _tops(tuple(u), groups, paired)
    peak = reduce(jnp.maximum, [logit for _, logit in top])
    pairs = zip(paired, top, strict=True)
    total = _sum([jnp.exp(logit - peak) * (1 + _fade(tilt, mirrored)) for mirrored, (tilt, logit) in pairs])
    log_total = peak + jnp.log(total)
    left = jnp.exp(peak - log_total) * total
    columns = (groups.bias, groups.bias_mirror, groups.value, jnp.asarray(paired))
    bias, bias_mirror, value, mirrored = (column.reshape(-1, *(1,) * mean.ndim) for column in columns)
    tilt = jnp.where(mirrored, u + 0.5 * (bias - bias_mirror), jnp.inf)
    sign = jnp.where(tilt >= 0, 1.0, -1.0).astype(mean.dtype)  # |tilt| has no derivative where both weigh the same
    logit = jnp.where(mirrored, sign * tilt + 0.5 * (bias + bias_mirror), u + bias)
    fade = jnp.exp(-2 * sign * tilt)
    return jnp.exp(logit - log_total) / left * ((1 + fade) * value - sign * (1 - fade) * mean)


def _posterior(u: Sequence[Array], groups: Groups, paired: tuple[bool, ...]) -> tuple[list[Array], list[Array]]:
    """Posterior probabilities of members and mirrors, smooth in `u` to all orders."""
    peak = jax.lax.stop_gradient(reduce(jnp.maximum, [logit for _, logit in _tops(u, groups, paired)]))
    member = [jnp.exp(u_b + (groups.bias[b] - peak)) for b, u_b in enumerate(u)]
    mirror = [
        jnp.exp((groups.bias_mirror[b] - peak) - u_b) if paired[b] else jnp.zeros_like(u_b) for b, u_b in enumerate(u)
    ]
    scale = 1 / _sum([*member, *mirror])
    return [scale * p for p in member], [scale * q for q in mirror]


def _fade(tilt: Array, paired: bool) -> Array:
    """The lesser weight of a pair over the greater; 0 where there is no mirror."""
    return jnp.exp(-2 * jnp.abs(tilt)) if paired else jnp.zeros_like(tilt)


def _tops(u: Sequence[Array], groups: Groups, paired: tuple[bool, ...]) -> list[tuple[Array, Array]]:
    """Per group: half the logit difference of member and mirror, and the larger logit."""
    middle = 0.5 * (groups.bias + groups.bias_mirror)
    tilt = 0.5 * (groups.bias - groups.bias_mirror)
    return [
        (u_b + tilt[b], jnp.abs(u_b + tilt[b]) + middle[b]) if paired[b] else (u_b, u_b + groups.bias[b])
        for b, u_b in enumerate(u)
    ]


def _sum(terms: Sequence[Array]) -> Array:
    return reduce(jnp.add, terms)
