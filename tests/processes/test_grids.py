import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32


def test_log_grid_has_exact_ends_and_a_constant_ratio():
    ts = sj.log_grid(t_max=6.0, t_min=1e-3, num_steps=400)
    assert ts.shape == (401,)
    assert ts.dtype == FLOAT
    assert ts[0] == jnp.asarray(6.0, FLOAT)
    assert ts[-1] == jnp.asarray(1e-3, FLOAT)
    assert_close(ts[1:] / ts[:-1], np.full(400, (1e-3 / 6) ** (1 / 400)))


def test_karras_grid_is_the_published_formula():
    sigma_max, sigma_min, n, rho = 50.0, 0.01, 12, 5.0
    levels = [
        (sigma_max ** (1 / rho) + i / (n - 1) * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
        for i in range(n)
    ]
    assert_close(sj.karras_grid(sigma_max, sigma_min, n, rho), np.array([*levels, 0.0]))


def test_karras_grid_has_exact_ends():
    sigmas = sj.karras_grid()
    assert sigmas.shape == (33,)
    assert sigmas.dtype == FLOAT
    assert sigmas[0] == 80
    assert sigmas[-2] == jnp.asarray(0.002, FLOAT)
    assert sigmas[-1] == 0


@pytest.mark.parametrize(
    "grid", [sj.log_grid(6.0, 1e-3, 2000), sj.log_grid(1.0, 0.5, 1), sj.karras_grid(num_steps=256)]
)
def test_grids_decrease_strictly(grid):
    assert np.all(np.diff(grid) < 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.0, 10), "0 < t_min < t_max, got t_min = 0"),
        ((1.0, 1.0, 10), "0 < t_min < t_max"),
        ((1.0, 2.0, 10), "0 < t_min < t_max, got t_min = 2.0 and t_max = 1.0"),
        ((1.0, float("nan"), 10), "t_min must be finite"),
        ((1.0, 0.1, 0), "num_steps must be at least 1, got 0"),
    ],
)
def test_log_grid_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        sj.log_grid(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma_min": 0.0}, "0 < sigma_min < sigma_max"),
        ({"sigma_max": 1e-3}, "0 < sigma_min < sigma_max, got sigma_min = 0.002 and sigma_max = 0.001"),
        ({"num_steps": 1}, "num_steps must be at least 2, got 1"),
        ({"rho": 0.0}, "rho must be positive, got 0"),
    ],
)
def test_karras_grid_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        sj.karras_grid(**arguments)
