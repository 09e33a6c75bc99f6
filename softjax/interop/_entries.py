"""The entries of a configuration, each of a known kind: what is not is refused by the names of entry and file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from softjax.convert import CheckpointError
from softjax.convert._parameters import short


class Entries:
    """An object of a JSON file, read entry by entry; each method takes a name and what an absent entry stands for."""

    def __init__(self, path: Path, values: dict[str, Any]):
        self.path, self.values = path, values

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raises `CheckpointError` for an entry."""
        raise CheckpointError(f"{self.path}: {name} is {short(self.values.get(name))}, wanted {wanted}.")

    def count(self, name: str, default: Any, most: int, least: int = 1) -> Any:
        """A whole number, or None where that is the default."""
        value = self.values.get(name, default)
        if value is None and default is None:
            return None
        if type(value) is not int or not least <= value <= most:
            self.refuse(name, f"a whole number from {least} to {most}")
        return value

    def counts(self, name: str, default: Sequence[int], most: int) -> tuple[int, ...]:
        """Several whole numbers."""
        value = self.values.get(name, list(default))
        good = isinstance(value, list) and all(type(entry) is int and 1 <= entry <= most for entry in value)
        if not good or not 1 <= len(value) <= 16:
            self.refuse(name, f"up to 16 whole numbers from 1 to {most}")
        return tuple(value)

    def number(self, name: str, default: float | int, least: float | int, most: float | int) -> float | int:
        """A finite number."""
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
            self.refuse(name, f"a number from {least:g} to {most:g}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self.values.get(name, default)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return value

    def option(self, name: str, default: Any, options: Sequence[Any]) -> Any:
        """One of several."""
        value = self.values.get(name, default)
        if not isinstance(value, str | None) or value not in options:
            self.refuse(name, "one of " + ", ".join(map(repr, options)))
        return value

    def options(self, name: str, default: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
        """Several of several."""
        value = self.values.get(name, list(default))
        good = isinstance(value, list) and all(isinstance(entry, str) and entry in options for entry in value)
        if not good or not 1 <= len(value) <= 16:
            self.refuse(name, "up to 16 of " + ", ".join(map(repr, options)))
        return tuple(value)
