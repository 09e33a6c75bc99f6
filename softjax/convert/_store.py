"""Networks on disk: a folder with `weights.safetensors` and `network.json`. Nothing in it is ever executed."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open

from softjax._checks import require_option
from softjax.convert._parameters import CheckpointError, parameters, with_read_parameters
from softjax.convert._safetensors import write_safetensors
from softjax.fields import NetworkField
from softjax.fields._network import PREDICTIONS
from softjax.networks import ARCHITECTURES
from softjax.processes import EDM, VP, AbstractProcess, ConstantSchedule

WEIGHTS, DESCRIPTION = "weights.safetensors", "network.json"


def save_network(
    folder: Path | str,
    network: Any,
    process: AbstractProcess | None = None,
    prediction: str = "noise",
    about: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes a network of `softjax.networks`, and the process it was trained for, into `folder`.

    `about` holds what a reader should know (source, licence, training), JSON types only. Files appear under their
    names only when whole: `network.json`, written last, makes the folder loadable, and holds the weights' checksum.
    """
    save_parameters(folder, network.config, parameters(network), process, prediction, about, dtype)


def save_parameters(
    folder: Path | str,
    config: Any,
    values: Mapping[str, np.ndarray],
    process: AbstractProcess | None = None,
    prediction: str = "noise",
    about: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """`save_network` for the values of all parameters by name, written one at a time: no network is built.

    `progress` is called with the bytes written so far and in all.
    """
    require_option("dtype", dtype, ("float32", "float16", "float64"))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {config_class: name for name, (_, config_class) in ARCHITECTURES.items()}
    partial = folder / f"{WEIGHTS}.partial"
    write_safetensors(partial, values, dtype, progress)
    description = {
        "architecture": names[type(config)],
        "config": asdict(config),
        "process": None if process is None else _describe(process),
        "prediction": prediction,
        "num_parameters": sum(value.size for value in values.values()),
        "sha256": file_digest(partial),
        "about": dict(about or {}),
    }
    (folder / DESCRIPTION).unlink(missing_ok=True)
    os.replace(partial, folder / WEIGHTS)
    write_whole(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_module(folder: Path | str) -> Any:
    """The network in `folder`; raises `FileNotFoundError`, or `CheckpointError` for files that are not what they say.

    Parameters take the default float type, whatever precision they were stored in.
    """
    description = read_description(folder)
    name = description["architecture"]
    if name not in ARCHITECTURES:
        raise CheckpointError(f"{folder} holds a network of unknown architecture {name!r}.")
    cls, config = ARCHITECTURES[name]
    try:
        fields = {key: tuple(v) if isinstance(v, list) else v for key, v in description["config"].items()}
        network = jax.eval_shape(lambda: cls(config(**fields), rngs=nnx.Rngs(0)))
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}/{DESCRIPTION} describes no {name}: {error}") from error
    weights = Path(folder) / WEIGHTS
    if file_digest(weights) != description["sha256"]:
        raise CheckpointError(f"{weights} is damaged: its checksum is not the one in {DESCRIPTION}. Get it again.")
    try:
        with safe_open(weights, "numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return with_read_parameters(network, shapes, lambda name: _read(weights, name))
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is no safetensors file: {error}") from error


def load_network(folder: Path | str, label: int | None = None) -> NetworkField:
    """The field of the network in `folder`: `load_module` with the process that it was trained for."""
    network, description = load_module(folder), read_description(folder)
    if description["process"] is None:
        raise CheckpointError(f"{folder} holds a {description['architecture']}, which is not a diffusion model.")
    prediction = description["prediction"]
    if prediction not in PREDICTIONS:
        raise CheckpointError(f"{folder} holds a network of unknown prediction {prediction!r}.")
    return NetworkField(network, _process(description["process"]), prediction, label)


def read_description(folder: Path | str) -> dict[str, Any]:
    """The contents of `network.json`."""
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {DESCRIPTION}: it is not a network's folder, or an unfinished one.")
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    wanted = {"architecture", "config", "process", "prediction", "sha256"}
    if not isinstance(description, dict) or not wanted <= description.keys():
        raise CheckpointError(f"{path} is damaged: it must be an object with {', '.join(sorted(wanted))}.")
    return description


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file, hexadecimal."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing.")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Writes a text file that is either whole or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _read(path: Path, name: str) -> np.ndarray:
    """One tensor of a safetensors file, opened for it alone: what an open file has read stays in memory."""
    with safe_open(path, "numpy") as file:
        return file.get_tensor(name)


def _describe(process: AbstractProcess) -> dict[str, Any]:
    if isinstance(process, EDM):
        return {"name": "EDM", "sigma_data": process.sigma_data}
    if isinstance(process, VP) and isinstance(process.schedule, ConstantSchedule):
        return {"name": "VP", "beta": float(process.schedule.value)}
    raise ValueError(f"only EDM and VP with a constant rate can be stored with a network, got {process}.")


def _process(description: Any) -> AbstractProcess:
    try:
        process, parameter = {"EDM": (EDM, "sigma_data"), "VP": (VP, "beta")}[description["name"]]
        return process(float(description[parameter]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"unknown process {description!r}: softjax stores EDM and VP.") from error
