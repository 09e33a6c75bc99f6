r"""How far a network's score is from others: which is nearer, the local or the memorising one.

With $s = (\alpha D - x)/\sigma^2$ two scores of one state differ by $\sigma^2\|s - s'\|^2/N = \alpha^2\|D - D'\|^2/
(\sigma^2N)$ a site, in units of the score of unit noise: a number without unit that can be compared between times.
"""

import jax
import jax.numpy as jnp

from softjax._types import Array, Float, Times
from softjax.fields import AbstractField
from softjax.processes import AbstractProcess


def score_distance(process: AbstractProcess, ts: Times, denoised: Array, others: Array) -> Float[Array, "times states"]:
    r"""$\sigma^2\|s - s'\|^2/N$ of the scores that two denoised images of the same noisy one stand for.

    * `process`: the noise;
    * `ts`: (times,), positive;
    * `denoised`, `others`: (times, states, *lattice), in units of the data.
    """
    signal = jax.vmap(lambda t: 1 / process.noise_to_signal(t))(ts)
    squares = jnp.mean((denoised - others) ** 2, axis=tuple(range(2, denoised.ndim)))
    return signal[:, None] ** 2 * squares


def score_gap(
    process: AbstractProcess, ts: Times, network: Array, local: Array, memorising: Array
) -> Float[Array, "times states"]:
    r"""$\sigma^2(\|s - s_{local}\|^2 - \|s - s_{global}\|^2)/N$: negative where the network is nearer the local score.

    * `process`, `ts`: as for `score_distance`;
    * `network`, `local`, `memorising`: what the three make of the same states, (times, states, *lattice).

    The mean over states is the gap; states differ independently.
    """
    return score_distance(process, ts, network, local) - score_distance(process, ts, network, memorising)


def score_gap_at(
    network: AbstractField,
    local: AbstractField,
    memorising: AbstractField,
    ts: Times,
    states: Float[Array, "times states ..."],
) -> Float[Array, "times states"]:
    """`score_gap` of three fields of one process at states (times, states, *lattice) of their own times."""

    def denoised(field: AbstractField) -> Array:
        return jax.lax.map(lambda tx: jax.lax.map(lambda x: field.denoise(tx[0], x), tx[1]), (ts, states))

    return score_gap(network.process, ts, *(denoised(field) for field in (network, local, memorising)))
