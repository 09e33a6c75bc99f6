"""A reader of pickles that calls nothing, imports nothing and resolves no name.

It interprets the few opcodes that a format needs and builds a tree of inert records: where a file asks for a function,
a `Global` holds its name; where it asks for a call, a `Call` holds the arguments. Byte strings are views of the file.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from softjax.convert._parameters import CheckpointError, short

MAX_OPCODES, MAX_DEPTH, MAX_TEXT = 300_000, 100, 2**24
"""A published file has 30 000 opcodes, 30 levels and some 50 kB of text; beyond these bounds a file is refused."""

_MAX_NAME = 200
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_SINCE = {"BYTEARRAY8": 5}
"""The first protocol that has an opcode, where a dialect also knows older ones."""


@dataclass(frozen=True)
class Global:
    """The name of a function or class, as the file writes it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What the file wants called, then the entries it adds to the result and the state it sets on it."""

    function: Global
    arguments: tuple
    entries: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to data outside the pickle."""

    identifier: Any


@dataclass(frozen=True)
class Dialect:
    """What the pickles of one format may contain; everything else is refused by name."""

    protocols: frozenset[int]
    opcodes: frozenset[str]
    names: frozenset[Global] = frozenset()
    """Functions and classes."""
    mappings: frozenset[Global] = frozenset()
    """Those whose results take entries."""
    stateful: frozenset[Global] = frozenset()
    """Those whose results take a state, once."""
    keys: tuple[type, ...] = (str,)
    """Types of the keys of dicts."""


def read_pickle(data: memoryview, start: int, dialect: Dialect) -> tuple[Any, int]:
    """The value of the pickle at byte `start`, and where it ends.

    The result has no cycles and is at most `MAX_DEPTH` deep, but values may be shared. It holds None, bool, int, float,
    str, memoryview, tuple, list, set, dict (keys are `Dialect.keys`) and the records of this module. Raises
    `CheckpointError`.
    """
    machine = _Machine(data, start, dialect)
    try:
        value = machine.run()
        _require_tree(value)
    except MemoryError as error:
        raise CheckpointError("the pickle asks for more memory than there is.") from error
    return value, machine.at


def as_mapping(value: Any) -> dict[Any, Any] | None:
    """The entries of a dict, or of a call without arguments that makes one; None for everything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Call) and value.arguments == () and value.state is None:
        return value.entries
    return None


def is_call(value: Any, function: Global, *counts: int) -> bool:
    """Whether a value is a call of this function, with one of these numbers of arguments if any are given."""
    return isinstance(value, Call) and value.function == function and (not counts or len(value.arguments) in counts)


def kind(value: Any) -> str:
    """What to call a value in a message; never its contents, which may be long."""
    if isinstance(value, Call):
        return f"a {value.function}"
    plain = value is None or isinstance(value, (bool, int, float, str))
    return short(value) if plain else f"a {type(value).__name__}"


class _Machine:
    """The stack machine that a pickle is a program of."""

    def __init__(self, data: memoryview, start: int, dialect: Dialect):
        self.data, self.at, self.dialect = data, start, dialect
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.text = 0
        self.version = 0

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            place, code = self.at, self.take(1)[0]
            name = _NAMES.get(code, f"0x{code:02x}")
            if name == "STOP":
                value = self.pop()
                self.require(not self.stack and not self.marks, "values are left over")
                return value
            if name not in self.dialect.opcodes or self.version < _SINCE.get(name, 0):
                raise CheckpointError(f"the pickle is refused: opcode {name} at byte {place} is not of this format.")
            _STEPS[name](self)
        raise CheckpointError(f"the pickle is refused: it has more than {MAX_OPCODES} opcodes.")

    def require(self, condition: bool, what: str) -> None:
        if not condition:
            raise CheckpointError(f"the pickle is damaged before byte {self.at}: {what}.")

    def take(self, count: int) -> memoryview:
        left = len(self.data) - self.at
        if count > left:
            raise CheckpointError(f"the pickle is cut off: {count} bytes wanted at byte {self.at}, {left} are there.")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def pop(self) -> Any:
        self.require(bool(self.stack), "a value is missing")
        return self.stack.pop()

    def top(self) -> Any:
        self.require(bool(self.stack), "a value is missing")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        self.require(bool(self.marks), "a mark is missing")
        values, self.stack = self.stack, self.marks.pop()
        return values

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def protocol(self) -> None:
        self.version = version = self.number("<B")
        if version not in self.dialect.protocols:
            wanted = " or ".join(map(str, sorted(self.dialect.protocols)))
            raise CheckpointError(f"the pickle has protocol {version}, this format has {wanted}.")

    def frame(self) -> None:
        size = self.number("<Q")
        self.require(size <= len(self.data) - self.at, f"a frame of {size} bytes does not fit, the file may be cut off")

    def string(self, size_code: str) -> None:
        size = self.number(size_code)
        self.text += size
        if self.text > MAX_TEXT:
            raise CheckpointError(f"the pickle is refused: it holds more than {MAX_TEXT} bytes of text.")
        self.stack.append(self.decode(self.take(size)))

    def decode(self, raw: memoryview) -> str:
        try:
            return str(raw, "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"the pickle is damaged before byte {self.at}: text that is not UTF-8.") from error

    def line(self) -> str:
        end = bytes(self.data[self.at : self.at + _MAX_NAME]).find(b"\n")
        self.require(end >= 0, f"a name does not end within {_MAX_NAME} bytes")
        return self.decode(self.take(end + 1)[:-1])

    def long(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def get(self, size_code: str) -> None:
        index = self.number(size_code)
        self.require(index in self.memo, f"value {index} is used before it is there")
        self.stack.append(self.memo[index])

    def pack(self, count: int) -> None:
        self.require(len(self.stack) >= count, "a value is missing")
        self.stack[len(self.stack) - count :] = [tuple(self.stack[len(self.stack) - count :])]

    def pack_mark(self) -> None:
        values = self.pop_mark()
        self.stack.append((*values,))

    def extend(self, values: list[Any]) -> None:
        self.require(isinstance(self.top(), list), f"values are appended to {kind(self.top())}")
        self.top().extend(values)

    def add(self, values: list[Any]) -> None:
        self.require(isinstance(self.top(), set), f"values are added to {kind(self.top())}")
        self.require(all(isinstance(value, str) for value in values), "a set holds something other than text")
        self.top().update(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Call) and target.function in self.dialect.mappings:
            target = target.entries
        if not isinstance(target, dict):
            raise CheckpointError(f"the pickle is refused: it sets entries of {kind(target)}.")
        self.require(len(values) % 2 == 0, "a key has no value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in self.dialect.keys or key in target:
                raise CheckpointError(f"the pickle is refused: the key {kind(key)} is no text, or is there twice.")
            target[key] = value

    def resolve(self, module: Any, name: Any) -> None:
        self.require(isinstance(module, str) and isinstance(name, str), "a name is not text")
        found = Global(module, name)
        if found not in self.dialect.names:
            shown = ascii(f"{module[:_MAX_NAME]}.{name[:_MAX_NAME]}")
            raise CheckpointError(f"the pickle is refused: it names {shown}, which this format has no use for.")
        self.stack.append(found)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.resolve(module, name)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise CheckpointError(f"the pickle is refused: it calls {kind(function)} with {kind(arguments)}.")
        self.stack.append(Call(function, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Call) or target.function not in self.dialect.stateful:
            raise CheckpointError(f"the pickle is refused: it sets the state of {kind(target)}.")
        self.require(
            state is not None and target.state is None, f"the state of {kind(target)} is set twice, or to None"
        )
        target.state = state


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.frame,
    "MARK": _Machine.mark,
    "NONE": lambda m: m.stack.append(None),
    "NEWTRUE": lambda m: m.stack.append(True),
    "NEWFALSE": lambda m: m.stack.append(False),
    "BININT1": lambda m: m.stack.append(m.number("<B")),
    "BININT2": lambda m: m.stack.append(m.number("<H")),
    "BININT": lambda m: m.stack.append(m.number("<i")),
    "LONG1": _Machine.long,
    "BINFLOAT": lambda m: m.stack.append(m.number(">d")),
    "SHORT_BINUNICODE": lambda m: m.string("<B"),
    "BINUNICODE": lambda m: m.string("<I"),
    "BINUNICODE8": lambda m: m.string("<Q"),
    "SHORT_BINBYTES": lambda m: m.stack.append(m.take(m.number("<B"))),
    "BINBYTES": lambda m: m.stack.append(m.take(m.number("<I"))),
    "BINBYTES8": lambda m: m.stack.append(m.take(m.number("<Q"))),
    "BYTEARRAY8": lambda m: m.stack.append(m.take(m.number("<Q"))),
    "EMPTY_TUPLE": lambda m: m.pack(0),
    "TUPLE1": lambda m: m.pack(1),
    "TUPLE2": lambda m: m.pack(2),
    "TUPLE3": lambda m: m.pack(3),
    "TUPLE": _Machine.pack_mark,
    "EMPTY_LIST": lambda m: m.stack.append([]),
    "APPEND": lambda m: m.extend([m.pop()]),
    "APPENDS": lambda m: m.extend(m.pop_mark()),
    "EMPTY_SET": lambda m: m.stack.append(set()),
    "ADDITEMS": lambda m: m.add(m.pop_mark()),
    "EMPTY_DICT": lambda m: m.stack.append({}),
    "SETITEM": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m: m.set_items(m.pop_mark()),
    "MEMOIZE": lambda m: m.memo.__setitem__(len(m.memo), m.top()),
    "BINPUT": lambda m: m.memo.__setitem__(m.number("<B"), m.top()),
    "LONG_BINPUT": lambda m: m.memo.__setitem__(m.number("<I"), m.top()),
    "BINGET": lambda m: m.get("<B"),
    "LONG_BINGET": lambda m: m.get("<I"),
    "GLOBAL": lambda m: m.resolve(m.line(), m.line()),
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": lambda m: m.stack.append(Persistent(m.pop())),
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
}


def _children(value: Any) -> list[Any]:
    """The containers that a container holds."""
    if isinstance(value, dict):
        held = value.values()
    elif isinstance(value, Call):
        held = (value.arguments, value.entries, value.state)
    else:
        held = (value.identifier,) if isinstance(value, Persistent) else value
    return [child for child in held if isinstance(child, _CONTAINERS)]


_CONTAINERS = (tuple, list, dict, Call, Persistent)


def _require_tree(root: Any) -> None:
    """Refuses cycles and great depth, without recursion and without walking shared values twice."""
    heights: dict[int, int] = {}
    top = [root]
    path, unfinished = [(top, top, iter(top))] if isinstance(root, _CONTAINERS) else [], set()
    while path:
        value, children, left = path[-1]
        child = next(left, None)
        if child is None:
            path.pop()
            unfinished.discard(id(value))
            heights[id(value)] = 1 + max((heights[id(c)] for c in children), default=0)
            if heights[id(value)] > MAX_DEPTH:
                raise CheckpointError(f"the pickle is refused: its values are more than {MAX_DEPTH} levels deep.")
        elif id(child) in unfinished:
            raise CheckpointError(f"the pickle is refused: {kind(child)} contains itself.")
        elif id(child) not in heights:
            unfinished.add(id(child))
            held = _children(child)
            path.append((child, held, iter(held)))
