"""An EDM2 network of a few thousand numbers, with labels and attention, and files of it that a test bends."""

from typing import Any

import numpy as np
from convert.edm2_pickle_writer import write_edm2_pickle
from convert.pickle_emitter import Emitter, Global, NewObj, Raw, Reduce

from softjax.convert._edm2 import edm2_config
from softjax.convert._edm2_layout import edm2_modules, edm2_shapes
from softjax.convert._edm2_pickle import read_edm2_pickle

ARGUMENTS = {
    "img_resolution": 4,
    "img_channels": 1,
    "label_dim": 2,
    "model_channels": 4,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [2],
    "channels_per_head": 4,
    "logvar_channels": 4,
}


def random_state(arguments, seed=0):
    """Random tensors of a network with these arguments, exact in float16."""
    generator = np.random.default_rng(seed)
    shapes = edm2_shapes(edm2_modules(edm2_config(arguments)))
    return {name: generator.normal(size=shape).astype(np.float16).astype(np.float32) for name, shape in shapes.items()}


STATE = random_state(ARGUMENTS)


def read(tmp_path, edit=None, arguments=ARGUMENTS, state=STATE, **options):
    """What is read of a published file after `edit` has changed the writer's tree."""
    path = tmp_path / "network.pkl"
    write_edm2_pickle(arguments, state, path, edit=edit, **options)
    return read_edm2_pickle(path)


def module(top, path):
    """The state of a module in the writer's tree."""
    value = top["ema"]
    for name in path.split(".") if path else ():
        value = attributes(value)["_modules"][name]
    return attributes(value)


def attributes(value: Any) -> Any:
    return value.state if isinstance(value, NewObj) else value.args[0]["state"]


def array(values, count=None, core="_core"):
    """A NumPy array as protocol 4 has it: two calls, each followed by BUILD."""

    def code(value):
        emitter = Emitter(memo=False)
        emitter.put(value)
        return b"".join(emitter.frame).replace(b"\x94", b"")

    data = np.asarray(values, "<f4").tobytes()
    made = Reduce(Global(f"numpy.{core}.multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,), b"b")
    dtype = (
        code(Reduce(Global("numpy", "dtype"), "f4", False, True)) + code((3, "<", None, None, None, -1, -1, 0)) + b"b"
    )
    shape = (len(values) if count is None else count,)
    return Raw(code(made) + b"(" + code(1) + code(shape) + dtype + code(False) + code(data) + b"tb")


def buffered_array(values, count=None, core="_core", order="C"):
    """A NumPy array as protocol 5 has it: one call on a byte array."""

    def code(value):
        emitter = Emitter(memo=False)
        emitter.put(value)
        return b"".join(emitter.frame).replace(b"\x94", b"")

    dtype = code(Reduce(Global("numpy", "dtype"), "f4", False, True))
    dtype += code((3, "<", None, None, None, -1, -1, 0)) + b"b"
    shape = (len(values) if count is None else count,)
    data = bytearray(np.asarray(values, "<f4").tobytes())
    return Reduce(Global(f"numpy.{core}.numeric", "_frombuffer"), data, Raw(dtype), shape, order)
