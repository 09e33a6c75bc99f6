import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convert.torch_zip_writer import archive, integer, integers, state_dict_pickle, tensor, text, torch_zip

from softjax.convert import CheckpointError
from softjax.convert._safetensors import read_safetensors, write_safetensors
from softjax.convert._torch_zip import read_torch_zip

DATA = Path(__file__).parents[1] / "data" / "torch"
TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([1, -2], np.float16),
    "scale": np.array(0.1),
    "a.count": np.array([3]),
}


def assert_same(tensors, wanted):
    assert tensors.keys() == wanted.keys()
    for name, value in wanted.items():
        assert tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(tensors[name], value)


def read(tmp_path, code):
    path = tmp_path / "weights.pth"
    path.unlink(missing_ok=True)
    path.write_bytes(code)
    return read_torch_zip(path).tensors


@pytest.mark.parametrize("name", ["state_dict", "views"])
def test_reads_what_torch_wrote(name):
    """A module's `state_dict()` with its metadata; then views that share a storage, and every precision."""
    tensors = dict(read_torch_zip(DATA / f"{name}.pth").tensors)
    with np.load(DATA / f"{name}.npz") as file:
        wanted = dict(file)
    if name == "views":
        assert tensors["bfloat"].dtype.name == "bfloat16"
        tensors["bfloat"] = tensors["bfloat"].astype(np.float32)
        assert np.shares_memory(tensors["whole"], tensors["rows"])
    assert_same(tensors, wanted)


def test_reads_what_the_writer_wrote(tmp_path):
    assert_same(read(tmp_path, torch_zip(TENSORS)), TENSORS)
    assert_same(read(tmp_path, torch_zip(TENSORS, pickle=state_dict_pickle(TENSORS, metadata=False))), TENSORS)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4))), ids=str)
def test_any_order_of_axes_in_memory_is_read(tmp_path, axes):
    """Channels-last among them, (0, 2, 3, 1)."""
    values = np.arange(2 * 1 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4)
    stored = np.ascontiguousarray(values.transpose(axes))
    stride = tuple(stored.strides[axes.index(axis)] // 4 for axis in range(4))
    code = tensor(values, "0", size=values.shape, stride=stride)
    read_back = read(tmp_path, torch_zip({"a": stored}, pickle=state_dict_pickle({"a": values}, a=code)))
    assert_same(read_back, {"a": values})


def test_torch_reads_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    loaded = torch.load(io.BytesIO(torch_zip(TENSORS)), weights_only=True)
    assert_same({name: value.numpy() for name, value in loaded.items()}, TENSORS)
    torch.save(loaded, tmp_path / "again.pth")
    assert_same(read_torch_zip(tmp_path / "again.pth").tensors, TENSORS)


WEIGHT = TENSORS["a.weight"]


def bent(**options):
    return torch_zip(TENSORS, pickle=state_dict_pickle(TENSORS, **{"a.weight": tensor(WEIGHT, "0", **options)}))


def narrow(dtype):
    """A tensor as torch writes numbers that have no storage class."""
    code = b"ctorch._utils\n_rebuild_tensor_v3\n((" + text("storage") + b"ctorch.storage\nUntypedStorage\n" + text("0")
    code += text("cpu") + integer(24) + b"tQK\x00" + integers((24,)) + integers((1,))
    code += b"\x89ccollections\nOrderedDict\n)R" + f"ctorch\n{dtype}\n".encode() + b"tR"
    bend: Any = {"a.weight": code}
    return torch_zip(TENSORS, pickle=state_dict_pickle(TENSORS, **bend))


def holding(code):
    return torch_zip(TENSORS, pickle=b"\x80\x02" + code + b".")


def renamed(name):
    return torch_zip({name: WEIGHT})


REFUSED = {
    "a call": (holding(b"cos\nsystem\n" + text("touch owned") + b"\x85R"), "names 'os.system'"),
    "a module": (holding(b"ctorch.nn.modules.linear\nLinear\n)\x81"), "names 'torch.nn.modules.linear.Linear'"),
    "no state_dict": (holding(b"]"), "holds a list, wanted a state_dict"),
    "no tensors": (holding(b"}" + text("step") + b"K\x01s"), "holds no tensors, its entries are 'step'"),
    "attributes": (holding(b"ccollections\nOrderedDict\n)R}" + text("x") + b"Nsb"), "attributes besides _metadata"),
    "an opcode": (holding(b"ios\nsystem\n"), "opcode INST"),
    "another protocol": (torch_zip(TENSORS, pickle=b"\x80\x06}."), "protocol 6, this format has 2 or 3"),
    "bytes of protocol 5": (torch_zip(TENSORS, pickle=b"\x80\x05\x96" + bytes(8) + b"."), "opcode BYTEARRAY8"),
    "what follows the pickle": (torch_zip(TENSORS, pickle=state_dict_pickle(TENSORS) + b"N."), "bytes follow"),
    "a name with a slash": (renamed("../a"), "no such name"),
    "an empty name": (renamed(""), "no such name"),
    "a long name": (renamed("a" * 600), "no such name"),
    "strides of zero": (bent(stride=(0, 0)), "strides"),
    "every other number": (bent(size=(3,), stride=(2,)), "save it contiguous"),
    "overlapping rows": (bent(size=(2, 3), stride=(2, 1)), "save it contiguous"),
    "huge strides": (bent(stride=(2**31 - 1, 1)), "leave or repeat numbers"),
    "float8": (
        narrow("float8_e4m3fn"),
        "tensor a.weight is refused: it holds float8_e4m3fn numbers: save it as float16",
    ),
    "float4": (narrow("float4_e2m1fn_x2"), "it holds float4_e2m1fn_x2 numbers"),
    "another number": (narrow("complex32"), "names 'torch.complex32'"),
    "an offset": (bent(offset=1), "takes 6 numbers from 1 on, its storage holds 6"),
    "a negative size": (bent(size=(-2, -3), stride=(3, 1)), "not all counts"),
    "a lie about its length": (bent(count=7), "claims 7 numbers of float32, and holds 24 bytes"),
    "another type": (bent(storage="DoubleStorage"), "claims 6 numbers of float64, and holds 24 bytes"),
    "an unknown type": (bent(storage="QInt8Storage"), "names 'torch.QInt8Storage'"),
    "a module by reference": (bent(kind="module"), "description holds 'module'"),
    "a key elsewhere": (
        torch_zip({}, pickle=state_dict_pickle({"a": WEIGHT}, a=tensor(WEIGHT, "../x"))),
        "holds 'storage'",
    ),
    "a missing entry": (torch_zip({}, pickle=state_dict_pickle({"a": WEIGHT})), "no entry data/0"),
    "compression": (torch_zip(TENSORS, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "no pickle": (archive([("archive/version", b"3")]), "no data.pkl"),
    "two folders": (archive([("a/data.pkl", b""), ("b/data/0", b"")]), "2 folders, wanted one"),
    "a program": (torch_zip(TENSORS, extra=[("constants.pkl", b"")]), "TorchScript"),
    "big-endian numbers": (torch_zip(TENSORS, extra=[("byteorder", b"big")]), "not little-endian"),
    "a cut file": (torch_zip(TENSORS)[:-1], "cut off"),
    "bytes in front": (b"a" + torch_zip(TENSORS), "directory is damaged"),
}


@pytest.mark.parametrize(("code", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(tmp_path, monkeypatch, code, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, code)
    assert not (tmp_path / "owned").exists()


def test_refuses_an_entry_that_is_there_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        code = archive([("a/data.pkl", b"x"), ("a/data.pkl", b"y")])
    with pytest.raises(CheckpointError, match="there twice"):
        read(tmp_path, code)


def test_refuses_one_storage_claimed_too_often(tmp_path):
    large = np.zeros(10_000, np.float32)
    names = {f"a{i}": tensor(large, "0") for i in range(20)}
    code = torch_zip({"a0": large}, pickle=state_dict_pickle(dict.fromkeys(names, large), **names))
    with pytest.raises(CheckpointError, match="claim 800000 bytes of a file of"):
        read(tmp_path, code)


def test_refuses_archives_that_claim_many_entries(tmp_path):
    code = bytearray(torch_zip(TENSORS))
    code[-12:-10] = b"\xff\xff"
    with pytest.raises(CheckpointError, match="damaged|cut off"):
        read(tmp_path, bytes(code))


def test_reads_entries_beyond_the_old_size_limit(tmp_path):
    """An archive whose numbers stand in zip64 fields, as they must beyond 4 GB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in (("data.pkl", state_dict_pickle({"a": WEIGHT})), ("data/0", WEIGHT.tobytes())):
            with file.open(f"archive/{name}", "w", force_zip64=True) as entry:
                entry.write(content)
    assert_same(read(tmp_path, buffer.getvalue()), {"a": WEIGHT})


def test_mutants_are_read_or_refused(tmp_path, without_type_checks):
    code, outcomes = (DATA / "views.pth").read_bytes(), {"read": 0, "refused": 0}
    generator = np.random.default_rng(0)
    for _ in range(1500):
        mutant = bytearray(code)
        places = generator.integers(0, len(code), int(generator.integers(1, 9)))
        for place in places:
            mutant[place] = generator.integers(0, 256)
        try:
            read(tmp_path, bytes(mutant[: generator.choice([len(code), places[0]])]))
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


def test_safetensors_there_and_back(tmp_path):
    path, seen = tmp_path / "weights.safetensors", []
    transposed = {"a": WEIGHT.T, "b": np.array(2.0, np.float32), "c": np.zeros((0, 3), np.float32)}
    write_safetensors(path, transposed, "float32", lambda done, total: seen.append((done, total)))
    assert_same(read_safetensors(path).tensors, transposed)
    assert seen == [(24, 28), (28, 28), (28, 28)]


@pytest.mark.parametrize("cut", [4, 40, -1])
def test_damaged_safetensors_are_refused(tmp_path, cut):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": WEIGHT}, "float32")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_safetensors(path)
