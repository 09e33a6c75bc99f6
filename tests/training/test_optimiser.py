from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT

from softjax.training import Optimisation
from softjax.training._optimiser import average_exponent, averaged, optimiser

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


def profile(width, num_steps):
    """How much the weights of every step count in the average after the last one."""
    exponent = average_exponent(width)

    def step(average, n):
        now = jax.nn.one_hot(n, num_steps, dtype=FLOAT)
        return averaged(average, now, n, exponent), None

    return np.asarray(jax.lax.scan(step, jnp.full(num_steps, 7.0, FLOAT), jnp.arange(num_steps))[0], float)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.2])
def test_the_average_is_a_power_of_the_step_of_the_asked_width(width):
    counts, steps = profile(width, 2000), np.arange(2000) / 2000
    assert counts.sum() == pytest.approx(1, abs=1e-4)  # what it started from is forgotten
    mean = np.sum(counts * steps)
    assert np.sqrt(np.sum(counts * (steps - mean) ** 2)) == pytest.approx(width, rel=0.01)
    powers = steps ** average_exponent(width)
    np.testing.assert_allclose(counts[200:], (powers / powers.sum())[200:], rtol=0.2)


def test_width_zero_keeps_the_last_weights():
    np.testing.assert_array_equal(profile(0.0, 5), [0, 0, 0, 0, 1])


def test_exponents_are_those_of_edm2():
    """The two examples that its authors give."""
    assert average_exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert average_exponent(0.1) == pytest.approx(6.94, abs=0.01)


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
