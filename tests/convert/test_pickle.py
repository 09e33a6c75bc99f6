import pickle
import pickletools
import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from softjax.convert import CheckpointError, _pickle
from softjax.convert._pickle import _STEPS, MAX_TEXT, Call, Dialect, Global, as_mapping, kind, read_pickle

ORDERED_DICT, TYPE = Global("collections", "OrderedDict"), Global("numpy", "dtype")
DIALECT = Dialect(
    protocols=frozenset({2, 4}),
    opcodes=frozenset(_STEPS),
    names=frozenset({ORDERED_DICT, TYPE}),
    mappings=frozenset({ORDERED_DICT}),
    stateful=frozenset({TYPE}),
)
ORDERED, A_TYPE = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93", b"\x8c\x05numpy\x8c\x05dtype\x93)R"


def read(code, dialect=DIALECT):
    return read_pickle(memoryview(code), 0, dialect)[0]


def plain(value):
    """Byte strings as bytes again, and calls of OrderedDict as dicts."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    entries = as_mapping(value)
    return value if entries is None else {k: plain(v) for k, v in entries.items()}


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary(max_size=300) | st.sets(st.text()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
@settings(max_examples=60, deadline=None)
def test_reads_what_python_writes(value):
    assert plain(read(pickle.dumps(value, 4))) == value


def test_calls_are_recorded_and_never_made():
    value = read(b"\x80\x04" + ORDERED + b"\x8c\x01a\x85R\x8c\x01b\x8c\x01cs.")
    assert isinstance(value, Call)
    assert value.function == ORDERED_DICT
    assert value.arguments == ("a",)
    assert value.entries == {"b": "c"}
    assert as_mapping(value) is None


def test_byte_strings_are_views_of_the_file():
    code = bytearray(b"\x80\x04C\x03abc.")
    value = read(code)
    code[4:7] = b"xyz"
    assert bytes(value) == b"xyz"


def test_sharing_costs_nothing():
    pairs = b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(60))  # of the value before, twice
    value = read(b"\x80\x04)" + pairs + b".")
    assert value[0] is value[1]
    assert len(kind(value)) < 20


def test_every_other_opcode_is_refused_by_name():
    """Those of a newer protocol than the pickle's among them."""
    others = [op for op in pickletools.opcodes if op.name not in {*_STEPS, "STOP"} or op.proto > 4]
    assert {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "PERSID", "NEXT_BUFFER", "BYTEARRAY8"} <= {op.name for op in others}
    for opcode in others:
        with pytest.raises(CheckpointError, match=f"opcode {opcode.name} at byte 2"):
            read(b"\x80\x04" + opcode.code.encode("latin1") + b"\x00" * 20)


def nested(count):
    return b"\x80\x04)" + b"\x85" * count + b"."


REFUSED = {
    "a function": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "names 'os.system'"),
    "a function, old opcode": (b"\x80\x02cbuiltins\nexec\n.", "names 'builtins.exec'"),
    "an attribute": (b"\x80\x04\x8c\x0bcollections\x8c\x1aOrderedDict.__subclasses__\x93.", "__subclasses__"),
    "an endless name": (b"\x80\x02c" + b"a" * 1000, "a name does not end"),
    "a name that is no text": (b"\x80\x04K\x01K\x01\x93.", "a name is not text"),
    "a call of text": (b"\x80\x04\x8c\x01a)R.", "it calls 'a'"),
    "a call with a list": (b"\x80\x04" + ORDERED + b"]R.", "with a list"),
    "state of a function": (b"\x80\x04" + ORDERED + b"}b.", "sets the state of a Global"),
    "state of a dict": (b"\x80\x04}}b.", "sets the state of a dict"),
    "state of another call": (b"\x80\x04" + ORDERED + b")R}b.", "sets the state of a collections.OrderedDict"),
    "state set twice": (b"\x80\x04" + A_TYPE + b"}b}b.", "set twice"),
    "entries of a function": (b"\x80\x04" + ORDERED + b"\x8c\x01aNs.", "sets entries of a Global"),
    "entries of another call": (b"\x80\x04" + A_TYPE + b"\x8c\x01aNs.", "sets entries of a numpy.dtype"),
    "a key that is no text": (b"\x80\x04}K\x01Ns.", "the key 1"),
    "a key twice": (b"\x80\x04}\x8c\x01aNs\x8c\x01aNs.", "the key 'a'"),
    "a key without a value": (b"\x80\x04}(\x8c\x01au.", "a key has no value"),
    "a set of numbers": (b"\x80\x04\x8f(K\x01\x90.", "other than text"),
    "values for no list": (b"\x80\x04}K\x01a.", "appended to a dict"),
    "values for no set": (b"\x80\x04](\x90.", "added to a list"),
    "a list in itself": (b"\x80\x04]\x94h\x00a.", "a list contains itself"),
    "a dict in itself": (b"\x80\x04}\x94\x8c\x01ah\x00\x85s.", "contains itself"),
    "depth": (nested(2000), "levels deep"),
    "text": (b"\x80\x04X" + struct.pack("<I", MAX_TEXT + 1) + b"a", "bytes of text"),
    "a text of 2^62 bytes": (b"\x80\x04\x8d" + struct.pack("<Q", 2**62), "bytes of text"),
    "bytes that are not there": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a", "cut off"),
    "a frame that is not there": (b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "a frame of"),
    "text that is not UTF-8": (b"\x80\x04\x8c\x01\xff.", "not UTF-8"),
    "a memo index": (b"\x80\x04j\xff\xff\xff\xff.", "value 4294967295 is used before"),
    "no value": (b"\x80\x04.", "a value is missing"),
    "no mark": (b"\x80\x04t.", "a mark is missing"),
    "too few for a pair": (b"\x80\x04N\x86.", "a value is missing"),
    "values left over": (b"\x80\x04NN.", "left over"),
    "an open mark": (b"\x80\x04(N.", "left over"),
    "another protocol": (b"\x80\x05N.", "protocol 5, this format has 2 or 4"),
    "nothing": (b"", "cut off"),
    "no end": (b"\x80\x04N", "cut off"),
}


@pytest.mark.parametrize(("code", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(code, message):
    with pytest.raises(CheckpointError, match=message):
        read(code)


def test_length_is_bounded(monkeypatch):
    monkeypatch.setattr(_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 opcodes"):
        read(nested(2000))


def test_large_memo_index_takes_no_table():
    assert read(b"\x80\x02Nr\xff\xff\xff\xff.") is None


def test_depth_counts_the_longest_path():
    """Each tuple holds the one before, and a list holds all of them, innermost first."""
    code = b"\x80\x04](" + b")\x94" + b"".join(b"h" + bytes([n]) + b"\x85\x94" for n in range(150)) + b"e."
    with pytest.raises(CheckpointError, match="levels deep"):
        read(code)


def test_a_global_cannot_be_changed():
    value = read(b"\x80\x04" + ORDERED + b".")
    with pytest.raises(AttributeError):
        value.name = "system"
    assert read(b"\x80\x04" + ORDERED + b".") is not value
