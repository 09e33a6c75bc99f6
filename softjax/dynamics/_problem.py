"""One trajectory to integrate, and what integrates it."""

from abc import abstractmethod
from typing import Any

import equinox as eqx

from softjax._types import Configuration, PRNGKeyArray, Times
from softjax.dynamics._scan import Observe
from softjax.fields import AbstractField


class Problem(eqx.Module):
    """One trajectory to integrate: a field, what to observe, the grid, the start, and the key of the noise."""

    field: AbstractField
    observe: Observe | None
    ts: Times
    x0: Configuration
    key: PRNGKeyArray


class AbstractIntegrator(eqx.Module):
    """A way to integrate a problem, with its options."""

    @property
    @abstractmethod
    def skips_end(self) -> bool:
        """Whether the field is never evaluated at the end of the grid, which may then lie at zero noise."""

    @abstractmethod
    def __call__(self, problem: Problem) -> tuple[Configuration, Any]:
        """The final state, and what was observed on the grid."""
