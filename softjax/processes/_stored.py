"""Processes as a few plain numbers, for the files that networks are stored in."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from softjax._checks import require
from softjax.processes._base import AbstractProcess
from softjax.processes._edm import EDM
from softjax.processes._flow import RectifiedFlow
from softjax.processes._schedules import ConstantSchedule
from softjax.processes._vp import VP

_MAKERS: dict[str, tuple[Callable[..., AbstractProcess], tuple[str, ...]]] = {
    "EDM": (EDM, ("sigma_data",)),
    "VP": (VP, ("beta",)),
    "RectifiedFlow": (RectifiedFlow, ()),
}
"""What makes a process from its name, and the names of its numbers, all positive."""


def describe(process: AbstractProcess) -> dict[str, Any]:
    """Name and numbers of a process; `ValueError` for one that has no such form.

    * `process`: `EDM`, `VP` with a constant rate, or `RectifiedFlow`.

    >>> sj.processes.describe(sj.EDM(1.0))
    {'name': 'EDM', 'sigma_data': 1.0}
    """
    if isinstance(process, EDM):
        return {"name": "EDM", "sigma_data": process.sigma_data}
    if isinstance(process, RectifiedFlow):
        return {"name": "RectifiedFlow"}
    if isinstance(process, VP) and isinstance(process.schedule, ConstantSchedule):
        return {"name": "VP", "beta": float(process.schedule.value)}
    raise ValueError(f"only EDM and VP with a constant rate, and RectifiedFlow, can be stored, got {process}.")


def from_description(description: Any) -> AbstractProcess:
    """The process of a description; `ValueError` for a name or numbers that are none of a process's.

    * `description`: what `describe` returns, a dictionary of JSON's types.

    >>> stored = sj.processes.describe(sj.VP(2.0))
    >>> sj.processes.from_description(stored)
    VP(beta=2)
    """
    name = description.get("name") if isinstance(description, Mapping) else None
    require(isinstance(name, str) and name in _MAKERS, f"a process has a name, one of {', '.join(_MAKERS)}.")
    make, parameters = _MAKERS[str(name)]
    values = {parameter: description.get(parameter) for parameter in parameters}
    for parameter, value in values.items():
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        require(good, f"{parameter} must be a positive, finite number.")
    return make(**{parameter: float(value) for parameter, value in values.items() if value is not None})
