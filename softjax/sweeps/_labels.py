"""A stored result with its labels: axes as dimensions, members, what is finished and what has failed."""

from typing import Any

import numpy as np
import xarray as xr

from softjax.sweeps._axes import Axis, cells
from softjax.sweeps._measured import ATTRIBUTE, OF_CELL
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
    if axes or store.record["member_dim"] is None:
        data = _on_axes(data, axes, order, states, store)
    else:
        lead = store.record["member_dim"]
        data = data.assign_coords({lead: order}).isel({lead: states == DONE})
    attributes = {name: value for name, value in store.record.items() if name != "member_dim"} | data.attrs
    attributes |= {"config": store.identity["unit"], "axes": [axis.dim for axis in axes]}
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
    where = [f"{name} = {value}" for name, value in values.items()]
    where += [f"{store.record['member_dim']} {unit % members}"] if store.record["member_dim"] else []
    return f"{', '.join(where)}: {store.names[state - FAILED]} is not finite"


def _on_axes(data: xr.Dataset, axes: list[Axis], order: np.ndarray, states: np.ndarray, store: Store) -> xr.Dataset:
    """The arrays of all units with a dimension for each axis and one for the members; NaN where nothing is done."""
    member = store.record["member_dim"]
    sizes = (*(len(axis.values) for axis in axes), *([store.identity["members"]] if member else []))
    dims = (*(axis.dim for axis in axes), *([member] if member else []))
    place = np.argsort(order)
    done = (states == DONE)[place]

    def crossed(variable: xr.DataArray) -> xr.Variable:
        values = variable.values[place]
        if not done.all():
            values = values.astype(np.result_type(values.dtype, np.float32)) if values.dtype.kind in "biu" else values
            values[~done] = np.nan
        return xr.Variable((*dims, *variable.dims[1:]), values.reshape(*sizes, *values.shape[1:]), variable.attrs)

    crossed_data = data.assign({name: crossed(data[name]) for name in store.names})
    return crossed_data if done.all() else crossed_data.assign_coords(done=(dims, done.reshape(sizes)))


def cell(dataset: xr.Dataset, **values: Any) -> xr.Dataset:
    """One cell of a sweep as a dataset of its own: finished members only, its values and numbers as attributes.

    * `dataset`: as `run` and `load` return it;
    * `values`: of the parameters on the axes.

    Raises `KeyError` for values that are not there.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> one = sj.sweeps.cell(sj.sweeps.run(sweep), scale=4.0)
    >>> one["value"].dims, one.attrs["scale"]
    (('member',), 4.0)
    """
    axes = dataset.attrs["axes"]
    one = dataset.sel({name: value for name, value in values.items() if name in axes}).drop_vars(
        [*values], errors="ignore"
    )
    if "done" in one.coords:
        left = [dim for dim in one["done"].dims if dim in axes]
        done = np.atleast_1d(one["done"].all(left).values)  # of axes that no value was given for: in all of their cells
        one = one.drop_vars("done")
        one = one.isel({dim: done for dim in dataset["done"].dims if dim not in axes})
    for name in [str(name) for name in one.variables if str(name).endswith(OF_CELL)]:
        known = one[name].dropna(one[name].dims[-1])
        one = one.drop_vars(name).isel({known.dims[-1]: slice(known.size)})
        one = one.assign_coords({name.removesuffix(OF_CELL): (known.dims, known.values, known.attrs)})
    numbers = {str(name): one[name].item() for name in one.data_vars if ATTRIBUTE in one[name].attrs}
    return one.drop_vars(list(numbers)).assign_attrs({**values, **numbers})
