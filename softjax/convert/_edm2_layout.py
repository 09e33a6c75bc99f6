"""What a published EDM2 file must consist of, given the configuration it claims.

Modules, their attributes and their tensors' shapes, in torch's names, without building anything: a file is compared
with this before a network is made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

from softjax.convert._parameters import CheckpointError, short
from softjax.networks import EDM2Config

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Module:
    """One module of the network."""

    class_name: str
    attributes: dict[str, Any]
    tensors: dict[str, Shape]


def edm2_modules(config: EDM2Config) -> dict[str, Module]:
    """Every module by its path, "" for the network itself."""
    names = ("img_resolution", "img_channels", "label_dim", "sigma_data")
    balances = {name: getattr(config, name) for name in ("label_balance", "concat_balance")}
    labels = {} if config.label_dim else {"emb_label": None}
    modules = {
        "": Module("Precond", {name: getattr(config, name) for name in names}, {}),
        "unet": Module("UNet", balances | labels, {"out_gain": ()}),
        "unet.emb_fourier": _fourier(config.noise_size),
        "unet.emb_noise": _conv(config.embedding_size, config.noise_size),
        "unet.enc": Module("ModuleDict", {}, {}),
        "unet.dec": Module("ModuleDict", {}, {}),
        "unet.out_conv": _conv(config.img_channels, config.widths[0], 3, 3),
        "logvar_fourier": _fourier(config.logvar_channels),
        "logvar_linear": _conv(1, config.logvar_channels),
    }
    if config.label_dim:
        modules["unet.emb_label"] = _conv(config.embedding_size, config.label_dim)
    return modules | _encoder_and_decoder(config)


def edm2_shapes(modules: Mapping[str, Module]) -> dict[str, Shape]:
    """The shape of every tensor."""
    return {
        f"{path}.{name}" if path else name: shape
        for path, module in modules.items()
        for name, shape in module.tensors.items()
    }


def infer_edm2_arguments(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Constructor arguments of a bare state dict, as far as names and shapes fix them.

    They leave open `channels_per_head`, `clip_act`, `sigma_data`, the resampling filter and the balances.
    Raises `CheckpointError` if these are not the tensors of an EDM2 network.
    """
    try:
        levels = [name.split(".")[2].split("x")[0] for name in shapes if name.startswith("unet.enc.")]
        sides = sorted({int(level) for level in levels}, reverse=True)
        blocks = [f"unet.enc.{side}x{side}_block0" for side in sides]
        widths = [shapes[f"{block}.conv_res0.weight"][0] for block in blocks]
        embedding, noise = shapes["unet.emb_noise.weight"]
        unit = gcd(*widths, noise, embedding)
        attends = [f"{block}.attn_qkv.weight" in shapes for block in blocks]
        return {
            "img_resolution": sides[0],
            "img_channels": shapes["unet.out_conv.weight"][0],
            "label_dim": shapes.get("unet.emb_label.weight", (0, 0))[1],
            "logvar_channels": shapes["logvar_fourier.freqs"][0],
            "model_channels": unit,
            "channel_mult": [width // unit for width in widths],
            "channel_mult_noise": noise // unit,
            "channel_mult_emb": embedding // unit,
            "num_blocks": sum(name.startswith(blocks[0][:-1]) and name.endswith("emb_gain") for name in shapes),
            "attn_resolutions": [side for side, attention in zip(sides, attends, strict=True) if attention],
        }
    except KeyError as error:
        raise CheckpointError(
            f"these are not the tensors of an EDM2 network: {short(error.args[0])} is missing."
        ) from error
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            "these are not the tensors of an EDM2 network: names or shapes are not as there."
        ) from error


def _encoder_and_decoder(config: EDM2Config) -> dict[str, Module]:
    widths = config.widths
    modules, width = {f"unet.enc.{_square(config, 0)}_conv": _conv(widths[0], config.img_channels + 1, 3, 3)}, widths[0]
    skips = [width]

    def add(path: str, level: int, source: int, out: int, mode: str = "keep", attention: bool | None = None) -> int:
        side, name = path.split(".")
        attends = config.resolutions[level] in config.attn_resolutions if attention is None else attention
        heads = out // config.channels_per_head if attends else 0
        modules.update(_block(f"unet.{side}.{_square(config, level)}_{name}", source, out, mode, heads, config))
        return out

    for level, out in enumerate(widths):
        if level:
            skips.append(add("enc.down", level, width, width, "down", attention=False))
        for i in range(config.num_blocks):
            width = add(f"enc.block{i}", level, width, out)
            skips.append(width)
    deepest = len(widths) - 1
    add("dec.in0", deepest, width, width, attention=True)
    add("dec.in1", deepest, width, width, attention=False)
    for level in reversed(range(len(widths))):
        if level < deepest:
            add("dec.up", level, width, width, "up", attention=False)
        for i in range(config.num_blocks + 1):
            width = add(f"dec.block{i}", level, width + skips.pop(), widths[level])
    return modules


def _block(path: str, source: int, out: int, mode: str, heads: int, config: EDM2Config) -> dict[str, Module]:
    encoder = path.startswith("unet.enc.")
    layers = {
        "conv_res0": _conv(out, out if encoder else source, 3, 3),
        "emb_linear": _conv(out, config.embedding_size),
        "conv_res1": _conv(out, out, 3, 3),
        "conv_skip": _conv(out, source, 1, 1) if source != out else None,
        "attn_qkv": _conv(3 * out, out, 1, 1) if heads else None,
        "attn_proj": _conv(out, out, 1, 1) if heads else None,
    }
    names = ("resample_filter", "dropout", "res_balance", "attn_balance", "clip_act")
    attributes = {name: getattr(config, name) for name in names} | {
        "out_channels": out,
        "flavor": "enc" if encoder else "dec",
        "resample_mode": mode,
        "num_heads": heads,
    }
    attributes |= {name: None for name, layer in layers.items() if layer is None}
    modules = {f"{path}.{name}": layer for name, layer in layers.items() if layer is not None}
    return {path: Module("Block", attributes, {"emb_gain": ()}), **modules}


def _square(config: EDM2Config, level: int) -> str:
    return f"{config.resolutions[level]}x{config.resolutions[level]}"


def _conv(*shape: int) -> Module:
    return Module("MPConv", {"out_channels": shape[0]}, {"weight": shape})


def _fourier(size: int) -> Module:
    return Module("MPFourier", {}, {"freqs": (size,), "phases": (size,)})
