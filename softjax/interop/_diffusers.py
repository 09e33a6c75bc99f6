r"""Pipelines of diffusers with a `UNet2DModel` of pixels, read from a folder: a field with its process.

EDM's preconditioning (Karras et al. 2022, Eq. 7): with $s$ for `sigma_data`,
$D(x; \sigma) = \frac{s^2}{\sigma^2 + s^2} x + \frac{\sigma s}{\sqrt{\sigma^2 + s^2}}
F\bigl(\frac{x}{\sqrt{\sigma^2 + s^2}}; c \ln\sigma\bigr)$.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from softjax._checks import concrete, hashed, public, require
from softjax._repr import readable
from softjax._types import Array, Int
from softjax.convert import CheckpointError
from softjax.fields import NetworkField
from softjax.interop._convention import TorchNetwork
from softjax.interop._folder import find, read_json
from softjax.interop._schedulers import schedule
from softjax.interop._torch import from_torch
from softjax.interop._unet import build, unet_options
from softjax.processes import AbstractProcess


class PreconditionedNetwork(eqx.Module):
    """The denoiser of EDM around a network F; `noise_scale` is the factor of ln sigma in the time F gets."""

    network: TorchNetwork
    sigma_data: float = eqx.field(static=True)
    noise_scale: float = eqx.field(static=True)
    sign: float = eqx.field(static=True)

    def __hash__(self) -> int:
        """Refuses, and says which jit to use, as a network holds arrays."""
        return hashed(self)

    def __call__(self, t: Any, x: Any, label: Any = None) -> Array:
        """Posterior mean of the data given one configuration `x` at the noise level `t`, shape of `x`."""
        x = jnp.asarray(x)
        sigma, data = jnp.asarray(t, x.dtype), self.sigma_data
        scale = jnp.sqrt(sigma**2 + data**2)
        output = self.network(self.noise_scale * jnp.log(sigma), x / scale, label)
        return (data / scale) ** 2 * x + self.sign * sigma * data / scale * output


class DiffusersModel(eqx.Module):
    """A model read by `load_diffusers`, with a field that is ready to use.

    * `field`: the network as a field, with `model.field.with_label(3)` for a class;
    * `shape`: of one configuration, (height, width, channels), or (height, width) for one channel;
    * `channels`: how many channels the images have;
    * `num_classes`: how many classes, or None for a model without;
    * `description`: what was read, in words.

    >>> model = sj.interop.load_diffusers("ddpm-cifar10-32")  # doctest: +SKIP
    >>> sj.simulate(model.field, jnp.linspace(999, 0, 100), key=jr.key(0), shape=model.shape).x.shape  # doctest: +SKIP
    (32, 32, 3)
    """

    field: NetworkField
    shape: tuple[int, ...] = eqx.field(static=True)
    """Shape of one configuration: (height, width, channels), or (height, width) for one channel."""
    channels: int = eqx.field(static=True)
    num_classes: int | None = eqx.field(static=True)
    """Number of class labels, or None for a model without classes."""
    description: str = eqx.field(static=True)
    """What was read, in words."""

    @readable
    def __repr__(self) -> list[str]:
        """In a line: the field, the shape and the classes."""
        return [repr(self.field), f"shape {self.shape}", f"{self.num_classes or 'no'} classes"]

    @property
    def process(self) -> AbstractProcess:
        """The process of the field: a table of steps, or EDM."""
        return self.field.process


@public
def load_diffusers(
    folder: Path | str,
    *,
    label: Int[Array, ""] | int | None = None,
    shape: Sequence[int] | None = None,
    denoiser: bool = False,
) -> DiffusersModel:
    """The field of a pipeline of diffusers in a folder on disk: a `UNet2DModel` of pixels and a scheduler.

    The folder holds `config.json` and `diffusion_pytorch_model.safetensors` (also in parts, with their index) or
    `.bin`, in `unet/` or not, and `scheduler/scheduler_config.json`. Nothing is downloaded and no code of the folder
    is run. Learned variances are dropped. Weights keep single and double precision; half becomes single.

    Time is the step n = 0, ..., N - 1 of the scheduler's table, a `DiscreteVP` with clock "index"; or sigma, in units
    of the data, for the schedulers of EDM. The data are the pixels as the pipeline has them, mostly from -1 to 1.

    * `folder`: the folder of the pipeline;
    * `label`: the class for a model with classes, from 0 on. Without it, give one later:
      `model.field.with_label(label)`;
    * `shape`: lattice (height, width) of the configurations, in sites; without it, the `sample_size` of the
      configuration;
    * `denoiser`: says of a folder with `CMStochasticIterativeScheduler`, the scheduler of consistency models, that its
      network is the EDM denoiser they were distilled from, as in `edm_imagenet64_ema`; it is refused otherwise.

    Returns a `DiffusersModel`: `field`, `process`, `shape`, `channels`, `num_classes` and `description`.

    Raises `ModuleNotFoundError` or `ImportError` if torch, torchax or diffusers is missing, or their versions do not
    fit; `FileNotFoundError` if a part of the folder is missing; `CheckpointError` for a file that is damaged, of
    another kind of model, or not what the others say, naming file and reason; `ValueError` for a model of latents, a
    label that the model does not have, and a shape that it can't take.

    >>> model = sj.interop.load_diffusers("ddpm-cifar10-32")  # doctest: +SKIP
    >>> model.field.denoise(500, jnp.zeros(model.shape)).shape  # doctest: +SKIP
    (32, 32, 3)
    """
    files = find(Path(folder))
    values = schedule(files.scheduler, read_json(files.scheduler), denoiser)
    options = unet_options(files.config, read_json(files.config))
    channels, returned, classes = options["in_channels"], options["out_channels"], options["num_class_embeds"]
    if returned not in (channels, 2 * channels):
        raise CheckpointError(
            f"{files.config}: out_channels must be in_channels = {channels} or twice that, got {returned}."
        )
    _require_label(label, classes)
    lattice = _lattice(files.config, options["sample_size"], shape)
    full = lattice if channels == 1 else (*lattice, channels)
    network = from_torch(
        build(files.config, options, files.weights),
        shape=full,
        channels="single" if channels == 1 else "first",
        keywords={} if classes is None else {"class_labels": "label"},
        options={"return_dict": False},
        time="index" if options["time_embedding_type"] == "learned" else "float",
        output=0,
        learned_variance=returned == 2 * channels,
    )
    edm = values.preconditioning
    called = network if edm is None else PreconditionedNetwork(network, *edm)
    field = NetworkField(called, values.process, values.prediction, label, 0 if channels == 1 else channels)
    text = f"UNet2DModel of {folder}: configurations of shape {full}, {classes or 'no'} classes; {values.text}."
    return DiffusersModel(field, full, channels, classes, text)


def _lattice(path: Path, size: int | tuple[int, ...] | None, shape: Sequence[int] | None) -> tuple[int, ...]:
    if shape is not None:
        require(len(shape) == 2 and min(shape) > 0, f"shape must be (height, width), got {tuple(shape)}.")
        return tuple(shape)
    if size is None:
        raise CheckpointError(f"{path} has no sample_size: give shape=(height, width).")
    return (size, size) if isinstance(size, int) else size


def _require_label(label: Any, classes: int | None) -> None:
    known = None if label is None else concrete(label)
    if known is not None:
        labels = f"labels from 0 to {classes - 1}" if classes else "no labels"
        inside = classes is not None and 0 <= int(known) < classes
        require(inside, f"this model takes {labels}, got {int(known)}: choose another, or leave label out.")
