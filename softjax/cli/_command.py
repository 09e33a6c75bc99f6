"""What every command of softjax can do."""

from abc import ABC, abstractmethod

MORE_MEMORY = "Close other programs, or take a machine with more."


class Command(ABC):
    """One command, with its options as fields."""

    uses_devices = True
    """Whether JAX must find something to compute on."""

    def check(self) -> None:
        """Raises `ValueError` for options that make no sense, before anything costs time."""
        return

    def devices_for(self) -> int | None:
        """A number of CPU devices among which the work can be divided; None leaves that to JAX."""
        return None

    @abstractmethod
    def carry_out(self) -> int:
        """Does the work; returns the exit code."""

    @abstractmethod
    def what_remains(self) -> str:
        """What an interrupted run leaves, and how to go on."""

    @abstractmethod
    def what_saves_memory(self) -> str:
        """What to do where the memory is exhausted."""
