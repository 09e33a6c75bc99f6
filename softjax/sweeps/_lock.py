"""Locks on one file beside a result: which process lays it out, and which works on which block.

The operating system drops the locks of a process that ends, however it ends, so none is ever stale; network file
systems pass them between machines. Where there are none (Windows), only one process may work on a result at a time.
"""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PRESENT, _SET_UP, _FIRST_BLOCK = 0, 1, 2  # bytes of the file
_ours: list[Path] = []  # lock files that this process has open: closing one a second time would drop its locks
_threads = threading.RLock()  # the locks of the system are between processes; a unit may run a sweep of its own


def lock_file(result: Path) -> Path:
    """The file beside a result that its locks are on."""
    return result.with_name(f".{result.name}.lock")


class Locks:
    """The locks of the result in a folder; None, a result in memory, has nobody to share with."""

    def __init__(self, result: Path | None):
        self._path = None if result is None else lock_file(result)
        self._file = None if self._path is None else self._opened(self._path)
        _ours.extend([] if self._path is None else [self._path])

    def _opened(self, path: Path) -> int:
        while True:  # until what was opened is still the file of that name: its last user removes it
            try:
                number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise PermissionError(f"{path.parent} can't be written ({error.strerror}).") from error
            if fcntl is not None:
                fcntl.lockf(number, fcntl.LOCK_SH, 1, _PRESENT)
            if os.path.exists(path) and os.path.samestat(os.fstat(number), os.stat(path)):
                return number
            os.close(number)

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """Waits until nobody else lays out, repairs or completes the result, and keeps others from it."""
        with _threads:
            self._lock(_SET_UP, wait=True)
            try:
                yield
            finally:
                self._unlock(_SET_UP)

    @contextmanager
    def block(self, number: int, wait: bool) -> Iterator[bool]:
        """Whether this process has the block to itself now; with `wait`, it waits until it has."""
        held = self._lock(_FIRST_BLOCK + number, wait)
        try:
            yield held
        finally:
            if held:
                self._unlock(_FIRST_BLOCK + number)

    def alone(self) -> bool:
        """Whether no other process works on the result; asked while setting up."""
        if self._file is None or fcntl is None:
            return True
        alone = self._lock(_PRESENT, wait=False)
        fcntl.lockf(self._file, fcntl.LOCK_SH, 1, _PRESENT)
        return alone

    def sign(self) -> None:
        """Writes down who works here, for those who ask."""
        if self._file is not None:
            owner = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, owner, 0)

    def close(self) -> None:
        """Gives up all locks; the last one out removes the file."""
        if self._file is None or self._path is None:
            return
        with suppress(OSError):
            if fcntl is not None:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(self._path)
        os.close(self._file)
        _ours.remove(self._path)
        self._file = None

    def _lock(self, byte: int, wait: bool) -> bool:
        if self._file is None or fcntl is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, byte: int) -> None:
        if self._file is not None and fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


def owner(result: Path) -> str:
    """Who works on the result in a folder, in words; empty if nobody does."""
    path = lock_file(result)
    if path in _ours:
        return f"process {os.getpid()} on {socket.gethostname()}"
    if not path.exists():
        return ""
    locks = Locks(result)
    try:
        if locks.alone():
            return ""
        known = json.loads(path.read_text() or "{}")
        return f"process {known.get('process', '?')} on {known.get('host', '?')}"
    finally:
        locks.close()
