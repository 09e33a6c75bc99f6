"""Networks on disk: a folder with `weights.safetensors` and `network.json`. Nothing in it is ever executed."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open

from softjax._checks import concrete, require, require_option
from softjax.convert._parameters import CheckpointError, naming, parameters, short, with_read_parameters
from softjax.convert._safetensors import write_safetensors
from softjax.fields import NetworkField
from softjax.fields._network import PREDICTIONS
from softjax.networks import ARCHITECTURES, EDM2Config, UNetConfig
from softjax.processes import AbstractProcess, describe, from_description

WEIGHTS, DESCRIPTION = "weights.safetensors", "network.json"
_MAX_DESCRIPTION = 2**26
_LEAST_PER_BLOCK = 4  # tensors
_FLOATS = {"F16", "BF16", "F32", "F64"}


def save_network(
    folder: Path | str,
    network: Any,
    process: AbstractProcess | None = None,
    prediction: str = "noise",
    about: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes a network of `softjax.networks`, and the process it was trained for, into `folder`.

    * `folder`: where to, made if it is not there;
    * `network`: one of `softjax.networks`;
    * `process`: the one that it was trained for; None for classifiers;
    * `prediction`: what it returns, as for `NetworkField`;
    * `about`: what a reader should know (source, licence, training), JSON types only;
    * `dtype`: precision of the file, "float32" or "float16".

    Files appear under their
    names only when whole: `network.json`, written last, makes the folder loadable, and holds the weights' checksum.

    Raises `ValueError` for a process that can't be stored, or that the network can't have been trained for: EDM2 is the
    "denoiser" of an EDM process with its own `sigma_data`, classifiers have none.

    >>> import tempfile
    >>> from flax import nnx
    >>> network = sj.networks.UNet(sj.networks.UNetConfig(widths=(8,), embedding_size=8), rngs=nnx.Rngs(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sj.convert.save_network(folder, network, sj.VP())
    ...     print(sj.convert.load_network(folder).process, sj.convert.read_description(folder)["prediction"])
    VP(beta=1) noise
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
    if process is not None:
        _require_suits(config, process, prediction)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {config_class: name for name, (_, config_class) in ARCHITECTURES.items()}
    partial = folder / f"{WEIGHTS}.partial"
    write_safetensors(partial, values, dtype, progress)
    description = {
        "architecture": names[type(config)],
        "config": asdict(config),
        "process": None if process is None else describe(process),
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

    * `folder`: one that `save_network`, `convert` or a training wrote, or `shipped(...)`.

    Parameters take the default float type, whatever precision they were stored in. Everything in the description is
    checked before a network is built of it, and parameters must be finite floating-point numbers.

    >>> classify = sj.convert.load_module(sj.convert.shipped("classifier-grey"))
    >>> classify(jnp.zeros((28, 28))).shape
    (10,)
    """
    return _load(folder, read_description(folder))


def load_network(folder: Path | str, label: int | None = None) -> NetworkField:
    """The field of the network in `folder`: `load_module` with the process that it was trained for.

    * `folder`: one that `save_network`, `convert` or a training wrote, or `shipped(...)`;
    * `label`: one of the network's classes, or None for none.

    Raises `ValueError` for a class that it does not have, `FileNotFoundError`, or `CheckpointError` for files that are
    not what they say.

    >>> field = sj.convert.load_network(sj.convert.shipped("fashion-binary"))
    >>> field.process, field.denoise(2.0, jnp.zeros((28, 28))).shape
    (VP(beta=1), (28, 28))
    """
    description = read_description(folder)
    with naming(Path(folder) / DESCRIPTION):
        config = _config(description)
    if description["process"] is None:
        raise CheckpointError(f"{folder} holds a {description['architecture']}, which is not a diffusion model.")
    prediction = description["prediction"]
    if prediction not in PREDICTIONS:
        raise CheckpointError(f"{folder} holds a network of unknown prediction {short(prediction)}.")
    with naming(Path(folder) / DESCRIPTION):
        process = _process(description["process"])
        try:
            _require_suits(config, process, prediction)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
    _require_label(config, label)
    return NetworkField(_load(folder, description), process, prediction, label, _channels(config))


def _channels(config: Any) -> int | None:
    """The channels of a network's images; None for a single one, as such networks take images without that axis too."""
    known = config.img_channels if isinstance(config, EDM2Config) else getattr(config, "channels", 1)
    return known if known > 1 else None


def read_description(folder: Path | str) -> dict[str, Any]:
    """The contents of `network.json`.

    * `folder`: one that `save_network`, `convert` or a training wrote, or `shipped(...)`.

    Raises `FileNotFoundError`, or `CheckpointError` for a file that is damaged or has none of its entries.

    >>> description = sj.convert.read_description(sj.convert.shipped("fashion-binary"))
    >>> description["architecture"], description["process"]
    ('unet', {'name': 'VP', 'beta': 1.0})
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {DESCRIPTION}: it is not a network's folder, or an unfinished one.")
    if path.stat().st_size > _MAX_DESCRIPTION:
        raise CheckpointError(f"{path} is larger than a description can be, {_MAX_DESCRIPTION} bytes.")
    try:
        description = json.loads(path.read_text())
    except RecursionError as error:
        raise CheckpointError(f"{path} is damaged: its lists and objects are nested too deeply.") from error
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


def _load(folder: Path | str, description: Mapping[str, Any]) -> Any:
    """The network of a description; nothing is built before configuration, checksum and sizes are known to be good."""
    weights = Path(folder) / WEIGHTS
    with naming(Path(folder) / DESCRIPTION):
        config = _config(description)
    if file_digest(weights) != description["sha256"]:
        raise CheckpointError(f"{weights} is damaged: its checksum is not the one in {DESCRIPTION}. Get it again.")
    try:
        shapes = _shapes(weights)
        with naming(weights):
            return with_read_parameters(
                _outline(config, len(shapes)), shapes, lambda name: _finite(weights, name, _read(weights, name))
            )
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is no safetensors file: {error}") from error


def _config(description: Mapping[str, Any]) -> Any:
    """The configuration of a description, every entry of which has been checked."""
    name, entries = description["architecture"], description["config"]
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(f"it holds a network of unknown architecture {short(name)}.")
    config = ARCHITECTURES[name][1]
    known = {field.name for field in fields(config)}
    if not isinstance(entries, dict) or not entries.keys() <= known:
        found = short(entries) if not isinstance(entries, dict) else f"with {short(sorted(entries.keys() - known))}"
        raise CheckpointError(
            f"it describes no {name}: config must be an object with {', '.join(sorted(known))}; got {found}."
        )
    try:
        return config(**{key: tuple(v) if isinstance(v, list) else v for key, v in entries.items()})
    except ValueError as error:
        raise CheckpointError(f"it describes no {name}: {error}") from error


def _outline(config: Any, num_tensors: int) -> Any:
    """The shapes of a network, built only if the weights can be as many as its blocks need."""
    levels = len(getattr(config, "widths", ())) or 1
    blocks = sum(getattr(config, name, 0) for name in ("depth", "num_middle_blocks"))
    blocks += levels * getattr(config, "num_blocks", 0)
    if _LEAST_PER_BLOCK * blocks > num_tensors:
        raise CheckpointError(
            f"these are the weights of another architecture: {DESCRIPTION} asks for {blocks} blocks of at least "
            f"{_LEAST_PER_BLOCK} tensors each, {num_tensors} tensors are there."
        )
    network = next(cls for cls, kind in ARCHITECTURES.values() if kind is type(config))
    try:
        return jax.eval_shape(lambda: network(config, rngs=nnx.Rngs(0)))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise CheckpointError(f"no network can be built with {config}: {error}") from error


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor; raises `CheckpointError` naming one that holds no floating-point numbers."""
    with safe_open(weights, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        for name, part in slices.items():
            if part.get_dtype() not in _FLOATS:
                found = part.get_dtype()
                raise CheckpointError(f"{weights}: {short(name)} holds {found}, wanted floating-point numbers.")
        return {name: tuple(part.get_shape()) for name, part in slices.items()}


def _read(path: Path, name: str) -> np.ndarray:
    """One tensor of a safetensors file, opened for it alone: what an open file has read stays in memory."""
    with safe_open(path, "numpy") as file:
        return file.get_tensor(name)


def _finite(path: Path, name: str, value: np.ndarray) -> np.ndarray:
    """Refuses a tensor with numbers that are not finite, or not in the default float type."""
    largest = float(jnp.finfo(jnp.result_type(float)).max)
    if not np.all(np.isfinite(value)):
        raise CheckpointError(f"{path}: {short(name)} holds NaN or infinite values.")
    if value.dtype == np.float64 and value.size and np.max(np.abs(value)) > largest:
        raise CheckpointError(f"{path}: {short(name)} holds values beyond {largest:g}: set JAX_ENABLE_X64=1.")
    return value


def _require_suits(config: Any, process: AbstractProcess, prediction: str) -> None:
    """Refuses a process that the network can't have been trained for."""
    require(
        isinstance(config, EDM2Config | UNetConfig),
        f"a network with {type(config).__name__} is not a diffusion model, got {short(process)}: leave process out.",
    )
    if not isinstance(config, EDM2Config):
        return
    require(
        process.has_edm_clock() and prediction == "denoiser",
        f"an EDM2 network is the denoiser of an EDM process, got the prediction {prediction!r} of {short(process)}.",
    )
    found, wanted = float(getattr(process, "sigma_data", math.nan)), config.sigma_data
    require(found == wanted, f"the process has sigma_data {found}, the EDM2 network {wanted}: they must be the same.")


def _require_label(config: Any, label: Any) -> None:
    """Refuses a class that the network does not have, where it is known."""
    known = None if label is None else concrete(label)
    if known is None or known.dtype.kind not in "iu" or known.shape != ():
        return
    if hasattr(config, "label_dim"):
        num, inside = config.label_dim, 0 <= int(known) < config.label_dim
    else:  # one more stands for no label
        num, inside = config.num_classes, 0 <= int(known) <= config.num_classes and config.num_classes > 0
    labels = f"labels from 0 to {num - 1}" if num else "no labels"
    require(inside, f"this network takes {labels}, got {short(label)}: choose another, or leave label out.")


def _process(description: Any) -> AbstractProcess:
    try:
        return from_description(description)
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"unknown process {short(description)}: {error}") from error
