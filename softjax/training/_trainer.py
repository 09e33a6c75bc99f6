"""The loop over steps: compiled once, with donated buffers, the same on one device and on many.

Everything random is a function of the key and the step, so that a training which is killed and resumed repeats the
losses it would have had.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from softjax._checks import require
from softjax._types import Array, Float, PRNGKeyArray
from softjax.data import LabelledImages, shuffled_batches
from softjax.training._checkpoint import load_checkpoint, save_checkpoint
from softjax.training._objectives import AbstractObjective
from softjax.training._optimiser import average_exponent, averaged, optimiser
from softjax.training._speed import matmul_rate, operations
from softjax.training.configs import Optimisation

_CPU_MICROBATCH = 16  # activations of more images than this leave the cache; measured, see docs/performance.md
_EXEMPT = ("epochs", "checkpoint_seconds", "microbatch")  # settings that may change between stretches


class TrainState(NamedTuple):
    """All that changes from step to step."""

    step: Array
    network: Any
    average: Any
    optimiser: Any


@dataclass(frozen=True)
class Report:
    """Where a training stands, after a step.

    * `step`: steps so far;
    * `num_steps`: steps in all;
    * `loss`: mean over the last 50 steps;
    * `images_per_second`: since the training was started or resumed, validation and checkpoints included;
    * `operations_per_second`: floating-point operations of the gradients alone, at that rate;
    * `matmul_rate`: what the devices do per second in large matrix products, measured at the start;
    * `validation`: by name, the last epoch's, empty before.

    >>> report = sj.training.Report(10, 100, 0.5, 200.0, 1e9, 1e10, {"test": 0.6})
    >>> print(report.text)
    loss 0.5000, 200.0 images/s, 10% of the matmul rate, test: 0.6000
    """

    step: int
    num_steps: int
    loss: float
    """Mean over the last 50 steps."""
    images_per_second: float
    """Since the training was started or resumed, validation and checkpoints included."""
    operations_per_second: float
    """Floating-point operations of the gradients alone, at that rate."""
    matmul_rate: float
    """What the devices do per second in large matrix products, measured at the start; CPU devices share their cores."""
    validation: dict[str, float]
    """The last epoch's, empty before."""

    @property
    def text(self) -> str:
        """One line to read."""
        share = self.operations_per_second / self.matmul_rate
        speed = f"loss {self.loss:.4f}, {self.images_per_second:.1f} images/s, {share:.0%} of the matmul rate"
        return ", ".join([speed, *(f"{name}: {value:.4f}" for name, value in self.validation.items())])


def train(
    objective: AbstractObjective,
    network: Any,
    data: LabelledImages,
    config: Optimisation,
    *,
    key: PRNGKeyArray,
    checkpoint: Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    validate: Callable[[Any], dict[str, float]] | None = None,
    report: Callable[[Report], None] | None = None,
    constrain: Callable[[Any], Any] | None = None,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Trains `network` on images (N, *shape), floats; returns its averaged weights and the history.

    * `objective`: what an image costs;
    * `network`: a pytree that is called as the objective calls it;
    * `data`: images (N, *shape), floats, with their labels;
    * `config`: how the weights move;
    * `key`: fixes the order of the images and all noise;
    * `checkpoint`: a file, written every `checkpoint_seconds` and at the end of each epoch; None for no file;
    * `settings`: stored with it: a resumed training must repeat them;
    * `resume`: whether to go on from the checkpoint, where there is one;
    * `validate`: called with the averaged network after each epoch, returns numbers by name;
    * `report`: called with a `Report` now and then;
    * `constrain`: maps the network to an allowed one after each step, as `normalized_weights` does.

    The history has "loss" (steps,) and, of every epoch's `validate(average)`, one array (epochs,) per name. Raises
    `FileExistsError` for a checkpoint that is there although `resume` is not asked for, `FloatingPointError` when the
    loss is not finite, and `ValueError` for a batch that does not fit the images or the devices.

    >>> from jax.tree_util import Partial
    >>> objective = sj.training.NoisePrediction(sj.VP(), 0.1, 4.0)
    >>> network = Partial(lambda w, t, x: w * x, jnp.ones(()))
    >>> data = sj.data.LabelledImages(np.ones((8, 4, 4)), np.zeros(8, int))
    >>> config = sj.training.Optimisation(epochs=2, batch_size=4, warmup_steps=1)
    >>> trained, history = sj.training.train(objective, network, data, config, key=jr.key(0))
    >>> history["loss"].shape
    (4,)
    """
    steps_per_epoch = len(data.images) // config.batch_size
    require(steps_per_epoch >= 1, f"batch_size {config.batch_size} exceeds the {len(data.images)} images.")
    require(
        config.batch_size % jax.device_count() == 0,
        f"batch_size {config.batch_size} must be a multiple of the {jax.device_count()} devices.",
    )
    num_steps = config.epochs * steps_per_epoch
    transformation = optimiser(config, num_steps)
    key_order, key_noise = jr.split(key)
    state = TrainState(jnp.zeros((), jnp.int32), network, network, transformation.init(network))
    history: dict[str, np.ndarray] = {"loss": np.zeros(0, np.float32)}
    settings = (settings or {}) | {k: v for k, v in asdict(config).items() if k not in _EXEMPT}
    if checkpoint is not None and checkpoint.exists():
        if not resume:
            raise FileExistsError(
                f"{checkpoint} is there already: resume that training (--resume), or name another folder."
            )
        state, history = load_checkpoint(checkpoint, state, settings)
    place, spread = _placement()
    state = jax.tree.map(lambda leaf: place(jnp.array(leaf)), state)  # copies: the step overwrites its input
    objective = jax.tree.map(place, objective)
    step = _compiled_step(transformation, config, constrain)
    recorder = _Recorder(checkpoint, settings, history, config.checkpoint_seconds)
    work, peak = 0.0, 1.0
    if report:
        work, peak = (
            _operations(objective, state.network, data),
            matmul_rate() * (1 if _on_cpu() else jax.device_count()),
        )
    first, start = int(state.step), time.perf_counter()
    for n in range(first, num_steps):
        chosen = shuffled_batches(len(data.images), config.batch_size, n, key=key_order)
        state, loss = step(state, objective, spread(data.images[chosen]), spread(data.labels[chosen]), key_noise)
        recorder.add(loss)
        end_of_epoch = (n + 1) % steps_per_epoch == 0
        if end_of_epoch and validate:
            recorder.validated(validate(state.average))
        if end_of_epoch or recorder.due:
            recorder.save(state)
        if report:
            rate = (n + 1 - first) * config.batch_size / (time.perf_counter() - start)
            report(Report(n + 1, num_steps, recorder.recent_loss, rate, work * rate, peak, recorder.last_validation))
    recorder.save(state)
    return state.average, recorder.history


def validation_losses(
    objective: AbstractObjective, network: Any, data: LabelledImages, edges: tuple[float, ...], *, key: PRNGKeyArray
) -> Float[np.ndarray, " intervals"]:
    """Mean loss on each interval of times between the decreasing or increasing `edges`, t log-uniform within.

    * `objective`: what an image costs;
    * `network`: a pytree that is called as the objective calls it;
    * `data`: images and labels;
    * `edges`: of the intervals, positive, in units of the process's time;
    * `key`: fixes the noise.

    Returns an array (intervals,).

    >>> from jax.tree_util import Partial
    >>> objective = sj.training.NoisePrediction(sj.VP(), 0.1, 4.0)
    >>> network = Partial(lambda w, t, x: w * x, jnp.ones(()))
    >>> data = sj.data.LabelledImages(np.ones((8, 4, 4)), np.zeros(8, int))
    >>> sj.training.validation_losses(objective, network, data, (4.0, 1.0, 0.1), key=jr.key(0)).shape
    (2,)
    """
    n = len(data.images)
    quantiles = (jnp.arange(n, dtype=jnp.result_type(float)) + 0.5) / n
    times = jnp.stack([a * (b / a) ** quantiles for a, b in zip(edges[:-1], edges[1:], strict=True)])
    return np.asarray(_mean_losses(objective, network, times, jnp.asarray(data.images), jnp.asarray(data.labels), key))


@eqx.filter_jit
def _mean_losses(objective: Any, network: Any, times: Array, images: Array, labels: Array, key: PRNGKeyArray) -> Array:
    def one(inputs: tuple[Array, ...]) -> Array:
        t, image, label, index = inputs
        return objective.loss(network, t, image, label, jr.fold_in(key, index))

    def interval(ts: Array) -> Array:
        return jnp.mean(jax.lax.map(one, (ts, images, labels, jnp.arange(images.shape[0])), batch_size=32))

    return jax.lax.map(interval, times)


def _compiled_step(
    transformation: Any, config: Optimisation, constrain: Callable[[Any], Any] | None
) -> Callable[..., tuple[TrainState, Array]]:
    """One step that overwrites the state it is given: one compiled program, or a few where the batch is divided."""
    fastest = math.gcd(_CPU_MICROBATCH * jax.device_count(), config.batch_size) if _on_cpu() else config.batch_size
    microbatch = min(config.microbatch or fastest, config.batch_size)
    exponent = average_exponent(config.average_width)
    require(config.batch_size % microbatch == 0, f"microbatch {microbatch} must divide batch_size {config.batch_size}.")

    def mean_loss(network: Any, objective: Any, ts: Array, images: Array, labels: Array, keys: Array) -> Array:
        return jnp.mean(jax.vmap(objective.loss, (None, 0, 0, 0, 0))(network, ts, images, labels, keys))

    @jax.jit
    def prepare(n: Array, objective: Any, images: Array, labels: Array, key: PRNGKeyArray) -> tuple[Array, ...]:
        size = images.shape[0]
        key_times, key_noise = jr.split(jr.fold_in(key, n))
        strata = jnp.arange(size, dtype=jnp.result_type(float))
        quantiles = (strata + jr.uniform(key_times, (size,))) / size  # one time in each stratum
        inputs = (objective.times(quantiles), images, labels, jr.split(key_noise, size))
        # Every microbatch takes its images from all devices: neighbours lie on one device.
        return jax.tree.map(lambda a: a.reshape(microbatch, -1, *a.shape[1:]).swapaxes(0, 1), inputs)

    @partial(jax.jit, donate_argnums=0)
    def accumulate(
        total: tuple[Array, Any], network: Any, objective: Any, inputs: tuple[Array, ...], n: Array
    ) -> tuple[Array, Any]:
        part = jax.tree.map(lambda a: a[n], inputs)
        return jax.tree.map(jnp.add, total, jax.value_and_grad(mean_loss)(network, objective, *part))

    @partial(jax.jit, donate_argnums=0)
    def update(state: TrainState, total: tuple[Array, Any]) -> tuple[TrainState, Array]:
        loss, gradient = jax.tree.map(lambda a: a * (microbatch / config.batch_size), total)
        updates, optimiser_state = transformation.update(gradient, state.optimiser, state.network)
        network = jax.tree.map(jnp.add, state.network, updates)
        network = constrain(network) if constrain else network
        average = averaged(state.average, network, state.step, exponent)
        return TrainState(state.step + 1, network, average, optimiser_state), loss

    # The loop over microbatches is Python's: in a `lax.scan`, XLA's CPU convolutions are sixty times slower.
    def step(
        state: TrainState, objective: AbstractObjective, images: Array, labels: Array, key: PRNGKeyArray
    ) -> tuple[TrainState, Array]:
        inputs = prepare(state.step, objective, images, labels, key)
        total = jax.tree.map(jnp.zeros_like, (jnp.zeros((), images.dtype), state.network))
        for n in range(config.batch_size // microbatch):
            total = accumulate(total, state.network, objective, inputs, jnp.asarray(n))
        return update(state, total)

    return step if microbatch < config.batch_size else jax.jit(step, donate_argnums=0)


def _operations(objective: AbstractObjective, network: Any, data: LabelledImages) -> float:
    """Floating-point operations of one image's gradient."""
    inputs = (objective, jnp.ones(()), jnp.asarray(data.images[0]), jnp.asarray(data.labels[0]), jr.key(0))
    return operations(jax.grad(lambda network, objective, *args: objective.loss(network, *args)), network, *inputs)


def _placement() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How the state is put on every device, and how a batch is divided among them."""
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))
    replicated, divided = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
    return lambda leaf: jax.device_put(leaf, replicated), lambda batch: jax.device_put(batch, divided)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


class _Recorder:
    """Keeps the history, and writes it with the state to the checkpoint."""

    def __init__(self, path: Path | None, settings: dict[str, Any], history: dict[str, np.ndarray], seconds: float):
        self.path, self.settings, self.seconds = path, settings, seconds
        self._history = history
        self._pending: list[Array] = []  # losses still on the device: fetching each one would make it wait
        self._saved_at = time.perf_counter()

    @property
    def history(self) -> dict[str, np.ndarray]:
        if self._pending:
            new = np.asarray(jax.device_get(self._pending), np.float32)
            self._history["loss"] = np.concatenate([self._history["loss"], new])
            self._pending = []
            if not np.all(np.isfinite(new)):
                raise FloatingPointError(
                    "the loss is no longer finite; the last checkpoint is from before. Take a smaller learning_rate."
                )
        return self._history

    @property
    def due(self) -> bool:
        return self.path is not None and time.perf_counter() - self._saved_at >= self.seconds

    @property
    def recent_loss(self) -> float:
        recent = self.history["loss"][-50:] if len(self._pending) >= 20 else self._history["loss"][-50:]
        return float(np.mean(recent)) if recent.size else float("nan")

    @property
    def last_validation(self) -> dict[str, float]:
        return {name: float(values[-1]) for name, values in self._history.items() if name != "loss" and values.size}

    def add(self, loss: Array) -> None:
        self._pending.append(loss)

    def validated(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self._history[name] = np.append(self._history.get(name, np.zeros(0)), value)

    def save(self, state: TrainState) -> None:
        history = self.history
        if self.path is not None:
            save_checkpoint(self.path, state, history, self.settings)
        self._saved_at = time.perf_counter()
