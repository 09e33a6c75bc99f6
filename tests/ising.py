"""Configurations of the two-dimensional Ising model in equilibrium: a referee for correlation lengths and scaling."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def ising_configurations(
    k: float, side: int, num: int, seed: int, chains: int = 16, burn: int = 60, every: int = 10
) -> np.ndarray:
    """`num` configurations (num, side, side) of +-1.0 on the periodic square lattice, by Swendsen-Wang updates.

    * `k`: coupling over temperature, critical at log(1 + sqrt 2) / 2 = 0.44069;
    * `chains`: how many independent chains share the work; `burn` updates come first, then one sample each `every`.

    Sample j is of chain j % chains, so that neighbours are independent. At criticality the energy of 64 x 64 sites
    has a correlation time of about five updates.
    """
    rng = np.random.default_rng(seed)
    chains = min(chains, num)
    spins = rng.integers(0, 2, (chains, side, side)) * 2.0 - 1.0
    rounds, samples = -(-num // chains), []
    for step in range(burn + every * (rounds - 1) + 1):
        spins = _update(k, spins, rng)
        if step >= burn and (step - burn) % every == 0:
            samples.append(spins)
    return np.concatenate(samples)[:num]


def correlation_length(k: float) -> float:
    """Exact, along an axis above the critical temperature (Onsager), in sites: 1 / (log coth k - 2 k)."""
    return 1 / (-np.log(np.tanh(k)) - 2 * k)


def _update(k: float, spins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bonds between equal neighbours with probability 1 - exp(-2 k); each cluster draws a new sign."""
    sites = np.arange(spins.size).reshape(spins.shape)
    bonds = []
    for axis in (1, 2):
        joined = (spins == np.roll(spins, -1, axis)) & (rng.random(spins.shape) < -np.expm1(-2 * k))
        bonds.append(np.stack([sites[joined], np.roll(sites, -1, axis)[joined]]))
    rows, columns = np.concatenate(bonds, axis=1)
    graph = coo_array((np.ones(rows.size, np.int8), (rows, columns)), shape=(spins.size, spins.size))
    count, cluster = connected_components(graph, directed=False)
    return (rng.integers(0, 2, count) * 2.0 - 1.0)[cluster].reshape(spins.shape)
