"""`UNet2DModel` of diffusers, built of a checked configuration and filled with checked weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softjax._checks import require
from softjax.convert import CheckpointError, read_checkpoint
from softjax.convert._parameters import naming, short
from softjax.interop._entries import Entries
from softjax.interop._torchax import optional

_ABOUT = {"_class_name", "_diffusers_version", "_name_or_path", "_use_default_values"}
_DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
_MAX_WIDTH, _MAX_CLASSES, _MAX_SIZE = 2**14, 2**20, 2**14
_LEAST_PER_LAYER = 8  # tensors of a residual block
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def unet_options(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of a `UNet2DModel`, every one checked.

    Raises `CheckpointError` for another class, an unknown entry, and a value that no network can have.
    """
    entries = Entries(path, values)
    entries.option("_class_name", None, ("UNet2DModel",))
    if values.get("time_embedding_type") == "fourier":
        entries.refuse("time_embedding_type", "'positional' or 'learned': models of ScoreSDE are not supported")
    options = {
        "sample_size": _sample_size(entries),
        "in_channels": entries.count("in_channels", 3, 256),
        "out_channels": entries.count("out_channels", 3, 512),
        "center_input_sample": entries.flag("center_input_sample", False),
        "time_embedding_type": entries.option("time_embedding_type", "positional", ("positional", "learned")),
        "time_embedding_dim": entries.count("time_embedding_dim", None, 4 * _MAX_WIDTH),
        "freq_shift": entries.number("freq_shift", 0, 0, 16),
        "flip_sin_to_cos": entries.flag("flip_sin_to_cos", True),
        "down_block_types": entries.options("down_block_types", (_DOWN[0], *[_DOWN[1]] * 3), _DOWN),
        "mid_block_type": entries.option("mid_block_type", "UNetMidBlock2D", ("UNetMidBlock2D", None)),
        "up_block_types": entries.options("up_block_types", (*[_UP[1]] * 3, _UP[0]), _UP),
        "block_out_channels": entries.counts("block_out_channels", (224, 448, 672, 896), _MAX_WIDTH),
        "layers_per_block": entries.count("layers_per_block", 2, 64),
        "mid_block_scale_factor": entries.number("mid_block_scale_factor", 1, 1e-6, 1e6),
        "downsample_padding": entries.count("downsample_padding", 1, 1, 0),
        "downsample_type": entries.option("downsample_type", "conv", ("conv", "resnet")),
        "upsample_type": entries.option("upsample_type", "conv", ("conv", "resnet")),
        "dropout": entries.number("dropout", 0.0, 0, 1),
        "act_fn": entries.option("act_fn", "silu", ("silu", "swish", "mish", "gelu", "relu")),
        "attention_head_dim": entries.count("attention_head_dim", values.get("attention_head_dim", 8), _MAX_WIDTH),
        "norm_num_groups": entries.count("norm_num_groups", 32, _MAX_WIDTH),
        "attn_norm_num_groups": entries.count("attn_norm_num_groups", None, _MAX_WIDTH),
        "norm_eps": entries.number("norm_eps", 1e-5, 0, 1),
        "resnet_time_scale_shift": entries.option("resnet_time_scale_shift", "default", ("default", "scale_shift")),
        "add_attention": entries.flag("add_attention", True),
        "class_embed_type": entries.option("class_embed_type", None, (None,)),
        "num_class_embeds": entries.count("num_class_embeds", None, _MAX_CLASSES),
        "num_train_timesteps": entries.count("num_train_timesteps", None, _MAX_CLASSES),
    }
    unknown = sorted(values.keys() - options.keys() - _ABOUT)
    if unknown:
        raise CheckpointError(f"{path} has entries that no UNet2DModel has: {short(unknown)}.")
    return options


def build(config: Path, options: Mapping[str, Any], weights: Path) -> Any:
    """The network in evaluation mode, filled: nothing is allocated before names and shapes of the weights fit.

    Raises `CheckpointError` for options that do not go together, for weights of another network, which it names, and
    for values that are not finite floating-point numbers.
    """
    with naming(weights):
        tensors = _renamed(read_checkpoint(weights).tensors)
    levels, layers = len(options["block_out_channels"]), options["layers_per_block"]
    if _LEAST_PER_LAYER * levels * layers > len(tensors):
        raise CheckpointError(f"{weights}: {config} asks for {levels} levels of {layers} blocks, it is too small.")
    torch, diffusers = optional("torch"), optional("diffusers")
    try:
        with torch.device("meta"):
            unet = diffusers.UNet2DModel(**options)
    except Exception as error:
        raise CheckpointError(f"{config}: no UNet2DModel can be built of it: {error}") from error
    shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    _require_same(weights, shapes, {name: value.shape for name, value in tensors.items()})
    for name, value in tensors.items():
        _require_finite(weights, name, value)
    double = any(value.dtype == np.float64 for value in tensors.values())
    dtype = np.float64 if double else np.float32
    filled = {name: torch.from_numpy(np.array(value, dtype, order="C")) for name, value in tensors.items()}
    unet.load_state_dict(filled, strict=True, assign=True)
    return unet.requires_grad_(False).eval()


def _sample_size(entries: Entries) -> int | tuple[int, ...] | None:
    value = entries.values.get("sample_size")
    if not isinstance(value, list):
        return entries.count("sample_size", None, _MAX_SIZE)
    if len(value) != 2:
        entries.refuse("sample_size", "one or two whole numbers")
    return entries.counts("sample_size", (), _MAX_SIZE)


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names of attention as they are since diffusers 0.15."""
    old = re.compile(rf"(.*\.attentions\.\d+\.)({'|'.join(_OLD_ATTENTION)})(\.(?:weight|bias))")

    def renamed(name: str) -> str:
        match = old.fullmatch(name)
        return f"{match[1]}{_OLD_ATTENTION[match[2]]}{match[3]}" if match else name

    new = {renamed(name): value for name, value in tensors.items()}
    require(len(new) == len(tensors), "the weights hold attention under its old and its new names.")
    return new


def _require_same(path: Path, wanted: Mapping[str, tuple], found: Mapping[str, tuple]) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{short(name)} is not a parameter of it" for name in found if name not in wanted]
    problems += [
        f"{name} has shape {found[name]}, the configuration's {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(f"{path} holds the weights of another network: {'; '.join(problems[:4])}{more}.")


def _require_finite(path: Path, name: str, value: np.ndarray) -> None:
    kind = value.dtype.name
    if kind not in ("float16", "bfloat16", "float32", "float64"):
        raise CheckpointError(f"{path}: {name} holds {kind}, wanted floating-point numbers.")
    if not np.all(np.isfinite(value)):
        raise CheckpointError(f"{path}: {name} holds NaN or infinite values.")
