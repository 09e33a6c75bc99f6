r"""Posterior mean of a site under a finite mixture, with its derivative in closed form.

The mixture comes in R groups. Group b has a member of logit $u_b + b_b^+$ and, if it is paired, a mirror of logit
$-u_b + b_b^-$; the members take values $y_b^\pm$ at the site. With $p$ the softmax over all members,
$D = \sum p\,y$ and $dD = \sum p\,(y - D)\,d(\text{logit})$.

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


class Members(eqx.Module):
    """One number per group for its members and, meaningful where the group is paired, for their mirrors; each (R,)."""

    plus: Array
    minus: Array


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def mixture_mean(u: Sequence[Array], bias: Members, value: Members, paired: tuple[bool, ...]) -> Array:
    """Posterior mean D at every site: `u` holds R arrays (*lattice), the result is (*lattice)."""
    plus, minus = _weights(u, bias, paired)
    numerator = _total([w * value.plus[b] for b, w in enumerate(plus)] + [w * value.minus[b] for b, w in minus.items()])
    return numerator / _total([*plus, *minus.values()])


@partial(mixture_mean.defjvp, symbolic_zeros=True)
def _mixture_mean_jvp(paired: tuple[bool, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, bias, value = primals
    du, dbias, dvalue = tangents
    mean = mixture_mean(u, bias, value, paired)
    plus, minus = _weights(u, bias, paired)
    inverse_total = 1 / _total([*plus, *minus.values()])
    pull = [w * (value.plus[b] - mean) * inverse_total for b, w in enumerate(plus)]
    push = {b: w * (value.minus[b] - mean) * inverse_total for b, w in minus.items()}
    terms = [
        (pull[b] - push[b] if b in push else pull[b]) * du_b
        for b, du_b in enumerate(du)
        if not isinstance(du_b, SymbolicZero)
    ]
    for slopes, tangent in ((pull, dbias.plus), (push, dbias.minus)):
        terms += _along(slopes, tangent)
    for weights, tangent in ((plus, dvalue.plus), (minus, dvalue.minus)):
        terms += [term * inverse_total for term in _along(weights, tangent)]
    return mean, _total(terms) if terms else jnp.zeros_like(mean)


def _weights(u: Sequence[Array], bias: Members, paired: tuple[bool, ...]) -> tuple[list[Array], dict[int, Array]]:
    """Posterior weights of members and mirrors, up to one common factor that keeps the largest at 1."""
    mirrored = [b for b, pair in enumerate(paired) if pair]
    peak = reduce(jnp.maximum, [u_b + bias.plus[b] for b, u_b in enumerate(u)])
    peak = reduce(jnp.maximum, [bias.minus[b] - u[b] for b in mirrored], peak)
    peak = jax.lax.stop_gradient(peak)
    plus = [jnp.exp(u_b + (bias.plus[b] - peak)) for b, u_b in enumerate(u)]
    return plus, {b: jnp.exp((bias.minus[b] - peak) - u[b]) for b in mirrored}


def _along(slopes: list[Array] | dict[int, Array], tangent: Array | SymbolicZero) -> list[Array]:
    if isinstance(tangent, SymbolicZero):
        return []
    items = slopes.items() if isinstance(slopes, dict) else enumerate(slopes)
    return [slope * tangent[b] for b, slope in items]


def _total(terms: Sequence[Array]) -> Array:
    return reduce(jnp.add, terms)
