import functools

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, strong_order

import softjax as sj

FINE = 1024
LEVELS = (16, 32, 64, 128)
PATHS = 512
TS = np.linspace(2.0, 0.5, FINE + 1)
PROCESSES = {"constant": sj.VP(), "linear": sj.VP.linear(0.2, 1.6, 2.0)}
PATTERNS = jnp.asarray([[1.0, -0.5], [-1.0, 0.5], [0.3, 0.8]], FLOAT)


class Paths(sj.AbstractField):
    """Independent copies of a nonlinear field, one per row."""

    process: sj.AbstractProcess

    def denoise(self, t, x):
        field = sj.EmpiricalField(PATTERNS, self.process)
        return jax.vmap(functools.partial(field.denoise, t))(x)


@functools.cache
def fine_noise():
    w, levy = np.random.default_rng(0).normal(size=(2, FINE, PATHS, 2))
    step = (TS[0] - TS[-1]) / FINE
    return np.sqrt(step) * w, np.sqrt(step / 12) * levy


def coarse_noise(num_steps):
    """W and H of the intervals of a coarser grid, exactly those of the fine path."""
    w, levy = (values.reshape(num_steps, -1, PATHS, 2) for values in fine_noise())
    area = np.mean(np.cumsum(w, axis=1) - 0.5 * w + levy, axis=1)  # under the path, per length of the interval
    total = np.sum(w, axis=1)
    return jnp.asarray(total, FLOAT), jnp.asarray(area - 0.5 * total, FLOAT)


@pytest.fixture
def end(replace_noise):
    def end(num_steps, process, solver, engine="diffrax"):
        w, levy = coarse_noise(num_steps)
        replace_noise(lambda key, index, step, shape: (w[index] + 0 * step, levy[index] + 0 * step))
        field, ts = Paths(process), jnp.asarray(TS[:: FINE // num_steps], FLOAT)
        x0 = jr.normal(jr.key(0), (PATHS, 2))
        options = {"solver": solver, "engine": engine, "observe": lambda t, x: t}
        return sj.simulate(field, ts, x0=x0, key=jr.key(0), **options).x

    return end


# ShARK's strong order is 3/2; the h^2 of its drift stages still shows at these steps and steepens the slope.
FIRST, THREE_HALVES = (0.9, 1.1), (1.4, 1.9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "solver", "engine", "window"),
    [
        ("constant", "shark", "diffrax", THREE_HALVES),
        ("linear", "euler", "scan", FIRST),
        ("linear", "sea", "diffrax", FIRST),
        ("linear", "shark", "diffrax", THREE_HALVES),
        ("linear", dfx.Heun(), "diffrax", FIRST),
    ],
)
def test_every_solver_converges_at_its_strong_order_to_the_same_path(end, process, solver, engine, window):
    exact = end(FINE, PROCESSES[process], dfx.SRA1())  # its own order is 3/2
    order = strong_order(lambda n: end(n, PROCESSES[process], solver, engine), LEVELS, exact)
    assert window[0] < order < window[1]
