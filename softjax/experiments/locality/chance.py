"""How well two models agree on the images that they make of the same noise, and what chance would give.

With r the correlation of the network's image i with another model's image j, the agreement is the mean of r over pairs
of the same noise, i = j. Chance is what remains if the model knows nothing of the noise, its mean over pairs i != j; or
nothing but the class, over those of the same label; or what one image of every class gives, the mean of its data.
Intervals are those of the jackknife over images, each left out as i and as j, with Student's t.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

CHANCES = ("other", "label", "mean")
"""Other noise; other noise, same label; the mean image of the class."""


class Estimate(NamedTuple):
    """A mean over images, with its 95% interval."""

    value: float
    interval: tuple[float, float]


class Agreement(NamedTuple):
    """Agreement of one model with the network, and for each of `CHANCES` what it gives and what is beyond it."""

    own: Estimate
    chance: dict[str, Estimate]
    excess: dict[str, Estimate]


def agreement(pairs: np.ndarray, labels: np.ndarray, means: np.ndarray) -> Agreement:
    """From correlations, or their squares.

    * `pairs`: (n, n), the network's image i (rows) with the model's image j (columns);
    * `labels`: (n,), the class of the noise;
    * `means`: (n,), the network's image with the mean image of its class.

    NaN where a label has no second image, or there are too few images.
    """
    own, same = np.diag(pairs), labels[:, None] == labels

    def others(kept: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """For each image, the mean over others that are kept."""
        partners = allowed & ~np.eye(len(pairs), dtype=bool) & np.isin(np.arange(len(pairs)), kept)
        number = partners.sum(axis=1)[kept]
        sums = np.where(partners, pairs, 0).sum(axis=1)[kept]
        return np.divide(sums, number, out=np.full(kept.size, np.nan), where=number > 0)

    by_chance: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "other": lambda kept: others(kept, np.ones_like(same)),
        "label": lambda kept: others(kept, same),
        "mean": lambda kept: means[kept],
    }
    return Agreement(
        jackknife(lambda kept: own[kept], len(pairs)),
        {name: jackknife(chance, len(pairs)) for name, chance in by_chance.items()},
        {
            name: jackknife(lambda kept, chance=chance: own[kept] - chance(kept), len(pairs))
            for name, chance in by_chance.items()
        },
    )


def jackknife(values: Callable[[np.ndarray], np.ndarray], number: int) -> Estimate:
    """The mean of values of those items that are kept, NaN left out, and its interval by leaving out one at a time."""
    every = np.arange(number)

    def mean(kept: np.ndarray) -> float:
        known = values(kept)
        known = known[np.isfinite(known)]
        return float(known.mean()) if known.size else np.nan

    value, without = mean(every), np.asarray([mean(np.delete(every, item)) for item in every])
    if number < 3 or not np.all(np.isfinite(without)):
        return Estimate(value, (np.nan, np.nan))
    error = np.sqrt((number - 1) / number * np.sum((without - without.mean()) ** 2))
    reach = float(stats.t.ppf(0.975, number - 1) * error)
    return Estimate(value, (value - reach, value + reach))
