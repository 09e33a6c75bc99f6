"""The `softjax` command: runs what was typed, shows progress, and saves the results.

JAX is imported inside commands only, so that `--help` is quick.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from softjax.cli._command import Command
from softjax.cli._environment import prepare, require_device
from softjax.cli._output import lasting_output
from softjax.cli._parse import parse


class Stopped(BaseException):
    """A signal that asks the command to end."""


class Interrupted(SystemExit):
    """The end of a command that was asked to."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits with 1 and a message on bad input, with 128 + n when stopped by signal n."""
    command = None
    try:
        with lasting_output():
            command = parse(sys.argv[1:] if arguments is None else arguments)
            _carry_out(command)
    except Interrupted as end:
        if arguments is None and isinstance(end.code, int):
            os._exit(end.code)  # Python would wait for what the devices still compute
        raise
    except (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        if (message := _explained(error, command)) is None:
            raise
        sys.exit(f"softjax: {message}")


def _carry_out(command: Command) -> None:
    try:
        with _stoppable():
            command.check()
            prepare(command.devices_for())
            if command.uses_devices:
                require_device()
            code = command.carry_out()
    except (KeyboardInterrupt, Stopped) as stop:
        number = stop.args[0] if isinstance(stop, Stopped) else signal.SIGINT
        print(f"\nInterrupted ({signal.Signals(number).name}). {command.what_remains()}")
        raise Interrupted(128 + number) from stop
    if code:
        sys.exit(code)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Signals that end a process end the command in order, as Ctrl-C does."""
    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]

    def stop(number: int, frame: Any) -> None:
        del frame
        raise Stopped(number)

    before = {}
    for number in numbers if threading.current_thread() is threading.main_thread() else []:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explained(error: Exception, command: Command | None) -> str | None:
    """What happened and what to do, in one line; None for what is a mistake of softjax's own."""
    text = str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        remedy = "Close other programs." if command is None else command.what_saves_memory()
        return f"the memory is exhausted ({text.partition(chr(10))[0].rstrip('.') or 'by Python'}). {remedy}"
    if isinstance(error, ModuleNotFoundError):
        return text if "pip install" in text else None
    if not isinstance(error, RuntimeError):
        return text
    if "home directory" in text:
        return "there is no home folder to keep files in. Set HOME, or XDG_CACHE_HOME, to a folder that you may write."
    return None
