r"""Tables from torch's names to ours: one `Rule` per kind of tensor, and the engine that applies them.

A rule is a regular expression for the whole of a source name, and the dotted path (`parameter_names`) that it becomes:

    Rule(r"unet\.out_conv\.weight", "output.weight", conv_kernel)
    Rule(r"layer\.(\d+)\.fc\.bias", r"blocks.\1.mlp.bias")
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softjax.convert._parameters import CheckpointError, parameter_names

_SHOWN = 40  # problems


def identity(tensor: np.ndarray) -> np.ndarray:
    """The same tensor."""
    return tensor


def conv_kernel(tensor: np.ndarray) -> np.ndarray:
    """Torch's (out, in, kh, kw) as a view (kh, kw, in, out)."""
    return tensor.transpose(2, 3, 1, 0)


def linear_kernel(tensor: np.ndarray) -> np.ndarray:
    """Torch's (out, in) as a view (in, out)."""
    return tensor.transpose()


@dataclass(frozen=True)
class Rule:
    r"""One line of a table: where the tensors of a name go, and how their axes are laid out there."""

    pattern: str
    r"""Regular expression of the whole source name."""
    target: str
    r"""Dotted path of the parameter, with the groups of `pattern` as `\1`, `\2`."""
    layout: Callable[[np.ndarray], np.ndarray] = identity
    """Source axes to target axes, as a view where it can be; raises `ValueError` for a shape that it does not know."""


def convert_tensors(
    tensors: Mapping[str, np.ndarray],
    rules: Sequence[Rule],
    ignored: Sequence[str],
    target: Mapping[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
    """The tensors by our names and in our layout, views of the source; each is read once, so `tensors` may be lazy.

    `target` holds the shape of every parameter (`parameter_shapes`), `ignored` regular expressions of source names
    to drop. Raises one `CheckpointError` that lists every problem: a name that no rule or several rules match,
    tensors that are not finite floating-point numbers, wrong shapes, parameters filled twice, or not at all.
    """
    problems, sources = [], {}
    for name in tensors:
        matches = [(rule, match) for rule in rules if (match := re.fullmatch(rule.pattern, name))]
        dropped = any(re.fullmatch(pattern, name) for pattern in ignored)
        if len(matches) + dropped != 1:
            count = "no rule" if not matches else f"{len(matches) + dropped} rules"
            problems.append(f"{name}: {count} of this architecture's table match it, exactly one must")
        elif matches:
            rule, match = matches[0]
            sources.setdefault(match.expand(rule.target), []).append((name, rule.layout))

    converted = {}
    for path, found in sources.items():
        names = [name for name, _ in found]
        if path not in target:
            problems += [f"{name}: the network has no parameter {path}" for name in names]
        elif len(found) > 1:
            problems.append(f"{path}: filled by {' and by '.join(names)}")
        else:
            name, layout = found[0]
            converted[path], problem = _laid_out(name, tensors[name], layout, target[path])
            problems += [problem] if problem else []
    problems += [f"{path}: no tensor of the checkpoint fills it" for path in target if path not in sources]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        lines = "".join(f"\n  {problem}" for problem in [*problems[:_SHOWN], *more])
        raise CheckpointError(f"the checkpoint does not fit the network, {len(problems)} problems:{lines}")
    return converted


def parameter_shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf of a network, or of the shapes of one (`jax.eval_shape`), by dotted path."""
    return {
        name: tuple(leaf.shape) for name, leaf in zip(parameter_names(network), jax.tree.leaves(network), strict=True)
    }


def _laid_out(
    name: str, tensor: np.ndarray, layout: Callable[[np.ndarray], np.ndarray], wanted: tuple[int, ...]
) -> tuple[np.ndarray, str | None]:
    """One tensor in our layout, and what is wrong with it, if anything."""
    try:
        laid_out = layout(tensor)
    except ValueError:
        return tensor, f"{name}: has shape {tensor.shape}, which has no place in a parameter of shape {wanted}"
    if laid_out.shape != wanted:
        return tensor, f"{name}: has shape {tensor.shape}, {laid_out.shape} in our layout; wanted {wanted}"
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        return tensor, f"{name}: holds {tensor.dtype}, wanted floating-point numbers"
    if not np.all(np.isfinite(tensor)):
        return tensor, f"{name}: holds NaN or infinite values"
    return laid_out, None
