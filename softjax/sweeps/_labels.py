"""A stored result with its labels: axes as dimensions, members, what is finished and what has failed."""

from typing import Any

import numpy as np
import xarray as xr

from softjax.sweeps._axes import Axis, cells
from softjax.sweeps._store import DONE, FAILED, TODO, Store


def labelled(store: Store) -> xr.Dataset:
    """The result as users see it; raises `FileNotFoundError` where nothing is finished."""
    stored = store.dataset()
    states = stored["state"].values
    if not np.any(states != TODO):
        raise FileNotFoundError(f"{store.path} holds no results yet: the run was stopped before its first units.")
    axes = stored_axes(store)
    order = stored["unit_number"].values
    data = stored.drop_vars(["state", "unit_number"])
    data = _on_axes(data, axes, order, states, store) if axes else data.isel({_lead(stored): states == DONE})
    attributes = {name: value for name, value in store.record.items() if name != "member_dim"} | data.attrs
    attributes["config"] = store.identity["unit"]
    return data.assign_attrs(attributes | problems(store, axes, order, states))


def stored_axes(store: Store) -> list[Axis]:
    """The axes of a stored sweep."""
    return [Axis(tuple(names), tuple(map(tuple, rows))) for names, rows in store.identity["axes"]]


def problems(store: Store, axes: list[Axis], order: np.ndarray, states: np.ndarray) -> dict[str, Any]:
    """Units that have failed, each in words, and how many are not computed yet; nothing where all are done."""
    failed = [
        _failure(store, axes, int(order[place]), int(states[place])) for place in np.flatnonzero(states >= FAILED)
    ]
    unfinished = int(np.sum(states == TODO))
    return ({"failed": failed} if failed else {}) | ({"unfinished": unfinished} if unfinished else {})


def _failure(store: Store, axes: list[Axis], unit: int, state: int) -> str:
    members = store.identity["members"]
    values = cells(axes)[unit // members]
    where = [f"{name} = {value}" for name, value in values.items()] + [f"{store.record['member_dim']} {unit % members}"]
    return f"{', '.join(where)}: {store.names[state - FAILED]} is not finite"


def _lead(stored: xr.Dataset) -> str:
    return str(stored["unit_number"].dims[0])


def _on_axes(data: xr.Dataset, axes: list[Axis], order: np.ndarray, states: np.ndarray, store: Store) -> xr.Dataset:
    """The arrays of all units with a dimension for each axis and one for the members; NaN where nothing is done."""
    member = store.record["member_dim"]
    sizes = (*(len(axis.values) for axis in axes), store.identity["members"])
    dims = (*(axis.dim for axis in axes), member)
    place = np.argsort(order)
    done = (states == DONE)[place]

    def crossed(variable: xr.DataArray) -> xr.Variable:
        values = variable.values[place]
        if not done.all():
            values = values.astype(np.result_type(values.dtype, np.float32)) if values.dtype.kind in "biu" else values
            values[~done] = np.nan
        return xr.Variable((*dims, *variable.dims[1:]), values.reshape(*sizes, *values.shape[1:]), variable.attrs)

    return data.assign({name: crossed(data[name]) for name in store.names})
