"""Parameters of the experiments, to be imported from one place: `PatchConfig` is `softjax.experiments.patch.Config`.

Nothing heavy is imported here. The shared pieces stand in `_shared/config.py`.
"""

from importlib import import_module
from typing import Any

from softjax.experiments import names
from softjax.experiments._shared.config import Integration as Integration
from softjax.experiments._shared.config import NoiseGrid as NoiseGrid
from softjax.experiments._shared.config import Probe as Probe
from softjax.experiments._shared.config import TimeGrid as TimeGrid


def __getattr__(name: str) -> Any:
    experiment = name.removesuffix("Config").lower()
    if name.endswith("Config") and experiment in names():
        return import_module(f"softjax.experiments.{experiment}.config").Config
    raise AttributeError(f"there is no configuration {name!r}.")
