"""How a torch module is called, and the network made of it: axes, arguments, time and output, said once."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import concrete, hashed, real, require, wider
from softjax._repr import parameters, readable
from softjax._types import Array

Channels = Literal["first", "single", "same"]


class Convention(eqx.Module):
    """How a module is called, in the words of `from_torch`. All of it is static."""

    shape: tuple[int, ...] = eqx.field(static=True)
    channels: Channels = eqx.field(static=True)
    batch: bool = eqx.field(static=True)
    arguments: tuple[str, ...] = eqx.field(static=True)
    keywords: tuple[tuple[str, str], ...] = eqx.field(static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    time: Literal["float", "index"] = eqx.field(static=True)
    time_scale: float = eqx.field(static=True)
    output: str | int | None = eqx.field(static=True)
    learned_variance: bool = eqx.field(static=True)

    def labelled(self) -> bool:
        """Whether the module takes a class label."""
        return "label" in (*self.arguments, *(value for _, value in self.keywords))

    def inputs(self, t: Array, x: Array, label: Any) -> dict[str, Array]:
        """What the module gets for one configuration."""
        scaled = self.time_scale * t
        values = {"t": jnp.round(scaled).astype(int) if self.time == "index" else scaled}
        if self.labelled():
            values["label"] = jnp.asarray(label, int)
        moved = jnp.moveaxis(x, -1, 0) if self.channels == "first" else x
        values["x"] = moved[None] if self.channels == "single" else moved
        return {name: value[None] for name, value in values.items()} if self.batch else values

    def call(self, module: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """The module's output, a tensor; both sides are torch's."""
        keywords = {name: values[value] for name, value in self.keywords}
        returned = module(*(values[name] for name in self.arguments), **keywords, **dict(self.options))
        if isinstance(self.output, str):
            return getattr(returned, self.output) if hasattr(returned, self.output) else returned[self.output]
        return returned if self.output is None else returned[self.output]

    def wanted(self) -> tuple[int, ...]:
        """The shape that the module must return."""
        lattice, count = (self.shape[:-1], self.shape[-1:]) if self.channels == "first" else (self.shape, ())
        count = (1,) if self.channels == "single" else count
        factor = 2 if self.learned_variance else 1
        shape = (*(factor * n for n in count), *lattice)
        if self.channels == "same":
            shape = (*self.shape[:-1], factor * self.shape[-1])
        return (1, *shape) if self.batch else shape

    def configuration(self, output: Array) -> Array:
        """One configuration, of the module's output."""
        output = output[0] if self.batch else output
        axis = -1 if self.channels == "same" else 0
        if self.learned_variance:
            output = jnp.split(output, 2, axis)[0]
        if self.channels == "single":
            return output[0]
        return jnp.moveaxis(output, 0, -1) if self.channels == "first" else output


class TorchNetwork(eqx.Module):
    """A torch module as a JAX function of the time and one configuration: what `from_torch` returns.

    * `parameters`: parameters and buffers by torch's names, the leaves; empty for a black box;
    * `convention`: how the module is called;
    * `is_traced`: whether JAX sees the operations: a black box can be evaluated, not differentiated;
    * `run`: the module's operations.

    * `parameters`: parameters and buffers by torch's names, the leaves; empty for a black box;
    * `convention`: how the module is called;
    * `is_traced`: whether JAX sees the operations: a black box can be evaluated, not differentiated;
    * `run`: the module's operations.

    * `parameters`: parameters and buffers by torch's names, the leaves; empty for a black box;
    * `convention`: how the module is called;
    * `is_traced`: whether JAX sees the operations: a black box can be evaluated, not differentiated;
    * `run`: the module's operations.

    Called as `network(t, x)`, or `network(t, x, label)` for a module that takes a label:

    * `t`: the time, one number, in the units of the module divided by `time_scale`;
    * `x`: one configuration, with as many axes and channels as the `shape` it was made for;
    * `label`: the class, an integer.

    Returns an array of the shape of `x`, in the wider precision of parameters and `x`. Raises `ValueError` for an `x`
    of another kind, and for a label that is missing, or that the module does not take.

    >>> import torch
    >>> class Half(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return 0.5 * x
    >>> network = sj.interop.from_torch(Half().eval(), shape=(4, 4), channels="single")
    >>> network.is_traced, network(1.0, jnp.ones((4, 4))).shape
    (True, (4, 4))
    """

    parameters: dict[str, Array]
    """Parameters and buffers, by torch's names: the leaves. Empty for a black box."""
    convention: Convention
    is_traced: bool = eqx.field(static=True)
    """Whether JAX sees the operations. A black box can be evaluated, not differentiated."""
    run: Callable[..., Any] = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        """In a line, such as TorchNetwork(1234 parameters, shape (8, 8))."""
        what = parameters(self.parameters) if self.is_traced else "a black box"
        return [what, f"shape {self.convention.shape}"]

    def __hash__(self) -> int:
        """Refuses, and says which jit to use, as a network holds arrays."""
        return hashed(self)

    def __call__(self, t: Any, x: Any, label: Any = None) -> Array:
        """The network's output for one configuration.

        * `t`: the time, one number, in the units of the module divided by `time_scale`;
        * `x`: one configuration;
        * `label`: the class, an integer, for a module that takes one.
        """
        convention = self.convention
        parameters, x = wider(self.parameters, real("x", x))
        _require_configuration(convention, x.shape)
        _require_label(convention, label)
        with jax.numpy_dtype_promotion("standard"):  # torch's own rules follow each operation
            values = convention.inputs(jnp.asarray(t, x.dtype), x, label)
            return convention.configuration(self.run(parameters, values)).astype(x.dtype)


def _require_configuration(convention: Convention, shape: tuple[int, ...]) -> None:
    made, first = convention.shape, convention.channels == "first"
    fits = len(shape) == len(made) and (not first or shape[-1] == made[-1])
    require(fits, f"the network takes one configuration like {made}, got shape {shape}. For a batch use jax.vmap.")


def _require_label(convention: Convention, label: Any) -> None:
    if convention.labelled():
        require(label is not None, "the network takes a class label: call it as network(t, x, label).")
        known = concrete(label)
        whole = known is None or (known.shape == () and known.dtype.kind in "iu")
        require(whole, f"label must be one whole number, got {label!r}.")
    else:
        require(label is None, "the network takes no label: name it in from_torch's arguments or keywords.")
