"""The field of a trained network, whatever it was trained to predict (theory.md section 1; App. D.3)."""

import sys
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import output_like, public, require
from softjax._types import Array, Configuration, Int, Time
from softjax.fields._base import AbstractField
from softjax.processes import AbstractProcess

Prediction = Literal["noise", "denoiser", "score", "velocity", "flow"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


class NetworkField(AbstractField):
    r"""`network(t, x)`, or `network(t, x, label)`, as a field.

    `prediction` says what the network returns for $x = \alpha x_0 + \sigma\varepsilon$, an array of the shape of `x`:

    * "noise", $\varepsilon$: $D = (x - \sigma\varepsilon)/\alpha$ and $s = -\varepsilon/\sigma$;
    * "denoiser", $D$ itself;
    * "score", $s$: $D = (x + \sigma^2 s)/\alpha$;
    * "velocity", $v = \alpha\varepsilon - \sigma x_0$: $D = (\alpha x - \sigma v)/(\alpha^2 + \sigma^2)$;
    * "flow", the velocity of a rectified flow, $u = \varepsilon - x_0$: $D = (x - \sigma u)/(\alpha + \sigma)$.

    `network` is any callable that is a pytree of its parameters: a Flax NNX module, an Equinox module, or
    `jax.tree_util.Partial`. It acts on one configuration; batches are `jax.vmap`. `label` is handed to it if given,
    as an integer array. Parameters less precise than the state are raised to its precision.

    Raises `ValueError` for an unknown `prediction`, a network that is in training mode (dropout and batch statistics),
    and one that does not return one array of the shape of `x`.
    """

    network: Callable[..., Any]
    process: AbstractProcess
    label: Int[Array, ""] | int | None
    prediction: Prediction = eqx.field(static=True)

    @public
    def __init__(
        self,
        network: Callable[..., Any],
        process: AbstractProcess,
        prediction: Prediction = "noise",
        label: Int[Array, ""] | int | None = None,
    ):
        _require_inference(network)
        self.network = network
        self.process = process
        self.label = None if label is None else jnp.asarray(label)
        self.prediction = prediction

    @public
    def with_label(self, label: Int[Array, ""] | int | None) -> "NetworkField":
        """The same network with another class label, or with None without one: a batch of classes is `jax.vmap`.

        Raises `ValueError` for a label that is not a whole number.
        """
        return NetworkField(self.network, self.process, self.prediction, label)

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given `x` at time `t`, shape of `x`."""
        output = self.network(t, x) if self.label is None else self.network(t, x, self.label)
        output = output_like("network", output, x.shape).astype(x.dtype)
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


def _require_inference(network: Any) -> None:
    """Refuses a Flax NNX or Equinox network in training mode, whose layers say so."""
    nodes = jax.tree.leaves(network, is_leaf=lambda node: getattr(node, "inference", None) is False)
    if any(getattr(node, "inference", None) is False for node in nodes):
        raise ValueError("network is in training mode: give equinox.nn.inference_mode(network).")
    nnx: Any = sys.modules.get("flax.nnx")  # there, if the network is one of its modules
    layers = [layer for _, layer in nnx.iter_modules(network)] if nnx and isinstance(network, nnx.Module) else []
    flags = [getattr(layer, name, None) for layer in layers for name in ("deterministic", "use_running_average")]
    require(not any(flag is False for flag in flags), "network is in training mode: call network.eval() first.")
