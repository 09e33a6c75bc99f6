"""What do exact modes of the paper's U-Net cost, and how near does its training come to the matrix-multiply rate?"""

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


def response(network: UNet, modes: sj.FourierModes, t: jax.Array, x: jax.Array, method: Any) -> sj.ModeResponse:
    """By JVP, or the paper's way, with its step."""
    field = sj.NetworkField(network, sj.VP())
    step = 1e-2 * field.process.sigma(t)
    return sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes, method, step)


@pytest.mark.parametrize("max_shell", [0, 1, 6])
def bench_modes_by_jvp_against_central_differences(versus, max_shell):
    modes = sj.fourier_modes((SIDE, SIDE), max_shell)
    inputs = random_network(), modes, jnp.asarray(1.0), jr.normal(jr.key(1), (SIDE, SIDE))
    ours, peer = (
        compiled(lambda *inputs, method=method: response(*inputs, method=method), *inputs)
        for method in ("jvp", "finite_difference")
    )
    exact, differences = (np.asarray(run().direction_magnitude) for run in (ours.run, peer.run))
    error = np.linalg.norm(differences - exact) / np.linalg.norm(exact)
    assert error < 0.01
    directions = len(modes.directions)
    versus("U-Net, modes by JVP", ours, peer, rounds=5, directions=directions, difference=f"{error:.1e}")


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
        f"U-Net {widths}, training step",
        Program(run, compilation),
        peer,
        rounds=5,
        batch=batch,
        images_per_s=round(rate, 1),
    )
