r"""Response of a pattern field to directions that vary along one axis only, from averages over the other axes.

Of a field whose denoiser at site i is a function of the overlaps with B patterns, with the slopes
$s_b(i) = \partial D_i/\partial u_b(i)$, the Jacobian of the reverse drift acts on a direction v with evidence $e_b$ as
$(Jv)_i = c\,v_i + c'\sum_b s_b(i)\,e_b(i)$ (theory.md section 5). Where v varies along one axis, so does $e_b$; with
the means $m_b$ of the slopes and $d_b = s_b - m_b$, sums over the other axes of $d_b$ and of $d_bd_{b'}$ are all that
$\langle v, Jv\rangle$ and $\|Jv\|^2$ need, whatever the number of directions.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from softjax._linalg import matmul
from softjax._types import Array, Configuration, Float, Time
from softjax.fields import AbstractField, AbstractPatternField
from softjax.processes import AbstractProcess
from softjax.spectral import FourierModes


class AxisWaves(eqx.Module):
    """Directions of unit norm that vary along one axis, by axis.

    * `members`: for each axis, the numbers of its directions;
    * `profiles`: for each axis of length L, its directions, (directions, L);
    * `evidence`: their overlaps with the patterns of the field, (B, directions * L);
    * `weights`: products of a direction and its overlaps, (B * L, directions);
    * `products`: products of two overlaps, (B * B * L, directions).
    """

    members: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    profiles: tuple[Float[Array, "_ _"], ...]
    evidence: tuple[Float[Array, "_ _"], ...]
    weights: tuple[Float[Array, "_ _"], ...]
    products: tuple[Float[Array, "_ _"], ...]


class Linear(NamedTuple):
    """How the drift follows the denoiser: J = identity + gain dD/dx."""

    identity: Array
    gain: Array

    @classmethod
    def of(cls, process: AbstractProcess, t: Time) -> "Linear":
        """That of the reverse drift at time `t`."""
        weight = process.drift_weight(t) / process.sigma(t) ** 2
        return cls(process.damping(t) - weight, weight * process.alpha(t))


def axis_waves(field: AbstractField, modes: FourierModes) -> AxisWaves | None:
    """The modes by axis; None where one varies along two axes or isn't known yet, or the field has no patterns."""
    if not isinstance(field, AbstractPatternField) or isinstance(modes.directions, Tracer):
        return None
    try:
        patterns = field.evidence_patterns
    except ValueError:
        return None
    jax.eval_shape(field.evidence, modes.directions[0])  # for its refusals
    found = _by_axis(np.asarray(modes.directions))
    return None if found is None else AxisWaves(*found, *_overlaps(patterns, found[1]))


def respond_to_axis_waves(
    field: AbstractPatternField, waves: AxisWaves, drift: Linear, t: Time, x: Configuration
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    """Rayleigh quotients and magnitudes at state `x`, in the order of the modes."""
    slopes = field.slopes(t, field.evidence(x))
    mean = jnp.mean(slopes, axis=tuple(range(1, slopes.ndim)))
    apart = slopes - mean.reshape(-1, *(1,) * x.ndim)
    first, second = _marginals(apart)
    lines = zip(waves.profiles, waves.evidence, waves.weights, waves.products, first, second, strict=True)
    parts = [_quadratic(drift, x.size, mean, *of_one) for of_one in lines]
    rayleigh, square = (jnp.concatenate(values) for values in zip(*parts, strict=True))
    order = np.argsort(np.concatenate([np.asarray(members, int) for members in waves.members]))
    return rayleigh[order], jnp.sqrt(jnp.maximum(square[order], 0))


def _marginals(apart: Float[Array, "B ..."]) -> tuple[list[Array], list[Array]]:
    """For each axis of length L: sums over all others, (B, L), and those of products of two slopes, (B, B, L)."""
    axes = range(1, apart.ndim)
    others = [tuple(axis for axis in axes if axis != kept) for kept in axes]

    def with_all(one: Array) -> list[Array]:
        return [jnp.sum(one * apart, axis=axes) for axes in others]

    return [jnp.sum(apart, axis=axes) for axes in others], jax.lax.map(with_all, apart)


def _quadratic(
    drift: Linear,
    sites: int,
    mean: Array,
    profiles: Array,
    evidence: Array,
    weights: Array,
    products: Array,
    first: Array,
    second: Array,
) -> tuple[Array, Array]:
    """Rayleigh quotients and squared magnitudes of the directions of one axis.

    The response is that of slopes equal to their mean, and what they vary by.
    """
    rows = sites // profiles.shape[1]
    uniform = drift.identity * profiles + drift.gain * matmul(mean, evidence).reshape(profiles.shape)
    varying = drift.gain * matmul(first.ravel(), weights)
    rayleigh = rows * jnp.sum(profiles * uniform, axis=1) + varying
    paired = matmul((second + 2 * mean[:, None, None] * first).ravel(), products)
    square = rows * jnp.sum(uniform**2, axis=1) + 2 * drift.identity * varying + drift.gain**2 * paired
    return rayleigh, square


def _by_axis(directions: np.ndarray) -> tuple[tuple[tuple[int, ...], ...], tuple[Array, ...]] | None:
    ndim = directions.ndim - 1
    members: list[list[int]] = [[] for _ in range(ndim)]
    profiles: list[list[np.ndarray]] = [[] for _ in range(ndim)]
    for number, direction in enumerate(directions):
        lines = [np.moveaxis(direction, axis, -1).reshape(-1, direction.shape[axis]) for axis in range(ndim)]
        axis = next((axis for axis, rows in enumerate(lines) if np.all(rows == rows[0])), None)
        if axis is None:
            return None
        members[axis].append(number)
        profiles[axis].append(lines[axis][0])
    stacked = tuple(
        jnp.asarray(np.reshape(lines, (len(lines), side)), directions.dtype)
        for lines, side in zip(profiles, directions.shape[1:], strict=True)
    )
    return tuple(map(tuple, members)), stacked


@eqx.filter_jit
def _overlaps(patterns: Float[Array, "B ..."], profiles: tuple[Array, ...]) -> tuple[tuple[Array, ...], ...]:
    """Evidence, weights and products: patterns summed over the other axes, shifted along the one of the directions."""
    found = []
    for axis, lines in enumerate(profiles):
        kept = jnp.sum(patterns, axis=tuple(other for other in range(1, patterns.ndim) if other != axis + 1))
        count, middle = kept.shape[0], kept.shape[1] // 2
        seen = jnp.stack([jnp.roll(lines, middle - r, axis=1) for r in range(kept.shape[1])])
        evidence = jnp.sum(kept.T[:, :, None, None] * seen[:, None], axis=0)  # (B, directions, L)
        weights = jnp.moveaxis(evidence * lines, 1, 2).reshape(count * lines.shape[1], len(lines))
        products = jnp.moveaxis(evidence[:, None] * evidence, 2, 3).reshape(count**2 * lines.shape[1], len(lines))
        found.append((evidence.reshape(count, lines.size), weights, products))
    evidence, weights, products = zip(*found, strict=True)
    return evidence, weights, products
