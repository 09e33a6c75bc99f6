"""The field of a trained network, whatever it was trained to predict (theory.md section 1; App. D.3)."""

import sys
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import lattice_of, output_like, public, require
from softjax._repr import channels, number, parameters, readable
from softjax._types import Array, Configuration, Int, Time
from softjax.fields._base import AbstractField
from softjax.processes import AbstractProcess

Prediction = Literal["noise", "denoiser", "score", "velocity", "flow"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


class NetworkField(AbstractField):
    r"""`network(t, x)`, or `network(t, x, label)`, as a field.

    * `network`: any callable that is a pytree of its parameters: a Flax NNX module, an Equinox module, a
      `jax.tree_util.Partial`. It acts on one configuration; batches are `jax.vmap`;
    * `process`: the one that the network was trained with;
    * `prediction`: what it returns, see below;
    * `label`: a class from 0 on, handed to it as an integer array, if given;
    * `channels`: how many the last axis of a configuration holds, 0 for none, so that probes need not be told.

    `prediction` says what the network returns for $x = \alpha x_0 + \sigma\varepsilon$, an array of the shape of `x`:

    * "noise", $\varepsilon$: $D = (x - \sigma\varepsilon)/\alpha$ and $s = -\varepsilon/\sigma$;
    * "denoiser", $D$ itself;
    * "score", $s$: $D = (x + \sigma^2 s)/\alpha$;
    * "velocity", $v = \alpha\varepsilon - \sigma x_0$: $D = (\alpha x - \sigma v)/(\alpha^2 + \sigma^2)$;
    * "flow", the velocity of a rectified flow, $u = \varepsilon - x_0$: $D = (x - \sigma u)/(\alpha + \sigma)$.

    Parameters less precise than the state are raised to its precision.

    Raises `ValueError` for an unknown `prediction`, a torch or an unbound Linen module, a network that is in training
    mode (dropout and batch statistics), and one that does not return one array of the shape of `x`. What the network
    itself raises carries a note of how it was called.

    >>> field = sj.NetworkField(lambda t, x: x / 2, sj.EDM(), prediction="denoiser")
    >>> print(field.score(1.0, jnp.ones((2, 2))))
    [[-0.5 -0.5]
     [-0.5 -0.5]]
    """

    network: Callable[..., Any]
    process: AbstractProcess
    label: Int[Array, ""] | int | None
    prediction: Prediction = eqx.field(static=True)
    channels: int | None = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        label = [] if self.label is None else [f"label={number(self.label)}"]
        about = [f"{type(self.network).__name__} of {parameters(self.network)}", f"predicts {self.prediction}", *label]
        return [*about, *channels(self.channels), repr(self.process)]

    @public
    def __init__(
        self,
        network: Callable[..., Any],
        process: AbstractProcess,
        prediction: Prediction = "noise",
        label: Int[Array, ""] | int | None = None,
        channels: int | None = None,
    ):
        require(channels is None or channels >= 0, f"channels must not be negative, got {channels}.")
        _require_jax(network)
        _require_inference(network)
        self.network = network
        self.process = process
        self.label = None if label is None else jnp.asarray(label)
        self.prediction = prediction
        self.channels = channels

    @public
    def with_label(self, label: Int[Array, ""] | int | None) -> "NetworkField":
        """The same network with another class label, or with None without one: a batch of classes is `jax.vmap`.

        * `label`: the class, from 0 on, or None.

        Raises `ValueError` for a label that is not a whole number.
        """
        return NetworkField(self.network, self.process, self.prediction, label, self.channels)

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given `x` at time `t`, shape of `x`."""
        if self.channels:
            lattice_of("x", x.shape, self.channels)
        output = self._output(t, x).astype(x.dtype)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        if self.prediction == "noise":
            return (x - sigma * output) / alpha
        if self.prediction == "score":
            return (x + sigma**2 * output) / alpha
        if self.prediction == "velocity":
            return (alpha * x - sigma * output) / (alpha**2 + sigma**2)
        if self.prediction == "flow":
            return (x - sigma * output) / (alpha + sigma)
        return output

    def _output(self, t: Time, x: Configuration) -> Array:
        """What the network returns, in the shape of `x`; errors say how it is called."""
        arguments = (t, x) if self.label is None else (t, x, self.label)
        called = "network(t, x)" if self.label is None else "network(t, x, label)"
        hint = f"It is called as {called} on one configuration, here of shape {x.shape}. {_ADAPT}"
        try:
            output = self.network(*arguments)
        except Exception as error:
            error.add_note(hint)
            raise
        try:
            return output_like("network", output, x.shape)
        except ValueError as error:
            raise ValueError(f"{error} {hint}") from None


_ADAPT = (
    "Where it takes its arguments in another order, takes batches only or returns a tuple, give a function that adapts "
    "it: lambda t, x: network(x[None], t[None])[0]."
)


def _require_jax(network: Any) -> None:
    """Refuses modules that can't be called as they are, and says what to give instead."""
    torch, linen = (sys.modules.get(name) for name in ("torch.nn", "flax.linen"))  # there, if the network is theirs
    if torch and isinstance(network, torch.Module):
        raise ValueError(
            f"network is a torch module, {type(network).__name__}: give softjax.interop.from_torch(network, ...), "
            "which makes a JAX function of it."
        )
    if linen and isinstance(network, linen.Module) and network.scope is None:
        name = type(network).__name__
        raise ValueError(
            f"network is a Linen module without its parameters, {name}: give jax.tree_util.Partial(network.apply, "
            "variables), or, for single calls, network.bind(variables); called as network(t, x) on one configuration."
        )


def _require_inference(network: Any) -> None:
    """Refuses a Flax NNX or Equinox network in training mode, whose layers say so."""
    nodes = jax.tree.leaves(network, is_leaf=lambda node: getattr(node, "inference", None) is False)
    if any(getattr(node, "inference", None) is False for node in nodes):
        raise ValueError("network is in training mode: give equinox.nn.inference_mode(network).")
    nnx: Any = sys.modules.get("flax.nnx")  # there, if the network is one of its modules
    layers = [layer for _, layer in nnx.iter_modules(network)] if nnx and isinstance(network, nnx.Module) else []
    flags = [getattr(layer, name, None) for layer in layers for name in ("deterministic", "use_running_average")]
    require(not any(flag is False for flag in flags), "network is in training mode: call network.eval() first.")
