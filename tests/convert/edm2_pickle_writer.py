"""Writes network pickles in the published EDM2 layout from plain arrays, with numpy alone.

Real files carry the source text of the classes they hold; here a one-line placeholder stands for it. A test can
bend any part of a file (`edit`).
"""

import struct
from typing import Any

import numpy as np
from convert.pickle_emitter import Emitter, Global, NewObj, Reduce

STORAGES = {
    "<f2": "HalfStorage",
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C
SOURCE = "# placeholder: a real file holds the text of a Python module here\n"

ORDERED = Global("collections", "OrderedDict")
EASY = Global("dnnlib.util", "EasyDict")
PERSIST = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
PARAM = Global("torch._utils", "_rebuild_parameter")
TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
FROM_BYTES = Global("torch.storage", "_load_from_bytes")
MODULE_DICT = Global("torch.nn.modules.container", "ModuleDict")

_counter = [94000000000000]


def _s(t):
    b = t.encode()
    return b"X" + struct.pack("<I", len(b)) + b


def storage_blob(a, **bend):
    """The bytes argument of _load_from_bytes: five pickles (protocol 2), a count and the raw data."""
    a = np.ascontiguousarray(a)
    _counter[0] += 64
    o: dict[str, Any] = dict(
        magic=MAGIC,
        protocol=1001,
        little=True,
        storage=STORAGES[a.dtype.str],
        module="torch",
        key=str(_counter[0]),
        location="cpu",
        numel=a.size,
        count=a.size,
        data=a.tobytes(),
        extra=b"",
        view=b"N",
    )
    o.update(bend)
    magic = o["magic"].to_bytes(10, "little", signed=True)

    def integer(n):
        return (
            b"K" + bytes([n])
            if 0 <= n < 256
            else b"M" + struct.pack("<H", n)
            if 0 <= n < 65536
            else b"J" + struct.pack("<i", n)
            if -(2**31) <= n < 2**31
            else b"\x8a" + bytes([9]) + n.to_bytes(9, "little", signed=True)
        )

    p = [
        b"\x80\x02\x8a\x0a" + magic + b".",
        b"\x80\x02" + integer(o["protocol"]) + b".",
        b"\x80\x02}q\x00("
        + _s("protocol_version")
        + b"q\x01"
        + integer(o["protocol"])
        + _s("little_endian")
        + b"q\x02"
        + (b"\x88" if o["little"] else b"\x89")
        + _s("type_sizes")
        + b"q\x03}q\x04("
        + _s("short")
        + b"q\x05K\x02"
        + _s("int")
        + b"q\x06K\x04"
        + _s("long")
        + b"q\x07K\x04uu.",
        b"\x80\x02("
        + _s("storage")
        + b"q\x00c"
        + o["module"].encode()
        + b"\n"
        + o["storage"].encode()
        + b"\nq\x01"
        + _s(o["key"])
        + b"q\x02"
        + _s(o["location"])
        + b"q\x03"
        + integer(o["numel"])
        + o["view"]
        + b"tq\x04Q.",
        b"\x80\x02]q\x00" + _s(o["key"]) + b"q\x01a.",
    ]
    for i, code in (bend.get("pickles") or {}).items():
        p[i] = code
    return b"".join(p) + struct.pack("<q", o["count"]) + o["data"] + o["extra"]


def tensor(a, blob=None, offset=0, size=None, stride=None):
    a = np.asarray(a)
    size = a.shape if size is None else size
    if stride is None:
        stride, acc = [], 1
        for n in reversed(size):
            stride.insert(0, acc)
            acc *= n
    blob = storage_blob(a) if blob is None else blob
    return Reduce(TENSOR, Reduce(FROM_BYTES, blob), offset, tuple(size), tuple(stride), False, Reduce(ORDERED))


def parameter(a, **kw):
    return Reduce(PARAM, tensor(a, **kw), False, Reduce(ORDERED))


def persistent(class_name, state, source=SOURCE, version=6, kind="class"):
    return Reduce(PERSIST, dict(type=kind, version=version, module_src=source, class_name=class_name, state=state))


def module_state(params=None, buffers=None, children=None, **attrs):
    s = dict(training=False, _parameters=params or {}, _buffers=buffers or {}, _non_persistent_buffers_set=set())
    for k in ("_backward_pre_hooks", "_backward_hooks"):
        s[k] = Reduce(ORDERED)
    s["_is_full_backward_hook"] = None
    for k in (
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    ):
        s[k] = Reduce(ORDERED)
    s["_modules"] = children or {}
    s.update(attrs)
    return s


BLOCK_DEFAULTS = dict(
    resample_filter=[1, 1], channels_per_head=64, dropout=0, res_balance=0.3, attn_balance=0.3, clip_act=256
)
UNET_NAMES = {
    "model_channels",
    "channel_mult",
    "channel_mult_noise",
    "channel_mult_emb",
    "num_blocks",
    "attn_resolutions",
    "label_balance",
    "concat_balance",
}
BLOCK_NAMES = set(BLOCK_DEFAULTS) | {"flavor", "resample_mode", "attention"}


def build_tree(config, state, source=SOURCE, version=6):
    """The `ema` object for flat arrays named as torch names them."""
    cfg = dict(config)
    block_kw = {k: v for k, v in cfg.items() if k in BLOCK_NAMES}
    opts: dict[str, Any] = dict(BLOCK_DEFAULTS, **block_kw)
    unet_kw = {k: v for k, v in cfg.items() if k in UNET_NAMES | BLOCK_NAMES}
    top = ("img_resolution", "img_channels", "label_dim")
    tree = {}
    for name, a in state.items():
        node = tree
        *path, leaf = name.split(".")
        for p in path:
            node = node.setdefault(p, {})
        node[leaf] = np.asarray(a)

    def P(cls, st, args, kwargs):
        return persistent(cls, dict(st, _init_args=tuple(args), _init_kwargs=dict(kwargs)), source, version)

    def conv(n):
        w = n["weight"]
        return P(
            "MPConv",
            module_state(params=dict(weight=parameter(w)), out_channels=w.shape[0]),
            (w.shape[1], w.shape[0]),
            dict(kernel=list(w.shape[2:])),
        )

    def fourier(n):
        return P(
            "MPFourier",
            module_state(buffers={k: tensor(n[k]) for k in ("freqs", "phases")}),
            (n["freqs"].shape[0],),
            {},
        )

    def block(name, n, flavor):
        out = n["conv_res0"]["weight"].shape[0]
        cin = n["conv_skip"]["weight"].shape[1] if "conv_skip" in n else (n["conv_res0"]["weight"].shape[1])
        mode = "down" if name.endswith("_down") else "up" if name.endswith("_up") else "keep"
        st: dict[str, Any] = module_state(
            params=dict(emb_gain=parameter(n["emb_gain"])),
            children={k: conv(v) for k, v in n.items() if k != "emb_gain"},
            out_channels=out,
            flavor=flavor,
            resample_filter=list(opts["resample_filter"]),
            resample_mode=mode,
            num_heads=out // opts["channels_per_head"] if "attn_qkv" in n else 0,
            dropout=opts["dropout"],
            res_balance=opts["res_balance"],
            attn_balance=opts["attn_balance"],
            clip_act=opts["clip_act"],
        )
        for k in ("conv_skip", "attn_qkv", "attn_proj"):
            if k not in n:
                st[k] = None
        kw = dict(flavor=flavor)
        if mode != "keep":
            kw["resample_mode"] = mode
        elif name.endswith("_in0"):
            kw["attention"] = True
        elif "_block" in name:
            kw["attention"] = int(name.split("x")[0]) in cfg.get("attn_resolutions", [16, 8])
        return P("Block", st, (cin, out, n["emb_linear"]["weight"].shape[1]), dict(kw, **block_kw))

    u = tree["unet"]
    kids: dict[str, Any] = {"emb_fourier": fourier(u["emb_fourier"]), "emb_noise": conv(u["emb_noise"])}
    attrs = dict(label_balance=cfg.get("label_balance", 0.5), concat_balance=cfg.get("concat_balance", 0.5))
    if "emb_label" in u:
        kids["emb_label"] = conv(u["emb_label"])
    else:
        attrs["emb_label"] = None
    for side in ("enc", "dec"):
        kids[side] = NewObj(
            MODULE_DICT,
            module_state(children={k: conv(v) if "weight" in v else block(k, v, side) for k, v in u[side].items()}),
        )
    kids["out_conv"] = conv(u["out_conv"])
    unet = P(
        "UNet",
        module_state(params=dict(out_gain=parameter(u["out_gain"])), children=kids, **attrs),
        (),
        dict({k: cfg[k] for k in top}, **unet_kw),
    )
    return P(
        "Precond",
        module_state(
            children=dict(
                unet=unet, logvar_fourier=fourier(tree["logvar_fourier"]), logvar_linear=conv(tree["logvar_linear"])
            ),
            **{k: cfg[k] for k in top},
            use_fp16=cfg.get("use_fp16", True),
            sigma_data=cfg.get("sigma_data", 0.5),
        ),
        (),
        cfg,
    )


def write_edm2_pickle(
    config, state, path=None, half=True, source=SOURCE, version=6, edit=None, memo=True, framing=True, protocol=4
):
    """Returns the bytes; writes them to `path` when given.

    edit: called with the top-level dict of opcode values before writing; it may
    change the dict or return another value.
    """
    cast = (lambda a: np.asarray(a).astype(np.float16)) if half else np.asarray
    top: dict[str, Any] = dict(
        encoder=persistent("StandardRGBEncoder", dict(_init_args=(), _init_kwargs={}), source, version),
        dataset_kwargs=NewObj(
            EASY,
            items={
                "class_name": "training.dataset.ImageFolderDataset",
                "path": "data/img64.zip",
                "use_labels": config["label_dim"] > 0,
            },
        ),
        loss_fn=persistent(
            "EDM2Loss",
            dict(P_mean=-0.8, P_std=1.6, sigma_data=0.5, _init_args=(), _init_kwargs=dict(P_mean=-0.8, P_std=1.6)),
            source,
            version,
        ),
        ema=build_tree(config, {k: cast(v) for k, v in state.items()}, source, version),
    )
    new = edit(top) if edit else None
    value = NewObj(EASY, items=top) if new is None else new
    data = Emitter(memo, framing, protocol).bytes(value)
    if path:
        with open(path, "wb") as f:
            f.write(data)
    return data
