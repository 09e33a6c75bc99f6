"""What makes a folder an experiment: the public names of its package, each imported on first use."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_OF_STUDY = ("run", "summary", "findings", "sweep")


def leaf(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of an experiment's package.

    `Config` comes from its config.py, `figure` from its figure.py; `run`, `summary`, `findings` and `sweep` are
    methods of `STUDY` in its study.py, which is available too.
    """

    def attribute(name: str) -> Any:
        if name == "Config":
            return import_module(f"{package}.config").Config
        if name == "STUDY" or name in _OF_STUDY:
            study = import_module(f"{package}.study").STUDY
            return study if name == "STUDY" else getattr(study, name)
        if name == "figure":
            function = import_module(f"{package}.figure").figure
            vars(sys.modules[package])["figure"] = function  # in place of the module of that name
            return function
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute
