"""How near does the training of the paper's U-Net come to the matrix-multiply rate?"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from timing import Program, compiled

import softjax as sj
from softjax.data import LabelledImages
from softjax.networks import UNet, UNetConfig
from softjax.training import NoisePrediction, Optimisation
from softjax.training._optimiser import optimiser
from softjax.training._speed import operations
from softjax.training._trainer import TrainState, _compiled_step

SIDE, INNER = 28, 2048
PAPER = UNetConfig()


def random_network(config: UNetConfig = PAPER) -> UNet:
    """Its last layer not zero."""
    network = jax.jit(lambda: UNet(config, rngs=nnx.Rngs(0)))()
    return jax.tree.map(lambda leaf: leaf + 0.02 * jr.normal(jr.key(leaf.size), leaf.shape), network)


@pytest.mark.parametrize("widths", [(64, 128, 128), (16, 32, 32)])
def bench_training_step_as_fraction_of_matmul_rate(versus, widths):
    """One step, against a product of two matrices of as many operations as its gradients have."""
    batch, objective, config = 32, NoisePrediction(sj.VP(), 1e-3, 6.0), Optimisation(batch_size=32)
    network: Any = random_network(UNetConfig(widths=widths))
    transformation = optimiser(Optimisation(), 100)
    data = LabelledImages(np.ones((batch, SIDE, SIDE), np.float32), np.zeros(batch, np.int32))
    copies = [jax.tree.map(jnp.copy, network) for _ in range(2)]  # the step overwrites its input
    state = [TrainState(jnp.zeros((), jnp.int32), copies[0], copies[1], transformation.init(network))]
    step = _compiled_step(transformation, config, None)

    def run():
        state[0], loss = step(state[0], objective, *map(jnp.asarray, data), jr.key(0))
        return jax.block_until_ready(loss)

    start = time.perf_counter()
    run()
    compilation, start = time.perf_counter() - start, time.perf_counter()
    run()
    rate = batch / (time.perf_counter() - start)
    image, label = (jnp.asarray(values[0]) for values in data)
    work = batch * operations(jax.grad(objective.loss), network, jnp.ones(()), image, label, jr.key(0))
    a, b = jnp.ones((round(work / (2 * INNER**2)), INNER)), jnp.ones((INNER, INNER))
    peer = compiled(jnp.matmul, a, b)
    versus(
        f"training step of U-Net {widths} against its matrix products alone",
        Program(run, compilation),
        peer,
        rounds=5,
        batch=batch,
        images_per_s=round(rate, 1),
    )
