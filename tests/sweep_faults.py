"""Kills runs of a sweep at chosen moments, and starts several at once; prints what came of it as JSON.

Usage: sweep_faults.py FOLDER kill-at-event NUMBER | kill-at-random NUMBER | together PROCESSES NUMBER. Runs are forks
of this process, which imports JAX but never computes with it.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from sweep_units import walks

import softjax.sweeps  # noqa: F401

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def child(work):
    """Does some work in a fork; returns its process."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return process


def code_of(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def compute(path, out=None):
    data = softjax.sweeps.run(walks(), path, pack=5)
    if out is not None:
        np.save(out, data["value"].values)


def killed_at(path, number):
    """A run that kills itself at its number-th change of a file of the result."""
    seen = []

    def hook(event, arguments):
        if event in EVENTS and arguments and str(path.name) in str(arguments[0]):
            seen.append(event)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def work():
        sys.addaudithook(hook)
        compute(path)

    return child(work)


def finished(path, out):
    """Whether the result holds after all runs what an undisturbed one gives, with nothing else beside it."""
    code = code_of(child(lambda: compute(path, out / "again.npy")))
    sound = code == 0 and np.array_equal(np.load(out / "again.npy"), np.load(out / "wanted.npy"), equal_nan=True)
    left = [file.name for file in path.parent.iterdir() if file != path] + [f.name for f in path.rglob("*.partial")]
    return sound, left


def lost(path, out):
    """Units that were finished, and whether they are the ones wanted, before anything is computed again."""

    def work():
        try:
            data = softjax.sweeps.load(path)
            there = np.isfinite(data["mean"].values)
            wanted = np.load(out / "wanted.npy")[there]
            assert np.array_equal(data["value"].values[there], wanted, equal_nan=True)
        except FileNotFoundError:
            pass

    return code_of(child(work)) != 0


def main(folder, mode, *numbers):
    folder, trials = Path(folder), []
    code_of(child(lambda: compute(folder / "first" / "data.zarr", folder / "wanted.npy")))
    random.seed(0)
    count = int(numbers[-1])
    for trial in range(count):
        path = folder / str(trial) / "data.zarr"
        codes = []
        if mode == "together":
            runs = []
            for _ in range(int(numbers[0])):
                runs.append(child(lambda path=path: compute(path)))
                time.sleep(random.uniform(0, 3 / int(numbers[0])))
            codes = [code_of(run) for run in runs]
        elif mode == "kill-at-event":
            codes = [code_of(killed_at(path, 1 + trial * 250 // count))]
        else:
            run = child(lambda path=path: compute(path))
            time.sleep(random.uniform(0.2, 3.0))
            os.kill(run, signal.SIGKILL)
            codes = [code_of(run)]
        wrong = path.exists() and lost(path, folder)
        sound, left = finished(path, folder)
        trials.append({"codes": codes, "wrong": wrong, "sound": bool(sound), "left": left})
        shutil.rmtree(path.parent)
    print(json.dumps(trials))


if __name__ == "__main__":
    main(*sys.argv[1:])
