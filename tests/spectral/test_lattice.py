from itertools import product

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.spectral import displacements, integer_wavevectors, wavevectors

pytestmark = pytest.mark.float32

SHAPES = [(9,), (6, 6), (5, 8), (4, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_wavevectors_are_those_of_the_fft(shape):
    k = wavevectors(shape)
    for index in product(*map(range, shape)):
        wave = np.exp(
            1j
            * sum(
                k[index][a] * np.arange(n).reshape([-1 if b == a else 1 for b in range(len(shape))])
                for a, n in enumerate(shape)
            )
        )
        spectrum = np.fft.fftn(wave)
        assert abs(spectrum[index]) == pytest.approx(np.prod(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_displacements_are_the_shortest(shape):
    for index in product(*map(range, shape)):
        shortest = [min(i, n - i) for i, n in zip(index, shape, strict=True)]
        assert np.array_equal(np.abs(displacements(shape)[index]), shortest)


def test_integer_wavevectors_stay_in_the_first_zone():
    assert integer_wavevectors((4,)).ravel().tolist() == [0, 1, -2, -1]
    assert integer_wavevectors((5,)).ravel().tolist() == [0, 1, 2, -2, -1]


@pytest.mark.parametrize("shape", SHAPES)
def test_radial_average_equals_a_loop_over_the_sites(shape):
    c = jr.normal(jr.key(0), shape, FLOAT)
    rings = [[] for _ in range(min(shape) // 2 + 1)]
    for index in product(*map(range, shape)):
        distance = round(np.sqrt(sum(min(i, n - i) ** 2 for i, n in zip(index, shape, strict=True))))
        if distance < len(rings):
            rings[distance].append(float(c[index]))
    profile = sj.radial_average(c, channels=0)
    assert profile.dtype == c.dtype
    assert_close(profile, np.array([np.mean(ring) for ring in rings]))


@pytest.mark.parametrize("function", [wavevectors, integer_wavevectors, displacements])
@pytest.mark.parametrize("shape", [(), (4, 0)])
def test_a_lattice_has_sites(function, shape):
    with pytest.raises(ValueError, match="must be a lattice, got shape"):
        function(shape)


def test_radial_average_refuses_a_number():
    with pytest.raises(ValueError, match="c must be a lattice"):
        sj.radial_average(jnp.zeros(()))
