"""EDM2's checkpoints: configurations and tensors by the names of the published networks, as ours."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import jax
import numpy as np
from flax import nnx

from softjax.convert._parameters import CheckpointError, short, with_parameters
from softjax.convert._rules import Rule, conv_kernel, convert_tensors, identity, linear_kernel, parameter_shapes
from softjax.networks import EDM2, EDM2Config

_REQUIRED = ("img_resolution", "img_channels", "label_dim")
# the largest of each that is believed, far beyond any network
_COUNTS = {"img_resolution": 2**14, "img_channels": 2**14, "label_dim": 2**20, "model_channels": 2**14}
_COUNTS |= {"num_blocks": 64, "channels_per_head": 2**14, "logvar_channels": 2**14, "attn_resolutions": 2**14}
_COUNTS |= {"channel_mult": 64, "channel_mult_noise": 64, "channel_mult_emb": 64}
_LONGEST_LIST = 16
_LISTS = {"channel_mult", "attn_resolutions", "resample_filter"}
_OPTIONAL = {"channel_mult_noise", "channel_mult_emb", "clip_act"}


def edm2_config(arguments: Mapping[str, Any]) -> EDM2Config:
    """The configuration from the keyword arguments that a published network was constructed with.

    `use_fp16` is accepted and dropped: it says how the original computes. Raises `CheckpointError` naming each
    argument that is unknown, missing, or not the kind of value it must be.
    """
    known = {field.name for field in fields(EDM2Config)} - {"compute_dtype"} | {"use_fp16"}
    problems = [f"{short(name)[1:-1]} is no argument of EDM2" for name in arguments if name not in known]
    problems += [f"{name} is missing" for name in _REQUIRED if name not in arguments]
    values = {}
    for name in arguments.keys() & known - {"use_fp16"}:
        try:
            values[name] = _argument(name, arguments[name])
        except ValueError as error:
            problems.append(str(error))
    if not isinstance(arguments.get("use_fp16", False), bool):
        problems.append(f"use_fp16 must be true or false, got {short(arguments['use_fp16'])}")
    if problems:
        raise CheckpointError(f"this is no configuration of EDM2: {'; '.join(sorted(problems))}.")
    try:
        return EDM2Config(**values)
    except ValueError as error:
        raise CheckpointError(f"this is no configuration of EDM2: {error}") from error


def edm2_rules(config: EDM2Config) -> list[Rule]:
    """The table from a checkpoint's names, which hold resolutions, to ours, which hold levels."""
    places = [(r"unet\.dec\.{0}x{0}_in([01])".format(config.resolutions[-1]), r"middle.\1")]
    depth = len(config.resolutions)
    for level, side in enumerate(config.resolutions):
        places += [
            (rf"unet\.enc\.{side}x{side}_block(\d+)", rf"encoder.{level}.\1"),
            (rf"unet\.dec\.{side}x{side}_block(\d+)", rf"decoder.{depth - 1 - level}.\1"),
        ]
        if level:
            places.append((rf"unet\.enc\.{side}x{side}_down", f"downs.{level - 1}"))
        if level + 1 < depth:
            places.append((rf"unet\.dec\.{side}x{side}_up", f"ups.{depth - 2 - level}"))
    side = config.resolutions[0]
    return [
        Rule(r"unet\.emb_fourier\.freqs", "noise_features.frequencies"),
        Rule(r"unet\.emb_fourier\.phases", "noise_features.phases"),
        Rule(r"unet\.emb_noise\.weight", "noise.kernel", linear_kernel),
        Rule(r"unet\.emb_label\.weight", "label.kernel", linear_kernel),
        Rule(rf"unet\.enc\.{side}x{side}_conv\.weight", "input.kernel", conv_kernel),
        *(
            Rule(rf"{pattern}\.{name}", f"{target}.{ours}", layout)
            for pattern, target in places
            for name, ours, layout in _BLOCK
        ),
        Rule(r"unet\.out_conv\.weight", "output.kernel", conv_kernel),
        Rule(r"unet\.out_gain", "output_gain"),
        Rule(r"logvar_fourier\.freqs", "log_variance_features.frequencies"),
        Rule(r"logvar_fourier\.phases", "log_variance_features.phases"),
        Rule(r"logvar_linear\.weight", "log_variance_head.kernel", linear_kernel),
    ]


def edm2_parameters(tensors: Mapping[str, np.ndarray], config: EDM2Config) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by our names and in our layout, as views in the precision they are stored in.

    Raises `CheckpointError` listing all that is missing, left over or of another shape.
    """
    return convert_tensors(tensors, edm2_rules(config), (), parameter_shapes(_outline(config)))


def edm2_from_tensors(tensors: Mapping[str, np.ndarray], config: EDM2Config) -> EDM2:
    """The network of a checkpoint, its tensors converted to the default float type before anything is computed.

    * `tensors`: arrays by the names of a checkpoint, as `read_checkpoint(...).tensors`;
    * `config`: the architecture.

    >>> checkpoint = sj.convert.read_checkpoint("edm2-img64-xs-0134217-0.110.pkl")  # doctest: +SKIP
    >>> config = sj.networks.EDM2Config.preset("xs")  # doctest: +SKIP
    >>> sj.convert.edm2_from_tensors(checkpoint.tensors, config)(1.0, jnp.zeros((64, 64, 3))).shape  # doctest: +SKIP
    (64, 64, 3)
    """
    return with_parameters(_outline(config), edm2_parameters(tensors, config))


def _outline(config: EDM2Config) -> EDM2:
    """The network's shapes, without its arrays."""
    return jax.eval_shape(lambda: EDM2(config, rngs=nnx.Rngs(0)))


def _point_kernel(tensor: np.ndarray) -> np.ndarray:
    """Torch's 1 x 1 convolution (out, in, 1, 1) as (in, out)."""
    if tensor.shape[2:] != (1, 1):
        raise ValueError("no 1 x 1 convolution")
    return tensor[:, :, 0, 0].transpose()


_BLOCK = (
    (r"conv_res0\.weight", "conv1.kernel", conv_kernel),
    (r"conv_res1\.weight", "conv2.kernel", conv_kernel),
    (r"emb_linear\.weight", "embedding.kernel", linear_kernel),
    (r"emb_gain", "embedding_gain", identity),
    (r"conv_skip\.weight", "skip.kernel", _point_kernel),
    (r"attn_qkv\.weight", "qkv.kernel", _point_kernel),
    (r"attn_proj\.weight", "projection.kernel", _point_kernel),
)


def _argument(name: str, value: Any) -> Any:
    """One argument as the type that `EDM2Config` holds."""
    if value is None and name in _OPTIONAL:
        return None
    if name in _LISTS:
        if not isinstance(value, list | tuple) or len(value) > _LONGEST_LIST:
            raise ValueError(f"{name} must be a list of at most {_LONGEST_LIST} numbers, got {short(value)}")
        return tuple(_single(name, entry) for entry in value)
    return _single(name, value)


def _single(name: str, value: Any) -> int | float:
    if name in _COUNTS:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNTS[name]:
            raise ValueError(f"{name} must be a whole number, or several, up to {_COUNTS[name]}; got {short(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise ValueError(f"{name} must be a finite number, or several; got {short(value)}")
    return float(value)
