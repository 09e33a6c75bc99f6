"""What a configuration may ask for: checked where it is made, so that no network is built of numbers that can't be."""

import math
import operator
from collections.abc import Mapping
from typing import Any

from softjax._checks import require

MAX_BLOCKS, MAX_LEVELS, MAX_SIZE, MAX_CLASSES = 256, 16, 2**16, 2**20
"""Blocks of one level or network, levels, channels or pixels, and classes: far beyond any network."""


def normalise_counts(config: Any, largest: Mapping[str, int]) -> None:
    """Makes integers, and tuples of at most `MAX_LEVELS`, of the named entries of a frozen configuration.

    Raises `ValueError` for what is no integer, or larger; None is left alone where it is the default.
    """
    for name, most in largest.items():
        value: Any = getattr(config, name)
        default = getattr(type(config), name)
        if value is None and default is None:
            continue
        if not isinstance(default, tuple):
            object.__setattr__(config, name, _count(name, value, most))
            continue
        good = isinstance(value, list | tuple) and len(value) <= MAX_LEVELS
        require(good, f"{name} must be a tuple of at most {MAX_LEVELS} integers, got {_shown(value)}.")
        several: Any = value
        entries = tuple(_count(f"each entry of {name}", entry, most) for entry in several)
        object.__setattr__(config, name, entries)


def require_numbers(config: Any, *names: str) -> None:
    """Refuses what is no finite number in the named entries of a configuration, or in tuples of them."""
    for name in names:
        value: Any = getattr(config, name)
        default = getattr(type(config), name)
        if value is None and (default is None or name == "clip_act"):
            continue
        several = isinstance(default, tuple)
        good = not several or (isinstance(value, list | tuple) and len(value) <= MAX_LEVELS)
        require(good, f"{name} must be a tuple of at most {MAX_LEVELS} numbers, got {_shown(value)}.")
        entries: Any = value if several else (value,)
        good = all(_is_number(entry) for entry in entries)
        require(good, f"{name} must be {'finite numbers' if several else 'a finite number'}, got {_shown(value)}.")


def require_flag(config: Any, name: str) -> None:
    """Refuses what is not True or False."""
    value = getattr(config, name)
    require(isinstance(value, bool), f"{name} must be True or False, got {_shown(value)}.")


def _count(name: str, value: Any, most: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool) or abs(count) > most:
        raise ValueError(f"{name} must be an integer up to {most}, got {_shown(value)}.")
    return count


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _shown(value: Any) -> str:
    """A value, cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | tuple | dict) else repr(type(value))
