"""The paper's experiments: each is a folder here, found by its name, that no other one imports.

A folder NAME has `config.py` (its parameters, read by the command line), `study.py` (what one unit of it is, and what
follows from the result) and `figure.py`. `softjax.experiments.NAME` then has `run`, `summary`, `findings`, `figure`
and `Config`. Folders named in the environment variable SOFTJAX_EXPERIMENTS are searched too.
"""

import os
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

__path__ += [folder for folder in os.environ.get("SOFTJAX_EXPERIMENTS", "").split(os.pathsep) if folder]


def names() -> list[str]:
    """The experiments that there are, in alphabetical order.

    >>> "patch" in sj.experiments.names(), sj.experiments.names() == sorted(sj.experiments.names())
    (True, True)
    """
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg and not module.name.startswith("_"))


def load_results(path: Any) -> Any:
    """Results of a run, finished or interrupted: `softjax.sweeps.load`.

    * `path`: the folder of the results.

    >>> import tempfile
    >>> class Draw(sj.sweeps.Unit):
    ...     def __call__(self, member, key):
    ...         return {"value": jr.normal(jr.fold_in(key, member), (3,))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = sj.sweeps.run(sj.sweeps.Sweep(Draw(), members=2, key=jr.key(0)), folder + "/data.zarr")
    ...     print(sj.experiments.load_results(folder)["value"].shape)
    (2, 3)
    """
    from softjax.sweeps import load

    return load(path)


def __getattr__(name: str) -> Any:
    if name == "configs" or name in names():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"there is no experiment {name!r}; there are {', '.join(names())}.")


def __dir__() -> list[str]:
    return [*names(), "configs", "load_results", "names"]
