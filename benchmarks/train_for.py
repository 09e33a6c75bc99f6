"""Trains the spins' U-Net that ships for so long: `python benchmarks/train_for.py OUT SECONDS [FASHION_MNIST_FOLDER]`.

One epoch is timed, then as many follow as fit; the learning rate falls over the last third, as in any training.
"""

import sys
import time
from dataclasses import replace

from softjax.convert import shipped
from softjax.training import FashionTraining, Optimisation, train_fashion


def train_for(out: str, seconds: float, folder: str | None = None) -> None:
    """Leaves checkpoint, weights and `network.json` in `out`."""
    config = FashionTraining(start=str(shipped("fashion-binary")), optimisation=Optimisation(epochs=2))
    start = time.perf_counter()
    train_fashion(config, out, folder=folder, report=print)
    each = (time.perf_counter() - start) / 2  # compilation with it
    epochs = max(2, int(seconds / each))
    print(f"{each:.1f} s an epoch: {epochs} epochs.")
    if epochs > 2:
        longer = replace(config, optimisation=replace(config.optimisation, epochs=epochs))
        train_fashion(longer, out, resume=True, folder=folder, report=print)


if __name__ == "__main__":
    train_for(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
