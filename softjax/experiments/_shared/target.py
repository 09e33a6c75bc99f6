"""What a command is pointed at: a folder, a network that ships, or a name in the user's own code."""

import hashlib
import inspect
import os
import re
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import require
from softjax._types import Times
from softjax.convert import read_description, shipped
from softjax.experiments._shared.flow import classes_of_trajectories
from softjax.experiments._shared.networks import checksum, loaded
from softjax.experiments._shared.trajectories import LengthOf
from softjax.fields import AbstractField, NetworkField, channels_of
from softjax.processes import EDM, VP, AbstractProcess, DiscreteVP, RectifiedFlow, karras_grid, log_grid
from softjax.sweeps import fingerprint

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_SIDE = 28  # of the images that our U-Nets are trained on, which their folders do not say
_LEVELS = (80.0, 0.02)  # noise-to-signal ratios between which trajectories run, as far as the process has them


class Target(NamedTuple):
    """A field with what is needed to look at it."""

    field: AbstractField
    lattice: tuple[int, ...]
    """Empty where the target does not say it."""
    channels: int | None
    num_classes: int | None
    """0 for none, None where it is not known."""
    identity: str
    """A checksum of all that its numbers depend on, as far as it is known."""
    t_max: float | None = None
    """The largest time on a logarithmic grid, for networks that were trained on one."""
    spins: bool = False
    folder: Path | None = None
    """Of a network of ours."""

    def grid(self, num_steps: int, t_max: float, t_min: float) -> Times:
        """Decreasing times; numbers that are 0 are chosen here."""
        process = self.field.process
        if process.has_edm_clock():
            return karras_grid(t_max or 80.0, t_min or 0.002, num_steps or 32)[:-1]
        if self.t_max is not None:
            return log_grid(t_max or self.t_max, t_min or 1e-3, num_steps or 400)
        high = float(process.noise_to_signal(t_max)) if t_max else _reached(process, _LEVELS[0])
        low = float(process.noise_to_signal(t_min)) if t_min else _reached(process, _LEVELS[1])
        require(high > low > 0, f"t_max and t_min must be decreasing levels of noise, got {high:.3g} and {low:.3g}.")
        levels = np.geomspace(high, low, (num_steps or 400) + 1)
        return jax.vmap(process.from_noise_to_signal)(jnp.asarray(levels, float))

    @property
    def length(self) -> LengthOf:
        """What the correlation length is measured of."""
        return "sign" if self.spins else "second_moment"


def _reached(process: AbstractProcess, level: float) -> float:
    """The noise-to-signal ratio nearest to a level that the process has a time for."""
    levels = np.geomspace(level, 1.0, 400)
    times = np.asarray(jax.vmap(process.from_noise_to_signal)(jnp.asarray(levels, float)))
    good = levels[np.isfinite(times) & (times > 0)]
    require(good.size > 0, f"{process} has no time at which the noise is of the size of the data.")
    return float(good[0])


def resolve(config: Any) -> Target:
    """The target of a configuration; the same object as long as its files stay as they are.

    Raises `FileNotFoundError`, `ValueError` and `CheckpointError` for what is none, in words.
    """
    name = config.target
    folder = Path(name).expanduser()
    if not folder.is_dir() and not _NAME.fullmatch(name):
        try:
            folder = shipped(name)
        except ValueError as error:
            raise FileNotFoundError(
                f"{name} is no folder, no network that ships, and not of the form package.module:name."
            ) from error
    if folder.is_dir():
        files = sorted((*folder.glob("*.*"), *folder.glob("*/*.*")))
        stamp = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        return _of_folder(folder, stamp)
    return _of_name(name, config.process, config.prediction, config.shape, config.channels)


def lattice_and_channels(config: Any, target: Target) -> tuple[tuple[int, ...], int]:
    """Sides of a configuration's lattice, and its channels, 0 for none; `ValueError` where nobody says them."""
    lattice = config.shape or target.lattice
    require(bool(lattice), "the target does not say its lattice: give --shape, the sides without channels.")
    channels = target.channels if config.channels is None else config.channels
    require(
        target.channels in (None, channels),
        f"--channels {config.channels} does not fit the target, which has {target.channels}.",
    )
    require(
        channels is not None or len(lattice) < 3,
        f"--shape {' '.join(map(str, lattice))} may hold channels: give --channels too, 0 for a lattice of "
        f"{len(lattice)} axes.",
    )
    return tuple(lattice), channels or 0


def classes_of_target(config: Any, target: Target) -> np.ndarray | None:
    """The class of every trajectory; None without classes."""
    if target.num_classes is not None:
        return classes_of_trajectories(config.labels, target.num_classes, config.num_trajectories)
    return np.resize(np.asarray(config.labels), config.num_trajectories) if config.labels else None


@lru_cache(maxsize=2)
def _of_folder(folder: Path, stamp: Any) -> Target:
    del stamp
    if not (folder / "network.json").exists():
        return _of_diffusers(folder)
    description = read_description(folder)
    network, training = description["config"], description.get("about", {}).get("training", {})
    field, identity = loaded(folder), checksum(folder)
    if "img_resolution" in network:
        side, channels = network["img_resolution"], network["img_channels"]
        return Target(field, (side, side), channels, network["label_dim"], identity, folder=folder)
    channels = network.get("channels", 1)
    return Target(
        field,
        (_SIDE, _SIDE),
        channels if channels > 1 else 0,
        network.get("num_classes", 0),
        identity,
        training.get("t_max", 6.0),
        training.get("variant") == "binary",
        folder,
    )


def _of_diffusers(folder: Path) -> Target:
    from softjax.interop import load_diffusers

    target = _of_object(load_diffusers(folder), "")
    return target._replace(num_classes=target.num_classes or 0)


@lru_cache(maxsize=2)
def _of_name(
    name: str, process: str, prediction: Any, shape: tuple[int, ...], channels: int | None, base: str | None = None
) -> Target:
    found, source = _imported(name)
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()  # a function that makes the field
    if not isinstance(found, AbstractField) and not hasattr(found, "field"):
        require(callable(found), f"{name} is a {type(found).__name__}: wanted a field, or a callable (t, x).")
        made = getattr(getattr(found, "convention", None), "shape", ())
        found = NetworkField(_as_jax(found, shape, channels), _process(process), prediction, channels=channels)
        shape = shape or (tuple(made[:-1]) if channels else tuple(made))
    target = _of_object(found, source)
    return target._replace(lattice=shape or target.lattice)


def _of_object(found: Any, source: str) -> Target:
    """A field, or what holds one with its shape, channels and classes."""
    field = found if isinstance(found, AbstractField) else found.field
    require(isinstance(field, AbstractField), f"wanted a field, got {type(field).__name__}.")
    traced = getattr(getattr(field, "network", None), "is_traced", True)
    require(
        traced,
        "torchax can't trace this torch module, so that it has no exact derivatives: softjax.mode_response with "
        "method='finite_difference' still measures its modes.",
    )
    shape, channels = tuple(getattr(found, "shape", ())), channels_of(field)
    if channels is None and len(shape) == 3:
        channels = shape[-1]
    identity = hashlib.sha256((fingerprint(field) + source).encode()).hexdigest()
    return Target(field, shape[:-1] if channels else shape, channels, getattr(found, "num_classes", None), identity)


def _as_jax(found: Any, shape: tuple[int, ...], channels: int | None) -> Any:
    """A torch module as a JAX function, called as module(x, t) with a batch axis and channels first."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(found, torch.nn.Module):
        return found
    from softjax.interop import from_torch

    require(bool(shape), "a torch module needs --shape, the sides of its lattice, and --channels if there are several.")
    full = (*shape, channels) if channels else shape
    return from_torch(found, shape=full, channels="first" if channels else "single")


def _process(name: str) -> AbstractProcess:
    known = {"vp": VP, "edm": EDM, "flow": RectifiedFlow, "ddpm": _ddpm}
    if name in known:
        return known[name]()
    require(bool(_NAME.fullmatch(name)), f"process must be {', '.join(known)}, or package.module:name, got {name!r}.")
    found, _ = _imported(name)
    require(isinstance(found, AbstractProcess), f"{name} is a {type(found).__name__}, wanted a process.")
    return found


def _ddpm() -> DiscreteVP:
    """The linear table of Ho et al. (2020)."""
    return DiscreteVP(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))


def _imported(name: str) -> tuple[Any, str]:
    """What stands under package.module:name, found as `python -m` finds it, and the source of its module."""
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise FileNotFoundError(f"there is no module {module_name} here or among what is installed.") from error
    found: Any = module
    for part in attribute.split("."):
        require(hasattr(found, part), f"{module_name} has no {attribute}.")
        found = getattr(found, part)
    path = getattr(module, "__file__", None)
    return found, Path(path).read_text() if path and path.endswith(".py") else ""
