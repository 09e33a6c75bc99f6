"""Whether the last axis of a configuration holds sites or channels: said by `channels`, never guessed.

The rule, where nothing is said: one axis is a lattice; so are two, unless the last is shorter and has at most four
sites; three or more are not taken for anything. Sides of one site count for nothing. `channels=0` says that all axes
are the lattice's.
"""

from collections.abc import Sequence
from typing import Any

from softjax._checks._refuse import require, require_lattice

_FEWEST = 5
"""Sites from which on the shorter last axis of two is taken for one of the lattice."""


def lattice_of(name: str, shape: Sequence[int], channels: int | None) -> tuple[int, ...]:
    """The shape of the lattice of a configuration, without its channels, if these are said or there can be none.

    Raises `ValueError` for a shape that does not say it, and for one that does not have those channels.
    """
    shape = tuple(shape)
    require_lattice(name, shape)
    if channels is None:
        _require_plain(name, shape)
        return shape
    require(channels >= 0, f"channels must not be negative, got {channels}; 0 says that there are none.")
    if channels == 0:
        return shape
    fits = len(shape) >= 2 and shape[-1] == channels
    require(fits, f"{name} must have shape (*lattice, {channels}), as channels={channels} says; got {shape}.")
    return shape[:-1]


def require_channel(channel: Any, channels: int | None) -> None:
    """Refuse a number of a channel that there is not."""
    if isinstance(channel, int):
        known = channels or 0
        require(known > 0, f"channel={channel} needs channels=, how many there are on the last axis.")
        require(
            0 <= channel < known,
            f"channel must lie between 0 and {known - 1}, or be 'equal' or 'block'; got {channel}.",
        )


def _require_plain(name: str, shape: tuple[int, ...]) -> None:
    sides = [side for side in shape if side > 1]
    short = len(sides) == 2 and sides[1] < min(sides[0], _FEWEST)
    if short or len(sides) > 2:
        subject = f"shape {shape}" if name == "shape" else f"{name} of shape {shape}"
        raise ValueError(
            f"{subject} may be a lattice of {len(shape)} axes, or one of {len(shape) - 1} with "
            f"{shape[-1]} channels: say channels={shape[-1]}, or channels=0 if all axes are the lattice's. "
            "luminance(x), x[..., 0] and channel_drift(f, x) have one channel, on a lattice. "
            "For a batch of configurations use jax.vmap."
        )
