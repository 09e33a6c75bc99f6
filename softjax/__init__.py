"""softjax: the physics of diffusion models, by simulation.

A score field plus a process gives a drift; a drift can be integrated (trajectories) or linearised (modes);
observables and fits turn either into correlation lengths, dispersion relations and critical times.

The public names stand in `__init__.pyi`; each is imported on first use.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _attribute(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "softjax":
            raise
        # The core runs without the packages of the layers above it.
        message = f"softjax.{name} needs {error.name}: python -m pip install softjax-diffusion"
        raise ModuleNotFoundError(message, name=error.name) from error
