import struct

import numpy as np
import pytest
from convert import edm2_pickle_writer as writer
from convert.edm2_pickle_writer import FROM_BYTES, ORDERED, TENSOR, storage_blob, tensor, write_edm2_pickle
from convert.pickle_emitter import Emitter, Global, NewObj, Raw, Reduce
from convert.tiny_edm2 import ARGUMENTS, STATE, array, module, random_state, read

from softjax.convert import CheckpointError
from softjax.convert._edm2_pickle import read_edm2_pickle

pytestmark = pytest.mark.usefixtures("without_type_checks")  # which take most of the time here

BLOCK, CONV = "unet.enc.4x4_block0", "unet.enc.4x4_block0.conv_res0"
WEIGHT = STATE[f"{CONV}.weight"].astype(np.float16)


def attribute(path, name, value):
    return lambda top: module(top, path).__setitem__(name, value)


def argument(name, value):
    return lambda top: module(top, "")["_init_kwargs"].__setitem__(name, value)


def meta(name, value):
    return lambda top: top["ema"].args[0].__setitem__(name, value)


def weight(value):
    return lambda top: module(top, CONV)["_parameters"].__setitem__("weight", value)


def storage(**bend):
    return weight(tensor(WEIGHT, storage_blob(WEIGHT, **bend)))


def view(offset=0, size=WEIGHT.shape, stride=None):
    return weight(tensor(WEIGHT, storage_blob(WEIGHT), offset, size, stride))


def inner(index, code):
    return storage(pickles={index: code})


def top_is(value):
    return lambda top: value


def without(path, group, name):
    return lambda top: module(top, path)[group].__delitem__(name)


def added(path, group, name, value):
    return lambda top: module(top, path)[group].__setitem__(name, value)


EVIL = {
    "os.system": Reduce(Global("os", "system"), "touch owned"),
    "builtins.eval": Reduce(Global("builtins", "eval"), "open('owned', 'w')"),
    "builtins.getattr": Reduce(Global("builtins", "getattr"), Global("dnnlib.util", "EasyDict"), "__init__"),
    "torch.load": Reduce(Global("torch", "load"), "owned"),
    "pickle.loads": Reduce(Global("pickle", "loads"), b"cos\nsystem\n(S'touch owned'\ntR."),
    "torch.nn.modules.linear.Linear": NewObj(Global("torch.nn.modules.linear", "Linear"), {}),
    "collections.OrderedDict.__subclasses__": Reduce(Global("collections", "OrderedDict.__subclasses__")),
}
OPCODES = {
    "INST": b"ios\nsystem\n",
    "OBJ": b"o",
    "EXT1": b"\x82\x01",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pid\n",
    "BINPERSID": b"NQ",
    "GLOBAL": b"cos\nsystem\n",
    "NEWOBJ_EX": b"N)}\x92",
    "NEXT_BUFFER": b"\x97",
    "BYTEARRAY8": b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a",
}
REFUSED = {
    **{f"calls {name}": (lambda top, v=value: top.update(notes=v), f"names '{name}'") for name, value in EVIL.items()},
    **{f"opcode {n}": (lambda top, v=code: top.update(notes=Raw(v)), f"opcode {n}") for n, code in OPCODES.items()},
    "state of a function": (
        lambda top: top.update(notes=NewObj(Global("dnnlib.util", "EasyDict"), {"a": 1})),
        "sets the state",
    ),
    "no dict": (top_is([1]), "the file is a list"),
    "no network": (lambda top: top.pop("ema") and None, "no network under 'ema'"),
    "a network that is none": (lambda top: top.update(ema={}), "no network under 'ema'"),
    "another version": (meta("version", 5), "version 5, wanted 6"),
    "a version that is none": (meta("version", True), "version True, wanted 6"),
    "another kind of object": (meta("type", "func"), "type 'func'"),
    "source that is no text": (meta("module_src", 3), "module_src of 'ema' is 3"),
    "another class": (meta("class_name", "SongUNet"), "class 'SongUNet', wanted EDM2's Precond"),
    "another entry": (meta("hook", None), "must have the entries"),
    "another encoder": (lambda top: top.update(encoder=writer.persistent("Codec", {})), "unknown class 'Codec'"),
    "an encoder of another version": (lambda top: top["encoder"].args[0].update(version=7), "version 7, wanted 6"),
    "positional arguments": (attribute("", "_init_args", (64,)), "keyword arguments alone"),
    "no arguments": (attribute("", "_init_kwargs", None), "_init_kwargs is None"),
    "an unknown argument": (argument("layers", 3), "layers is no argument"),
    "a missing argument": (
        lambda top: module(top, "")["_init_kwargs"].pop("label_dim") and None,
        "label_dim is missing",
    ),
    "a huge size": (argument("model_channels", 10**6), "model_channels"),
    "a size beyond all": (argument("model_channels", 10**600), "wanted a number, text or a list"),
    "many levels": (argument("channel_mult", [1] * 60), "channel_mult"),
    "a nested list": (argument("channel_mult", [[1], [2]]), "no short list of numbers"),
    "a size that is none": (argument("num_blocks", "3"), "num_blocks"),
    "other sigma_data": (attribute("", "sigma_data", 0.4), "sigma_data of the network is 0.4"),
    "other label_dim": (attribute("", "label_dim", 3), "label_dim of the network is 3"),
    "other heads": (attribute("unet.enc.2x2_block0", "num_heads", 1), "num_heads of unet.enc.2x2_block0 is 1"),
    "other balance": (attribute("unet", "concat_balance", 0.4), "concat_balance of unet is 0.4"),
    "other filter": (attribute(BLOCK, "resample_filter", [1, 2]), r"resample_filter of .* is \[1, 2\]"),
    "other clipping": (attribute(BLOCK, "clip_act", None), "clip_act of .* is None"),
    "other mode": (attribute(BLOCK, "resample_mode", "up"), "resample_mode of .* is 'up'"),
    "an unknown attribute": (attribute(BLOCK, "scale", 2.0), "unknown attribute 'scale'"),
    "a missing attribute": (lambda top: module(top, BLOCK).pop("clip_act") and None, "no attribute clip_act"),
    "a hook": (attribute(BLOCK, "_forward_hooks", {"0": 1}), "'_forward_hooks' of .* is not empty"),
    "training that is none": (attribute(BLOCK, "training", 2), "training of .* is 2"),
    "a name with a dot": (
        lambda top: module(top, "")["_modules"].update({"a.b": None}),
        "'a.b', which is no such name",
    ),
    "a name with a slash": (
        lambda top: module(top, CONV)["_parameters"].update({"../x": 1}),
        "'../x', which is no such",
    ),
    "another module": (lambda top: module(top, "")["_modules"].update(head=top["encoder"]), "module head has no place"),
    "a missing module": (without(BLOCK, "_modules", "conv_res0"), "modules are missing: unet.enc.4x4_block0.conv_res0"),
    "a module of another class": (
        lambda top: module(top, "")["_modules"].update(logvar_linear=module(top, "")["_modules"]["logvar_fourier"]),
        "class 'MPFourier', wanted MPConv",
    ),
    "a module that is none": (lambda top: module(top, "")["_modules"].update(unet=3), "unet is 3, wanted an object"),
    "no children": (attribute(BLOCK, "_modules", 3), "_modules of .* is 3"),
    "a missing tensor": (without(CONV, "_parameters", "weight"), f"{CONV}.weight is missing"),
    "another tensor": (
        added(CONV, "_parameters", "bias", tensor(WEIGHT)),
        f"{CONV}.bias is not a tensor of this network",
    ),
    "another shape": (weight(tensor(WEIGHT[:1])), r"has shape \(1, 4, 3, 3\), wanted \(4, 4, 3, 3\)"),
    "integers": (weight(tensor(WEIGHT.astype(np.int64))), "names 'torch.LongStorage'"),
    "a tensor that is none": (weight([1.0]), "it is a list, wanted a tensor"),
    "a tensor of bytes": (weight(Reduce(TENSOR, b"ab", 0, (1,), (1,), False, Reduce(ORDERED))), "wanted bytes"),
    "a tensor with hooks": (
        weight(Reduce(TENSOR, Reduce(FROM_BYTES, storage_blob(WEIGHT)), 0, (1,), (1,), False, {"a": 1})),
        "it has hooks",
    ),
    "strides of zero": (view(0, WEIGHT.shape, (0, 0, 0, 0)), "strides"),
    "strides of a part": (view(0, (4, 18), (36, 2)), "save it contiguous"),
    "a transpose of another shape": (view(0, (4, 36), (1, 4)), r"has shape \(4, 36\), wanted \(4, 4, 3, 3\)"),
    "a size of 2^80": (view(0, (2**40, 2**40), (2**40, 1)), "its storage holds 144"),
    "an offset": (view(1), "takes 144 numbers from 1 on"),
    "a negative offset": (view(-1), "not all counts"),
    "a size that is no count": (view(0, (True, 4), (4, 1)), "not all counts"),
    "a size with a fraction": (view(0, (2.0, 4), (4, 1)), "not all counts"),
    "five dimensions": (view(0, (1, 1, 1, 1, 4), (4, 4, 4, 4, 1)), "at most 4"),
    "no dimensions in common": (view(0, (4,), (4, 1)), "of one length"),
    "no elements": (view(0, (0, 4), (4, 1)), "no elements"),
    "a storage of another number": (storage(magic=5), "does not begin as torch's"),
    "a storage of another version": (storage(protocol=1000), "does not begin as torch's"),
    "a big-endian storage": (storage(little=False), "big-endian"),
    "another storage type": (storage(module="os", storage="system"), "names 'os.system'"),
    "brain floats": (storage(storage="BFloat16Storage"), "names 'torch.BFloat16Storage'"),
    "a lie about its length": (storage(numel=143), "claims 143 and 144"),
    "another lie about it": (storage(count=2**62), "claims 144 and"),
    "a negative length": (storage(numel=-1), "a storage is refused"),
    "a storage cut off": (storage(data=WEIGHT.tobytes()[:-2]), "holds 286 bytes"),
    "a storage that goes on": (storage(extra=b"."), "holds 289 bytes"),
    "a storage that is a view": (storage(view=b")"), "a storage is refused"),
    "a call in a storage": (inner(0, b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."), "opcode GLOBAL"),
    "a call in a description": (inner(3, b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."), "names 'os.system'"),
    "a module in a description": (inner(3, b"\x80\x02(X\x06\x00\x00\x00moduleNNNNNtQ."), "a storage is refused: its"),
    "another key": (inner(4, b"\x80\x02]X\x01\x00\x00\x001a."), "a storage's key"),
}


@pytest.mark.parametrize(("edit", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(tmp_path, monkeypatch, edit, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, edit)
    assert not (tmp_path / "owned").exists()


def test_refuses_another_version_throughout(tmp_path):
    with pytest.raises(CheckpointError, match="version 5, wanted 6"):
        read(tmp_path, version=5)


@pytest.mark.parametrize(
    "recursive",
    [b"]\x94h\x00a", b"}\x94\x8c\x01ah\x00s"],
    ids=["list", "dict"],
)
def test_refuses_cycles(tmp_path, recursive):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"\x80\x04" + recursive + b".")
    with pytest.raises(CheckpointError, match="contains itself"):
        read_edm2_pickle(path)


def test_refuses_the_file_as_its_own_network(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"\x80\x04\x8c\x0bdnnlib.util\x8c\x08EasyDict\x93)\x81\x94\x8c\x03emah\x00s.")
    with pytest.raises(CheckpointError, match="a dnnlib.util.EasyDict contains itself"):
        read_edm2_pickle(path)


class SharingEmitter(Emitter):
    """Writes calls that occur in several places once, as Python's pickler does."""

    def __init__(self, *options):
        super().__init__(*options)
        self.written = {}

    def put(self, o):
        if isinstance(o, Reduce) and id(o) in self.written:
            self.w(b"j" + struct.pack("<I", self.written[id(o)]))
            return
        super().put(o)
        if isinstance(o, Reduce):
            self.written[id(o)] = self.n - 1


@pytest.mark.parametrize("what", ["module", "storage"])
def test_refuses_a_network_that_shares_its_parts(tmp_path, monkeypatch, what):
    """With shared modules, six levels of a hundred references each are a trillion modules to walk."""

    def edit(top):
        modules, other = module(top, BLOCK)["_modules"], module(top, f"{BLOCK}.conv_res1")["_parameters"]
        if what == "module":
            modules["conv_res1"] = modules["conv_res0"]
        else:
            shared = module(top, CONV)["_parameters"]["weight"].args[0].args[0]
            tensor = other["weight"].args[0]
            tensor.args = (shared, *tensor.args[1:])

    monkeypatch.setattr(writer, "Emitter", SharingEmitter)
    read(tmp_path)
    with pytest.raises(CheckpointError, match=f"{what}.* occurs in two places|conv_res1 occurs in two places"):
        read(tmp_path, edit)


@pytest.mark.parametrize("keep", [3, 100, 0.5, -1])
def test_refuses_a_cut_file(tmp_path, keep):
    path = tmp_path / "network.pkl"
    code = write_edm2_pickle(ARGUMENTS, STATE)
    path.write_bytes(code[: int(keep * len(code)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="cut off"):
        read_edm2_pickle(path)


def test_refuses_what_follows_the_end(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(write_edm2_pickle(ARGUMENTS, STATE) + b"\x80\x04N.")
    with pytest.raises(CheckpointError, match="4 bytes follow"):
        read_edm2_pickle(path)


@pytest.mark.parametrize(
    ("scale", "message"),
    [(None, "scale of the encoder is None"), ("bad count", "no vector of the size"), (b"ab", "wanted an array")],
    ids=str,
)
def test_refuses_bad_latent_scales(tmp_path, scale, message):
    def latents(top):
        value = array([0.5, 2.0], count=3) if scale == "bad count" else scale
        top["encoder"] = writer.persistent("StabilityVAEEncoder", {"vae_name": "a", "scale": value, "bias": value})

    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, latents)


def mutations(code, count, seed):
    """Files with a few bytes changed, or a piece cut out, doubled or swapped for another."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        mutant = bytearray(code)
        at, end = sorted(generator.integers(0, len(code), 2).tolist())
        end = min(end, at + 200)
        action = generator.integers(0, 5)
        if action < 3:
            for place in generator.integers(0, len(code), int(generator.integers(1, 9))):
                mutant[place] = generator.integers(0, 256)
        elif action == 3:
            del mutant[at:end]
        else:
            mutant[at:at] = mutant[end : end + int(generator.integers(1, 200))]
        yield bytes(mutant)


def test_mutants_are_read_or_refused(tmp_path):
    """Nothing but `CheckpointError` ever comes of a damaged file."""
    path, outcomes = tmp_path / "network.pkl", {"read": 0, "refused": 0}
    small = {key: value for key, value in ARGUMENTS.items() if key != "attn_resolutions"} | {"channel_mult": [1]}
    code = write_edm2_pickle(small, random_state(small))
    for mutant in mutations(code, 300, seed=0):
        path.unlink(missing_ok=True)  # a mapped file must not change
        path.write_bytes(mutant)
        try:
            read_edm2_pickle(path)
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0
