import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT

from softjax._checks import concrete, require_decreasing, require_finite, require_lattice, require_shape

pytestmark = pytest.mark.float32


@pytest.mark.parametrize(
    ("ts", "message"),
    [
        (np.ones((2, 2)), r"must be one-dimensional, got shape \(2, 2\)"),
        (np.ones(1), "at least two grid points, got 1"),
        (np.array([2.0, np.nan]), "must be finite, got 1 NaN"),
        (np.array([3.0, 2.0, 2.0, 1.0]), "got 2 followed by 2 at index 1. log_grid and karras_grid"),
        (np.array([1.0, 2.0]), "got 1 followed by 2 at index 0"),
    ],
)
def test_grids_must_decrease(ts, message):
    with pytest.raises(ValueError, match=f"ts .*{message}"):
        require_decreasing("ts", ts)


def test_finite_check_counts_what_is_bad():
    with pytest.raises(ValueError, match="x must be finite, got 2 NaN or infinite values of 3"):
        require_finite("x", jnp.asarray([jnp.nan, jnp.inf, 1.0]))


def test_lattice_check_names_vmap():
    require_lattice("x", (4, 4), ndim=2)
    with pytest.raises(ValueError, match=r"2 lattice axes, got shape \(3, 4, 4\).*jax\.vmap"):
        require_lattice("x", (3, 4, 4), ndim=2)


def test_shape_check_names_vmap():
    with pytest.raises(ValueError, match=r"shape \(4, 4\), got \(3, 4, 4\).*jax\.vmap"):
        require_shape("x", (3, 4, 4), (4, 4))


def test_traced_values_pass_unchecked():
    @jax.jit
    def checked(ts):
        assert concrete(ts) is None
        require_decreasing("ts", ts)
        return ts

    assert np.array_equal(checked(jnp.asarray([1.0, 2.0], FLOAT)), [1, 2])
