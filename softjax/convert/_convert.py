"""From a checkpoint of torch's to a network's folder: recognised by content, checked in full, then written."""

import glob
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from softjax._checks import require
from softjax.convert._checkpoint import Checkpoint, recognise
from softjax.convert._dinov2 import dinov2_from_tensors
from softjax.convert._edm2 import edm2_config, edm2_parameters
from softjax.convert._edm2_layout import infer_edm2_arguments
from softjax.convert._edm2_pickle import read_edm2_pickle
from softjax.convert._parameters import CheckpointError, naming, parameters
from softjax.convert._safetensors import read_safetensors
from softjax.convert._sharded import locate, read_index, read_sharded
from softjax.convert._store import WEIGHTS, file_digest, read_description, save_parameters
from softjax.convert._torch_zip import read_torch_zip
from softjax.convert._wrapping import network_of, unwrap
from softjax.networks import EDM2Config
from softjax.processes import EDM, AbstractProcess

EDM2_LICENCE = "The weights that NVIDIA published with EDM2 are licensed CC BY-NC-SA 4.0: no commercial use."
DINOV2_LICENCE = "The weights that Meta published with DINOv2 are licensed Apache 2.0."


@dataclass(frozen=True)
class _Network:
    """What is to be written."""

    config: Any
    values: Mapping[str, np.ndarray]
    process: AbstractProcess | None
    prediction: str
    about: dict[str, Any]


def read_checkpoint(path: Path | str, *, key: str | None = None, prefix: str | None = None) -> Checkpoint:
    """The tensors of an EDM2 pickle, a torch state dict or a safetensors file, by content, not by name.

    What training scripts put around a network is taken off: prefixes that all names share, and dicts that hold the
    state dict beside other values. Nothing in the file is executed.

    * `path`: the file. For safetensors in several parts: their folder, their index or any one of them; all are read;
    * `key`: which state dict of a torch file to take, such as "ema"; below several keys, joined by dots. Without it,
      the only one that holds a known network is taken;
    * `prefix`: take only the tensors whose names begin with this, such as "ema." ("" for those without a known
      prefix). Without it, "module.", "_orig_mod.", "ema.", "model." and "net.", also stacked, are taken off where all
      names share them and a known network is below.

    Raises `FileNotFoundError` if `path` is missing; `CheckpointError`, naming what is wrong with the file, or the keys
    or prefixes among which to choose; `ValueError` for `key` or `prefix` where a file has nothing to choose from.

    >>> checkpoint = sj.convert.read_checkpoint(sj.convert.shipped("classifier-binary") / "weights.safetensors")
    >>> sorted(checkpoint.tensors)[0], checkpoint.tensors["output.bias"].shape
    ('convolutions.0.bias', (10,))
    """
    path = locate(Path(path))
    layout = recognise(path)
    require(layout == "torch zip" or key is None, f"{path} is no torch file with several state dicts: leave key out.")
    if layout == "EDM2 pickle":
        require(prefix is None, f"{path} is an EDM2 pickle, whose names have no prefix: leave prefix out.")
    with naming(path):
        if layout == "EDM2 pickle":
            return read_edm2_pickle(path)
        if layout == "torch zip":
            checkpoint = read_torch_zip(path, key, prefix)
        else:
            checkpoint = read_safetensors(path) if layout == "safetensors" else read_sharded(path)
        taken, names = unwrap(checkpoint.tensors, prefix)
        return replace(checkpoint, tensors={new: checkpoint.tensors[old] for old, new in names.items()}, prefix=taken)


def convert(
    source: Path | str,
    out: Path | str,
    *,
    head: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
    key: str | None = None,
    prefix: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Converts a checkpoint of EDM2 or DINOv2 into a folder for `load_network` or `load_module`; returns the folder.

    Parameters keep the precision of the file (bfloat16 becomes float32), so that half-precision files stay half as
    large; loading converts them exactly. `network.json` records name, size and SHA-256 of the source, and a licence.

    * `source`: a published EDM2 pickle, or a state dict under the names of the originals (EDM2, DINOv2) or of
      transformers (DINOv2), as torch's zip format or safetensors. For safetensors in several parts: their folder,
      their `*.safetensors.index.json` or any one of them;
    * `out`: the folder. It must be new or empty, or hold this same conversion, which is then left as it is;
    * `head`: file of DINOv2's linear head, where that is stored apart;
    * `options`: what a state dict leaves open: constructor arguments of EDM2 such as `channels_per_head`, `num_heads`
      of DINOv2;
    * `key`: which state dict of a torch file to take, where it holds several, such as "ema"; below several keys,
      joined by dots. One alone that holds EDM2 or DINOv2 is taken without asking; plain values beside it are dropped;
    * `prefix`: take only the tensors whose names begin with this, such as "ema." ("" for those without a known
      prefix). Without it, "module.", "_orig_mod.", "ema.", "model." and "net.", also stacked, are taken off where all
      names share them;
    * `progress`: called with the bytes written so far and in all.

    Raises `FileNotFoundError` if `source` is missing; `FileExistsError` if `out` holds something else;
    `CheckpointError` for a file that is damaged, refused or of another network, and for one of several networks, which
    it lists; `ValueError` for a head, options, a key or a prefix that the network or its file does not take. Nothing
    is written in any of these cases.

    >>> path = sj.convert.fetch("edm2-img64-xs-0134217-0.110")  # doctest: +SKIP
    >>> folder = sj.convert.convert(path, "edm2-xs")  # doctest: +SKIP
    >>> sj.convert.load_network(folder).denoise(1.0, jnp.zeros((64, 64, 3))).shape  # doctest: +SKIP
    (64, 64, 3)
    """
    out, given = Path(out).absolute(), {name: _plain(value) for name, value in (options or {}).items()}
    with naming(source):
        network = _read(Path(source), None if head is None else Path(head), given, key, prefix)
    if _is_done(out, network.about):
        return out
    dtypes = {value.dtype.name for value in network.values.values()}
    dtype = "float64" if "float64" in dtypes else "float16" if dtypes == {"float16"} else "float32"
    _remove_leftovers(out)
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    try:
        save_parameters(
            partial, network.config, network.values, network.process, network.prediction, network.about, dtype, progress
        )
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _read(source: Path, head: Path | None, options: dict[str, Any], key: str | None, prefix: str | None) -> _Network:
    checkpoint = read_checkpoint(source, key=key, prefix=prefix)
    about = {"source": _provenance(source), "layout": checkpoint.layout}
    about |= {name: taken for name in ("key", "prefix") if (taken := getattr(checkpoint, name))}
    names = checkpoint.tensors.keys()
    network = "EDM2" if checkpoint.class_name else network_of(names)
    if network == "EDM2":
        require(head is None, "EDM2 has no separate head: give head only with a DINOv2 backbone.")
        return _edm2(checkpoint, options, about)
    if network == "DINOv2":
        return _dinov2(checkpoint, head, options, about)
    if network == "head":
        raise CheckpointError(f"{source} holds a linear head alone: convert its backbone, with head={str(source)!r}.")
    shown = ", ".join(list(names)[:4]) or "none"
    raise CheckpointError(f"{source} holds the tensors of neither EDM2 nor DINOv2; the first are {shown}.")


def _edm2(checkpoint: Checkpoint, options: dict[str, Any], about: dict[str, Any]) -> _Network:
    if checkpoint.class_name:
        require(not options, f"an EDM2 pickle says all about its network; got options {', '.join(options)}.")
        arguments = checkpoint.options
        about |= {"encoder": checkpoint.encoder}
    else:
        shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
        arguments = infer_edm2_arguments(shapes) | options
        if "channels_per_head" not in options:
            _require_default_heads(shapes)
        about |= {"options": options, "note": "arguments that neither shapes nor options fix are EDM2's defaults"}
    config = edm2_config(arguments)
    values = edm2_parameters(checkpoint.tensors, config)
    about |= {"arguments": arguments, "licence": EDM2_LICENCE}
    return _Network(config, values, EDM(config.sigma_data), "denoiser", about)


def _require_default_heads(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses attention on channels that heads of the default width can't share: names what to give instead."""
    width = EDM2Config.channels_per_head
    for name, shape in shapes.items():
        channels = shape[1] if name.endswith(".attn_qkv.weight") and len(shape) == 4 else width
        if channels < width or channels % (channels // width):
            raise CheckpointError(
                f"{name} is attention on {channels} channels, which heads of {width} can't share, and the tensors do "
                "not say how wide heads are: give channels_per_head, as an option or as --channels-per-head."
            )


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _dinov2(checkpoint: Checkpoint, head: Path | None, options: dict[str, Any], about: dict[str, Any]) -> _Network:
    require(options.keys() <= {"num_heads"}, f"the one option of DINOv2 is num_heads, got {', '.join(options)}.")
    if head is not None:
        about |= {"head": _provenance(head)}
    tensors = None if head is None else read_checkpoint(head).tensors
    try:
        network = dinov2_from_tensors(checkpoint.tensors, tensors, **options)
    except CheckpointError:
        raise
    except (ValueError, IndexError, ArithmeticError) as error:
        raise CheckpointError(f"the tensors do not fit together as those of a DINOv2 network do: {error}") from error
    about |= {"options": options, "licence": DINOV2_LICENCE}
    return _Network(network.config, parameters(network), None, "logits", about)


def _provenance(path: Path) -> dict[str, Any]:
    path = locate(path)
    record = _about_file(path)
    if recognise(path) == "index of shards":
        record["shards"] = [_about_file(path.parent / shard) for shard in sorted(set(read_index(path).values()))]
    return record


def _about_file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_digest(path)}


def _is_done(out: Path, about: Mapping[str, Any]) -> bool:
    """Whether `out` holds this conversion already; raises `FileExistsError` if it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    as_stored = json.loads(json.dumps(about))
    try:
        description = read_description(out)
        same = description["about"] == as_stored and description["sha256"] == file_digest(out / WEIGHTS)
    except (FileNotFoundError, CheckpointError, KeyError):
        same = False
    if not same:
        raise FileExistsError(f"{out} exists and is not this conversion: remove it, or choose another folder.")
    return True


def _remove_leftovers(out: Path) -> None:
    """Removes what earlier conversions into this folder left when they were killed."""
    for folder in out.parent.glob(f"{glob.escape(out.name)}.partial-*"):
        number = folder.name.rpartition("-")[2]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
