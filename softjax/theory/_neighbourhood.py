"""Neighbourhoods of a site: which sites a local score sees, as offsets from its centre."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from softjax._checks import require

Neighbourhood = int | Sequence[int] | np.ndarray
"""An odd side w of a hypercube, one odd side per axis, or a boolean mask with odd sides around its centre."""


def neighbourhood_offsets(neighbourhood: Neighbourhood, ndim: int) -> np.ndarray:
    """Offsets of the P sites of a neighbourhood from its centre, (P, ndim); `ValueError` for even sides and P < 1."""
    require(1 <= ndim <= 3, f"ndim must be 1, 2 or 3, got {ndim}.")
    given = np.asarray(neighbourhood)
    numbers = given.dtype == bool or np.issubdtype(given.dtype, np.integer)
    require(numbers and given.size > 0, f"patch_size must be odd integers or a boolean mask, got {neighbourhood!r}.")
    sides = given.shape if given.dtype == bool else tuple(np.broadcast_to(given, (ndim,)) if given.ndim == 0 else given)
    require(
        len(sides) == ndim, f"the neighbourhood must have one side per lattice axis, {ndim}; got {len(sides)}: {sides}."
    )
    require(
        all(side >= 1 and side % 2 == 1 for side in sides),
        f"patch_size must be odd, got {neighbourhood if given.ndim < 1 else tuple(map(int, sides))}.",
    )
    sites = np.asarray(list(product(*(range(-(int(side) // 2), int(side) // 2 + 1) for side in sides))))
    chosen = sites[given.ravel()] if given.dtype == bool else sites
    require(len(chosen) >= 1, "the neighbourhood must have at least one site, P >= 1; the mask is empty.")
    return chosen


def neighbourhood_volume(neighbourhood: Neighbourhood, ndim: int) -> int:
    """Number of sites P."""
    return len(neighbourhood_offsets(neighbourhood, ndim))


def neighbourhood_symbol(neighbourhood: Neighbourhood, shape: Sequence[int]) -> np.ndarray:
    r"""$\sum_{r\in N}e^{ik\cdot r}$, shape (*shape), in FFT order; real if the neighbourhood is even in r."""
    offsets = neighbourhood_offsets(neighbourhood, len(shape))
    sides = 2 * np.max(np.abs(offsets), axis=0) + 1
    fits = bool(np.all(sides <= np.asarray(shape)))
    require(fits, f"the neighbourhood, {tuple(map(int, sides))}, must fit on the lattice, {tuple(shape)}.")
    indicator = np.zeros(tuple(shape))
    np.add.at(indicator, tuple((offsets % np.asarray(shape)).T), 1)
    symbol = np.conj(np.fft.fftn(indicator))
    even = {tuple(r) for r in offsets} == {tuple(-r) for r in offsets}
    return np.real(symbol) if even else symbol
