"""Writes pickles of protocol 4 and 5 by hand: what Python's pickler would write, and what it never would."""

import struct


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Reduce:
    def __init__(self, fn, *args):
        self.fn, self.args = fn, args


class NewObj:
    """cls.__new__(cls), then optional BUILD with `state` and SETITEMS with `items`."""

    def __init__(self, cls, state=None, items=None):
        self.cls, self.state, self.items = cls, state, items


class Persistent:
    """A reference to data outside the pickle."""

    def __init__(self, *identifier):
        self.identifier = identifier


class Raw:
    """Opcodes taken as they are (for tests that need a broken file)."""

    def __init__(self, code):
        self.code = code


class Emitter:
    """Protocols 4 and 5: strings, globals and byte strings are memoised as Python's pickler does it."""

    def __init__(self, memo=True, framing=True, protocol=4):
        self.out, self.frame, self.framing = [bytes([0x80, protocol])], [], framing
        self.size, self.n, self.memo, self.keep, self.use_memo = 0, 0, {}, [], memo

    def w(self, *parts):
        for p in parts:
            self.frame.append(p)
            self.size += len(p)
        if self.size >= 65536:
            self.flush()

    def flush(self):
        if self.size:
            body = b"".join(self.frame)
            self.out.append((b"\x95" + struct.pack("<Q", len(body)) if self.framing and len(body) >= 4 else b"") + body)
            self.frame, self.size = [], 0

    def memoise(self, key, obj=None):
        self.w(b"\x94")
        if self.use_memo and key is not None:
            self.memo[key] = self.n
            self.keep.append(obj)
        self.n += 1

    def again(self, key):
        i = self.memo.get(key)
        if i is None:
            return False
        self.w(b"h" + bytes([i]) if i < 256 else b"j" + struct.pack("<I", i))
        return True

    def put(self, o):
        if o is None:
            self.w(b"N")
        elif o is True or o is False:
            self.w(b"\x88" if o else b"\x89")
        elif isinstance(o, int):
            if 0 <= o < 256:
                self.w(b"K" + bytes([o]))
            elif 0 <= o < 65536:
                self.w(b"M" + struct.pack("<H", o))
            elif -(2**31) <= o < 2**31:
                self.w(b"J" + struct.pack("<i", o))
            else:
                b = o.to_bytes((o.bit_length() // 8) + 1, "little", signed=True)
                self.w(b"\x8a" + bytes([len(b)]) + b)
        elif isinstance(o, float):
            self.w(b"G" + struct.pack(">d", o))
        elif isinstance(o, str):
            if not self.again(("s", o)):
                b = o.encode("utf-8", "surrogatepass")
                self.w(b"\x8c" + bytes([len(b)]) + b if len(b) < 256 else b"X" + struct.pack("<I", len(b)) + b)
                self.memoise(("s", o))
        elif isinstance(o, bytearray):  # of protocol 5
            self.w(b"\x96" + struct.pack("<Q", len(o)), bytes(o))
            self.memoise(None)
        elif isinstance(o, (bytes, memoryview)):
            if len(o) < 256:
                self.w(b"C" + bytes([len(o)]), bytes(o))
            elif len(o) < 65536:
                self.w(b"B" + struct.pack("<I", len(o)), bytes(o))
            else:  # long ones stand outside the frames
                self.flush()
                self.out.append(
                    b"B" + struct.pack("<I", len(o)) if len(o) < 2**32 else b"\x8e" + struct.pack("<Q", len(o))
                )
                self.out.append(bytes(o))
            self.memoise(None)
        elif isinstance(o, Global):
            if not self.again(("g", o.module, o.name)):
                self.put(o.module)
                self.put(o.name)
                self.w(b"\x93")
                self.memoise(("g", o.module, o.name))
        elif isinstance(o, Reduce):
            self.put(o.fn)
            self.put(tuple(o.args))
            self.w(b"R")
            self.memoise(None)
        elif isinstance(o, NewObj):
            self.put(o.cls)
            self.w(b")\x81")
            self.memoise(None)
            if o.items:
                self.items(o.items)
            if o.state is not None:
                self.put(o.state)
                self.w(b"b")
        elif isinstance(o, tuple):
            if not o:
                self.w(b")")
            elif len(o) <= 3:
                for v in o:
                    self.put(v)
                self.w([b"\x85", b"\x86", b"\x87"][len(o) - 1])
                self.memoise(None)
            else:
                self.w(b"(")
                for v in o:
                    self.put(v)
                self.w(b"t")
                self.memoise(None)
        elif isinstance(o, list):
            self.w(b"]")
            self.memoise(None)
            if len(o) == 1:
                self.put(o[0])
                self.w(b"a")
            elif o:
                self.w(b"(")
                for v in o:
                    self.put(v)
                self.w(b"e")
        elif isinstance(o, dict):
            self.w(b"}")
            self.memoise(None)
            self.items(o)
        elif isinstance(o, (set, frozenset)):
            self.w(b"\x8f")
            self.memoise(None)
            if o:
                self.w(b"(")
                for v in sorted(o):
                    self.put(v)
                self.w(b"\x90")
        elif isinstance(o, Persistent):
            self.put(o.identifier)
            self.w(b"Q")
        elif isinstance(o, Raw):
            self.w(o.code)
        else:
            raise TypeError(type(o))

    def items(self, d):
        if len(d) == 1:
            for k, v in d.items():
                self.put(k)
                self.put(v)
            self.w(b"s")
        elif d:
            self.w(b"(")
            for k, v in d.items():
                self.put(k)
                self.put(v)
            self.w(b"u")

    def bytes(self, top):
        self.put(top)
        self.w(b".")
        self.flush()
        return b"".join(self.out)
