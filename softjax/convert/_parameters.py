"""The parameters of a network by name, as NumPy arrays: what files hold and converters fill."""

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np


class CheckpointError(ValueError):
    """A file that is not the checkpoint it should be: damaged, refused, or of another network.

    >>> try:
    ...     sj.convert.with_parameters({"scale": jnp.ones(3)}, {"scale": np.ones(2)})
    ... except sj.convert.CheckpointError as error:
    ...     print(error)
    these are the weights of another architecture: scale has shape (2,), the network's has (3,).
    """


def short(value: Any) -> str:
    """A value as a message shows it: long numbers, texts and lists are cut."""
    return _SHORT.repr(value)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Puts the name of a file in front of each `CheckpointError` that does not begin with it."""
    try:
        yield
    except CheckpointError as error:
        if str(error).startswith(str(path)):
            raise
        raise CheckpointError(f"{path}: {error}") from error


def parameter_names(network: Any) -> list[str]:
    """Dotted path of every leaf, in the order of `jax.tree.leaves`: "encoder.0.0.conv1.kernel".

    * `network`: any pytree of arrays.

    >>> sj.convert.parameter_names({"layers": [jnp.ones(2), jnp.ones(3)]})
    ['layers.0', 'layers.1']
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(network)]
    return [".".join(_segment(key) for key in path if _segment(key) != "value") for path in paths]


def parameters(network: Any) -> dict[str, np.ndarray]:
    """Every leaf of a network, by dotted path.

    * `network`: any pytree of arrays.

    >>> values = sj.convert.parameters({"layers": [jnp.ones(2), jnp.ones(3)]})
    >>> print(list(values), values["layers.1"])
    ['layers.0', 'layers.1'] [1. 1. 1.]
    """
    return dict(zip(parameter_names(network), map(np.asarray, jax.tree.leaves(network)), strict=True))


def with_parameters(network: Any, values: Mapping[str, np.ndarray]) -> Any:
    """The network (or the shapes of one, by `jax.eval_shape`) with every leaf replaced, in that leaf's dtype.

    * `network`: any pytree of arrays, or of their shapes;
    * `values`: arrays by dotted path, as `parameters` returns them.

    Raises `CheckpointError` naming each parameter that is missing, left over or of another shape.

    >>> zeros = {"weight": np.zeros(2), "bias": np.zeros(1)}
    >>> sj.convert.with_parameters({"weight": jnp.ones(2), "bias": jnp.ones(1)}, zeros)["weight"].tolist()
    [0.0, 0.0]
    """
    return with_read_parameters(network, {name: value.shape for name, value in values.items()}, values.__getitem__)


def with_read_parameters(network: Any, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], np.ndarray]) -> Any:
    """`with_parameters` for values of known shapes that `read` gets by name, one at a time, once all shapes fit."""
    names, leaves = parameter_names(network), jax.tree.leaves(network)
    problems = [f"{name} is missing" for name in names if name not in shapes]
    problems += [f"{name} is not a parameter of this network" for name in shapes if name not in set(names)]
    problems += [
        f"{name} has shape {shapes[name]}, the network's has {leaf.shape}"
        for name, leaf in zip(names, leaves, strict=True)
        if name in shapes and shapes[name] != leaf.shape
    ]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(f"these are the weights of another architecture: {shown}.")
    filled = [jax.numpy.asarray(read(name), leaf.dtype) for name, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(network), filled)


def _segment(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


class _Short(reprlib.Repr):
    """Cuts what is long, at any depth."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8

    def repr_int(self, x: int, level: int) -> str:
        """Numbers of many digits by their size."""
        return repr(x) if abs(x) < 10**20 else f"<an integer of {x.bit_length()} bits>"


_SHORT = _Short()
