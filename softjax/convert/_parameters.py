"""The parameters of a network by name, as NumPy arrays: what files hold and converters fill."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


class CheckpointError(ValueError):
    """A file that is not the checkpoint it should be: damaged, refused, or of another network."""


def parameter_names(network: Any) -> list[str]:
    """Dotted path of every leaf, in the order of `jax.tree.leaves`: "encoder.0.0.conv1.kernel"."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(network)]
    return [".".join(_segment(key) for key in path if _segment(key) != "value") for path in paths]


def parameters(network: Any) -> dict[str, np.ndarray]:
    """Every leaf of a network, by dotted path."""
    return dict(zip(parameter_names(network), map(np.asarray, jax.tree.leaves(network)), strict=True))


def with_parameters(network: Any, values: Mapping[str, np.ndarray]) -> Any:
    """The network (or the shapes of one, by `jax.eval_shape`) with every leaf replaced, in that leaf's dtype.

    Raises `CheckpointError` naming each parameter that is missing, left over or of another shape.
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
