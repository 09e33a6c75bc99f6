"""The jackknife against closed forms: the error of a mean, the unbiased variance, blocks left out one by one."""

# Lists and NumPy arrays are handed over as users do.
# pyright: reportArgumentType=false

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

SAMPLES = np.random.default_rng(0).exponential(size=(12, 3))


def variance(averages):
    """From the averages of x and of x^2."""
    return averages[..., 1] - averages[..., 0] ** 2


def test_of_a_mean_it_is_the_standard_error_of_the_mean_without_bias():
    made = sj.jackknife(lambda mean: mean, jnp.asarray(SAMPLES, FLOAT))
    assert_close(made.value, SAMPLES.mean(0), loosen=10)
    assert_close(made.standard_error, SAMPLES.std(0, ddof=1) / np.sqrt(12), loosen=100)
    np.testing.assert_allclose(made.bias, 0, atol=1e-5)


def test_a_plain_variance_without_its_bias_is_the_unbiased_one():
    moments = np.stack([SAMPLES, SAMPLES**2], axis=-1)
    made = sj.jackknife(variance, jnp.asarray(moments, FLOAT))
    assert_close(made.value, SAMPLES.var(0), loosen=100)
    assert_close(made.value - made.bias, SAMPLES.var(0, ddof=1), loosen=300)


@pytest.mark.parametrize("num_blocks", [2, 4, 5])
def test_blocks_are_left_out_as_by_hand(num_blocks):
    moments = np.stack([SAMPLES, SAMPLES**2], axis=-1)
    blocks = np.split(moments, [np.ceil(12 * j / num_blocks).astype(int) for j in range(1, num_blocks)])
    whole, pseudo, shares = variance(moments.mean(0)), [], []
    for j, block in enumerate(blocks):
        rest = np.concatenate([other for i, other in enumerate(blocks) if i != j])
        h = 12 / len(block)
        pseudo.append(h * whole - (h - 1) * variance(rest.mean(0)))
        shares.append(h)
    pseudo, shares = np.asarray(pseudo), np.asarray(shares)[:, None]
    error = np.sqrt(np.mean((pseudo - pseudo.mean(0)) ** 2 / (shares - 1), axis=0))
    made = sj.jackknife(lambda averages: {"of": variance(averages)}, jnp.asarray(moments, FLOAT), num_blocks)
    assert_close(made.standard_error["of"], error, loosen=300)
    assert_close(made.bias["of"], whole - pseudo.mean(0), loosen=1000)


def test_blocks_longer_than_the_correlation_give_the_true_error():
    """An autoregressive series of correlation 0.9: the mean's error is sqrt(19) times that of white noise."""
    rng, num, repeats = np.random.default_rng(1), 4000, 40
    noise, series = rng.normal(size=(num + 200, repeats)), np.zeros((num + 200, repeats))
    for step in range(1, num + 200):
        series[step] = 0.9 * series[step - 1] + np.sqrt(1 - 0.81) * noise[step]
    found = sj.jackknife(lambda mean: mean, jnp.asarray(series[200:], FLOAT), 40).standard_error
    np.testing.assert_allclose(np.sqrt(np.mean(np.asarray(found) ** 2)), np.sqrt(19 / num), rtol=0.1)


def test_nonsense_is_refused(without_type_checks):
    with pytest.raises(ValueError, match="num_blocks must lie between 2 and the number of samples, 12, got 1"):
        sj.jackknife(variance, SAMPLES, 1)
    with pytest.raises(ValueError, match="must return floating numbers, got bool"):
        sj.jackknife(lambda mean: mean > 0, SAMPLES)
    with pytest.raises(ValueError, match="got 13"):
        sj.jackknife(variance, SAMPLES, 13)
    with pytest.raises(ValueError, match="number of samples, 1, got 1"):
        sj.jackknife(lambda mean: mean, [1.0])
