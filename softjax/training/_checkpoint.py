"""One file with all that a training needs to go on. It is replaced as a whole, so a kill leaves the one before."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from softjax.convert import CheckpointError, parameters, with_parameters

_HISTORY = "history."


def save_checkpoint(path: Path, state: Any, history: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    """Writes the state (a pytree of arrays), what was recorded on the way, and the settings it belongs to.

    * `path`: the file;
    * `state`: a pytree of arrays;
    * `history`: an array for each name, what was recorded on the way;
    * `settings`: those that a resumed training must have, JSON types only.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "checkpoint.safetensors"
    ...     sj.training.save_checkpoint(path, {"weight": jnp.ones(2)}, {"loss": np.ones(3)}, {"seed": 0})
    ...     print(path.exists())
    True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    recorded = {_HISTORY + name: np.ascontiguousarray(value) for name, value in history.items()}
    save_file(parameters(state) | recorded, partial, metadata={"settings": json.dumps(settings)})
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path, like: Any, settings: dict[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """The state, in the structure of `like`, and the history in `path`.

    * `path`: the file;
    * `like`: a pytree of the structure and shapes of the state;
    * `settings`: those that the training has, which must be those stored.

    Returns the state, and the history: an array for each name.

    Raises `CheckpointError` if the file is damaged, and if it belongs to other settings, naming them.

    >>> import pathlib, tempfile
    >>> state = {"weight": jnp.ones(2)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "checkpoint.safetensors"
    ...     sj.training.save_checkpoint(path, state, {"loss": np.ones(3)}, {"seed": 0})
    ...     stored, history = sj.training.load_checkpoint(path, state, {"seed": 0})
    >>> stored["weight"].tolist(), history["loss"].tolist()
    ([1.0, 1.0], [1.0, 1.0, 1.0])
    """
    try:
        with safe_open(path, "numpy") as file:
            stored = json.loads((file.metadata() or {}).get("settings", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint, or a damaged one ({error}); remove it to start anew."
        ) from error
    if differences := _differences(stored, settings):
        raise CheckpointError(
            f"{path} belongs to a training with other settings: {differences}. Give the same ones, or another folder."
        )
    history = {name.removeprefix(_HISTORY): value for name, value in tensors.items() if name.startswith(_HISTORY)}
    state = {name: value for name, value in tensors.items() if not name.startswith(_HISTORY)}
    return with_parameters(like, state), history


def _differences(stored: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(stored, dict):
        return "it has none"
    names = sorted(name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name))
    return ", ".join(f"{name} {stored.get(name)!r} there and {wanted.get(name)!r} here" for name in names)
