"""The files of a pipeline in a folder: where they are, and JSON that is checked. Nothing outside the folder is read."""

import json
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from softjax._checks import require
from softjax.convert import CheckpointError
from softjax.convert._sharded import read_index

_MAX_JSON = 2**20
_WEIGHTS = tuple(f"diffusion_pytorch_model.{end}" for end in ("safetensors", "safetensors.index.json", "bin"))
_LATENT = ("vae", "vqvae")


class Files(NamedTuple):
    """The parts of a pipeline."""

    config: Path
    weights: Path
    scheduler: Path


def find(folder: Path) -> Files:
    """The files of a pipeline, in folders of its parts or all in one.

    Raises `FileNotFoundError` naming what is missing, `ValueError` for a folder of a model of latents, and
    `CheckpointError` for a file that is a link to outside. The blobs of a cache of Hugging Face's count as inside.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Nothing is downloaded: give the folder of a pipeline on disk.")
    latent = [name for name in _LATENT if (folder / name).exists()]
    require(not latent, f"{folder} has {'/, '.join(latent)}/: it is a model of latents, wanted one of pixels.")
    network = folder / "unet" if (folder / "unet").is_dir() else folder
    config = _first(folder, network, ("config.json",))
    weights = _first(folder, network, _WEIGHTS)
    scheduler = _first(folder, folder, ("scheduler/scheduler_config.json", "scheduler_config.json"))
    if weights.suffix == ".json":
        for shard in set(read_index(weights).values()):
            require_inside(folder, weights.parent / shard)
    return Files(config, weights, scheduler)


def require_inside(folder: Path, path: Path) -> None:
    """Refuses a file that is a link to outside of the folder."""
    root, real = folder.resolve(), path.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if not (real.is_relative_to(root) or real.is_relative_to(blobs)):
        raise CheckpointError(f"{path} is a link to outside of the folder {folder}: copy the file there.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises `CheckpointError` for one that is damaged, too large, or holds anything else."""
    if path.stat().st_size > _MAX_JSON:
        raise CheckpointError(f"{path} is larger than a configuration can be, {_MAX_JSON} bytes.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}, {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, wanted an object.")
    code = [key for key in ("auto_map", "custom_code", "custom_pipeline") if key in value]
    if code:
        raise CheckpointError(f"{path} names code to run ({', '.join(code)}), which is never done.")
    return value


def _first(folder: Path, parent: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (parent / name).is_file():
            require_inside(folder, parent / name)
            return parent / name
    found = sorted(path.name for path in parent.iterdir())
    raise FileNotFoundError(f"{parent} holds no {' or '.join(names)}; it holds {', '.join(found[:8]) or 'nothing'}.")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
