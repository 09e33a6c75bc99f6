"""An experiment as the engine runs it: what one unit is, what is known before, and what follows from the result."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jax.random as jr
import xarray as xr

from softjax._checks import require
from softjax.experiments._shared.config import changed, checked, flat
from softjax.experiments._shared.summary import Row
from softjax.sweeps import Axes, Progress, Sweep, run


def nothing(*arguments: Any) -> xr.Dataset:
    """An empty dataset."""
    del arguments
    return xr.Dataset()


@dataclass(frozen=True)
class Study:
    """One experiment.

    * `unit(config)`: the `Unit` of a configuration;
    * `known(config, unit)`: a dataset of what is known before anything runs;
    * `pictures(config, unit)`: a dataset of states to look at; a sweep leaves them out;
    * `derive(config, unit, dataset)`: a dataset of what follows from all trajectories, computed once and stored;
    * `summary(dataset)`: the rows of the table; `findings(dataset, rows)`: what they say, in words;
    * `before(config, path, progress)`: what has to be measured first, as keywords of `unit`; stored beside `path`;
    * `axes(config)`: axes that the experiment has by itself, whose values are keywords of `unit`;
    * `weights(config)`: checksums of the networks that the results depend on;
    * `members(config)`, `pack(config)`: units of one configuration; how many side by side, None if the engine chooses;
    * `dim`: the dimension over these units; `remedy`: what to do where they are not finite;
    * `saves_memory`: what to do where they take too much memory.
    """

    name: str
    unit: Callable[..., Any]
    summary: Callable[[xr.Dataset], list[Row]]
    findings: Callable[[xr.Dataset, list[Row]], str]
    known: Callable[[Any, Any], xr.Dataset] = nothing
    pictures: Callable[[Any, Any], xr.Dataset] = nothing
    derive: Callable[[Any, Any, xr.Dataset], xr.Dataset] = nothing
    before: Callable[[Any, Path | None, Progress | None], Mapping[str, Any]] = lambda config, path, progress: {}
    weights: Callable[[Any], Mapping[str, str]] = lambda config: {}
    axes: Callable[[Any], Mapping[Any, Iterable[Any]]] = lambda config: {}
    members: Callable[[Any], int | None] = lambda config: config.num_trajectories
    pack: Callable[[Any], int | None] = lambda config: config.integration.chunk
    dim: str = "trajectory"
    remedy: str = "Take more steps, or end at a larger time."
    saves_memory: str = (
        "Take a smaller --integration.chunk, or fewer --num-trajectories; if one at a time is too much, a smaller "
        "--grid-size."
    )

    @property
    def config(self) -> type:
        """The class of the experiment's parameters."""
        return import_module(f"softjax.experiments.{self.name}.config").Config

    def sweep(
        self,
        config: Any,
        axes: Axes | None = None,
        *,
        members: int | None = None,
        path: Path | None = None,
        progress: Progress | None = None,
    ) -> Sweep:
        """The experiment over values of some of its parameters, named as in `flat`; without axes, the one of `run`.

        Raises `ValueError` for numbers out of range and unknown parameters.
        """
        if members is not None:
            countable = hasattr(config, "num_trajectories")
            require(countable, f"{self.name} has no trajectories to count: its own options say how much it averages.")
            config = changed(config, {"num_trajectories": members})
        own, number = self.axes(checked(config)), self.members(config)

        def at(values: Mapping[str, Any]) -> Any:
            return changed(config, {name: value for name, value in values.items() if name not in own})

        def unit(**values: Any) -> Any:
            inner = {name: value for name, value in values.items() if name in own}
            configuration = at(values)
            idle = sorted(values.keys() - own.keys() - flat(configuration).keys())
            require(not idle, f"results do not depend on {', '.join(idle)}.")
            require(self.members(configuration) == number, f"every cell must have the same members, {number}.")
            return self.unit(configuration, **inner, **self.before(configuration, path, progress))

        def known(unit: Any, **values: Any) -> xr.Dataset:
            configuration = at(values)
            parts = [self.known(configuration, unit)]
            parts += [] if axes else [self.pictures(configuration, unit)]
            return xr.merge(parts, compat="override", combine_attrs="override")

        return Sweep(
            unit,
            {**(axes or {}), **own},
            key=jr.key(config.seed),
            members=number,
            dim=self.dim,
            known=known,
            identity={"experiment": self.name, **flat(config), **self.weights(config)},
        )

    def run(
        self,
        config: Any = None,
        path: Path | str | None = None,
        progress: Progress | None = None,
        *,
        repair: bool = False,
    ) -> xr.Dataset:
        """All trajectories of one configuration with what the figure shows; see the experiment's `study.py`.

        * `config`: the experiment's `Config`, its defaults if None;
        * `path`: folder of the results, resumed if it exists; in memory if None;
        * `progress`: called with the numbers of finished trajectories and of all;
        * `repair`: damaged and failed trajectories are computed anew.

        Raises `FloatingPointError`, naming them, when trajectories become non-finite, after the others have been
        stored; otherwise as `softjax.sweeps.run`.
        """
        config = self.config() if config is None else config
        path = None if path is None else Path(path).expanduser()
        sweep = self.sweep(config, path=path, progress=progress)
        try:
            return run(
                sweep,
                path,
                progress=progress,
                pack=self.pack(config),
                derive=lambda dataset: self.derive(config, sweep.units[0], dataset),
                repair=repair,
                failures="raise",
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} {self.remedy}") from error
