from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

from softjax.training import Optimisation
from softjax.training._optimiser import averaged, optimiser

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)


def learning_rates(config, num_steps):
    """What AdamW makes of a constant gradient is the learning rate."""
    transformation, weights = optimiser(config, num_steps), jnp.zeros((), FLOAT)

    def step(state, _):
        update: Any
        update, state = transformation.update(jnp.ones((), FLOAT), state, weights)
        return state, -update

    return np.asarray(jax.lax.scan(step, transformation.init(weights), None, num_steps)[1])


def test_the_rate_rises_stays_and_falls_to_zero():
    rates = learning_rates(Optimisation(learning_rate=0.2, warmup_steps=10, cooldown=0.25), 100)
    np.testing.assert_allclose(rates[:11], 0.2 * np.append(np.linspace(0.1, 1, 10)[:10], 1), rtol=0.12)
    assert np.all(np.diff(rates[:10]) > 0)
    np.testing.assert_allclose(rates[10:75], 0.2, rtol=1e-4)
    np.testing.assert_allclose(rates[75:], 0.2 * (1 - np.arange(25) / 25), rtol=1e-4)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
@pytest.mark.parametrize("cooldown", [0.0, 0.5, 1.0])
def test_short_trainings_still_move(num_steps, cooldown):
    rates = learning_rates(Optimisation(learning_rate=0.2, warmup_steps=100, cooldown=cooldown), num_steps)
    assert np.all(np.isfinite(rates))
    assert 0 < np.max(rates) <= 0.2 * (1 + 1e-5)


def test_steps_are_those_of_adamw_on_clipped_gradients():
    config = Optimisation(learning_rate=0.1, warmup_steps=1, cooldown=0.0, weight_decay=0.2, gradient_clipping=0.5)
    transformation, gradients = (
        optimiser(config, 20),
        RNG.normal(size=(6, 3)) * np.asarray([2, 0.05, 1, 0.1, 9, 1])[:, None],
    )
    weights = jnp.asarray([1.0, -2.0, 0.5], FLOAT)
    update: Any
    expected, m, v, state = np.asarray(weights, float), 0.0, 0.0, transformation.init(weights)
    for n, gradient in enumerate(gradients, start=1):
        update, state = transformation.update(jnp.asarray(gradient, FLOAT), state, weights)
        weights = weights + update
        clipped = gradient * min(1, 0.5 / np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        direction = m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
        expected = expected - 0.1 * (direction + 0.2 * expected)
        np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_average_of_the_weights_is_the_numpy_one():
    average, path, keep = RNG.normal(size=3), RNG.normal(size=(16, 3)), 0.0
    result = jnp.asarray(average, FLOAT)
    for n, weights in enumerate(path):
        result = averaged(result, jnp.asarray(weights, FLOAT), jnp.asarray(n, jnp.int32), 0.6)
        keep = min(0.6, (1 + n) / (10 + n))
        average = keep * average + (1 - keep) * weights
    assert_close(result, average, loosen=4)
    assert keep == 0.6  # the last steps forget at the asked rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cooldown": 1.1}, "cooldown must be a fraction, got 1.1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optimiser(Optimisation(**options), 10)
