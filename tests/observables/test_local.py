import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close

import softjax as sj

pytestmark = pytest.mark.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"] if X64 else ["float32"])
def test_binarize_takes_zero_to_plus_one_and_keeps_the_dtype(dtype):
    spins = sj.binarize(jnp.asarray([-2.0, -0.0, 0.0, 1e-30, -1e-30], dtype))
    assert spins.dtype == dtype
    assert spins.tolist() == [-1, 1, 1, 1, -1]


@pytest.mark.parametrize(
    ("standard", "weights"), [("rec709", (0.2126, 0.7152, 0.0722)), ("rec601", (0.299, 0.587, 0.114))]
)
def test_luminance_weighs_red_green_and_blue(standard, weights):
    primaries = jnp.eye(3, dtype=FLOAT).reshape(3, 1, 3)
    assert_close(sj.luminance(primaries, standard), np.array(weights).reshape(3, 1))
    assert_close(sj.luminance(jnp.full((2, 3), 0.7, FLOAT), standard), np.full(2, 0.7))


@pytest.mark.usefixtures("without_type_checks")
def test_luminance_needs_three_channels():
    with pytest.raises(ValueError, match=r"three channels on its last axis, got shape \(4, 4\)"):
        sj.luminance(jnp.ones((4, 4), FLOAT))


def test_magnetisation_is_the_mean():
    assert_close(sj.magnetisation(jnp.asarray([[1.0, -1.0], [1.0, 2.0]], FLOAT)), 0.75)
