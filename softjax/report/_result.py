"""A stored result, with the experiment and the configuration that it is of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import xarray as xr

from softjax.experiments import names
from softjax.experiments._shared.config import changed, flat
from softjax.experiments._shared.study import Study
from softjax.sweeps import load


@dataclass(frozen=True)
class Result:
    """A finished result.

    `folder` is what the command was given with --out, None for a dataset in memory; `axes` are the dimensions of a
    sweep, without those that the experiment has by itself; `weights` are checksums of networks by name.
    """

    dataset: xr.Dataset
    study: Study
    config: Any
    folder: Path | None
    axes: tuple[str, ...]
    weights: dict[str, str]

    @property
    def failed(self) -> list[str]:
        """The units that are not finite, each in words."""
        return [str(reason) for reason in self.dataset.attrs.get("failed", [])]

    @property
    def parameters(self) -> dict[str, list[str]]:
        """Names of the parameters that change along each axis, that of the axis first."""
        known, coords = flat(self.config), self.dataset.coords
        along = {dim: [str(name) for name in coords if coords[name].dims == (dim,)] for dim in self.axes}
        return {dim: sorted((n for n in names if n in known), key=lambda n: n != dim) for dim, names in along.items()}

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Parameters of every cell of a sweep, the last axis running fastest."""
        sizes = [self.dataset.sizes[dim] for dim in self.axes]
        places = [dict(zip(self.axes, index, strict=True)) for index in np.ndindex(*sizes)]
        return [
            {name: self.dataset[name].values[place[dim]].item() for dim in self.axes for name in self.parameters[dim]}
            for place in places
        ]


def read(result: xr.Dataset | Path | str) -> Result:
    """The result in a folder, or the dataset that `run` returned; raises as `softjax.report.page`."""
    path = None if isinstance(result, xr.Dataset) else Path(result).expanduser()
    dataset = load(path) if path is not None else result
    assert isinstance(dataset, xr.Dataset)
    where = "this dataset" if path is None else str(path)
    asked = dataset.attrs.get("config")
    name = asked.get("experiment") if isinstance(asked, Mapping) else None
    if name not in names():
        whose = f"of {name!r}, which is no experiment here" if name else "of no experiment"
        raise ValueError(f"{where} is a result {whose}; pages are made for {', '.join(names())} and sweeps of these.")
    assert isinstance(asked, Mapping)
    study = import_module(f"softjax.experiments.{name}").STUDY
    _require_finished(dataset, where, study.dim)
    folder = None if path is None else path.parent if (path / "zarr.json").exists() else path
    config = _restored(study.config, asked, where)
    own = study.axes(config)
    return Result(
        dataset=dataset,
        study=study,
        config=_as_viewed(config, folder),
        folder=folder,
        axes=tuple(str(dim) for dim in dataset.attrs.get("axes", []) if dim not in own),
        weights={name: str(value) for name, value in asked.items() if name not in {"experiment", *flat(config)}},
    )


def _require_finished(dataset: xr.Dataset, where: str, dim: str) -> None:
    if unfinished := dataset.attrs.get("unfinished", 0):
        raise ValueError(f"{where} lacks {unfinished} units: the command that began it computes the rest.")
    failed = dataset.attrs.get("failed", [])
    if failed and not (np.any(dataset["done"]) if "done" in dataset.coords else dataset.sizes.get(dim, 1)):
        raise ValueError(f"{where}: every unit has failed ({failed[0]}).")


def _restored(kind: type, stored: Mapping[str, Any], where: str) -> Any:
    """The configuration whose `flat` was stored."""
    default = kind()
    known = flat(default)
    try:
        return changed(default, {name: _with_tuples(value) for name, value in stored.items() if name in known})
    except ValueError as error:
        raise ValueError(f"{where} holds the results of another version of softjax: {error}") from error


def _with_tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _as_viewed(config: Any, folder: Path | None) -> Any:
    """With how the figure was drawn, which the results do not depend on, from config.json if that is there."""
    hints = get_type_hints(type(config))
    wanted = {one.name: get_args(hints[one.name]) for one in fields(config) if one.metadata.get("view")}
    file = None if folder is None else folder / "config.json"
    if not wanted or file is None or not file.exists():
        return config
    try:
        known = json.loads(file.read_text())
        return replace(config, **{name: known[name] for name, allowed in wanted.items() if known[name] in allowed})
    except (ValueError, KeyError, TypeError):
        return config
