"""The field of a trained network, whatever it was trained to predict (theory.md section 1; App. D.3)."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx

from softjax._checks import require, require_option
from softjax._types import Array, Configuration, Int, Time
from softjax.fields._base import AbstractField
from softjax.processes import AbstractProcess

Prediction = Literal["noise", "denoiser", "score", "velocity"]
PREDICTIONS = ("noise", "denoiser", "score", "velocity")


class NetworkField(AbstractField):
    r"""`network(t, x)`, or `network(t, x, label)`, as a field.

    `prediction` says what the network returns for $x = \alpha x_0 + \sigma\varepsilon$, an array of the shape of `x`:

    * "noise", $\varepsilon$: $D = (x - \sigma\varepsilon)/\alpha$ and $s = -\varepsilon/\sigma$;
    * "denoiser", $D$ itself;
    * "score", $s$: $D = (x + \sigma^2 s)/\alpha$;
    * "velocity", $v = \alpha\varepsilon - \sigma x_0$: $D = (\alpha x - \sigma v)/(\alpha^2 + \sigma^2)$.

    `network` is any callable that is a pytree of its parameters: a Flax NNX module, an Equinox module, or
    `jax.tree_util.Partial`. It acts on one configuration; batches are `jax.vmap`. `label` is handed to it if given.
    Raises `ValueError` for an unknown `prediction` and for a network whose output has not the shape of `x`.
    """

    network: Callable[..., Any]
    process: AbstractProcess
    label: Int[Array, ""] | int | None
    prediction: Prediction = eqx.field(static=True)

    def __init__(
        self,
        network: Callable[..., Any],
        process: AbstractProcess,
        prediction: Prediction = "noise",
        label: Int[Array, ""] | int | None = None,
    ):
        require_option("prediction", prediction, PREDICTIONS)
        self.network = network
        self.process = process
        self.label = label
        self.prediction = prediction

    def denoise(self, t: Time, x: Configuration) -> Configuration:
        """Posterior mean of the data given `x` at time `t`, shape of `x`."""
        output = self.network(t, x) if self.label is None else self.network(t, x, self.label)
        require(output.shape == x.shape, f"the network returned shape {output.shape} for x of shape {x.shape}.")
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        if self.prediction == "noise":
            return (x - sigma * output) / alpha
        if self.prediction == "score":
            return (x + sigma**2 * output) / alpha
        if self.prediction == "velocity":
            return (alpha * x - sigma * output) / (alpha**2 + sigma**2)
        return output
