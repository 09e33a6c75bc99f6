import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, within_standard_errors

import softjax as sj
from softjax.spectral import free_field_spectrum, gaussian_random_field

pytestmark = pytest.mark.float32

SHAPES = [(9,), (6, 5), (4, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_structure_factor_obeys_parseval(shape):
    x = jr.normal(jr.key(0), shape, FLOAT)
    s = sj.structure_factor(x, channels=0)
    assert s.dtype == x.dtype
    assert_close(jnp.sum(s), np.sum(np.asarray(x, float) ** 2))


def test_structure_factor_of_a_plane_wave():
    i, j = np.meshgrid(np.arange(6), np.arange(5), indexing="ij")
    x = jnp.asarray(np.cos(2 * np.pi * (2 * i / 6 + j / 5)), FLOAT)
    expected = np.zeros((6, 5))
    expected[2, 1] = expected[-2, -1] = 30 / 4
    assert_close(sj.structure_factor(x), expected)


def laplacian(c):
    return sum(np.roll(c, 1, a) + np.roll(c, -1, a) - 2 * c for a in range(c.ndim))


@pytest.mark.parametrize("shape", SHAPES)
def test_free_field_inverts_mass_minus_stiffness_times_laplacian(shape):
    s = np.asarray(free_field_spectrum(shape, mass=0.3, stiffness=2.0), float)
    green = np.fft.ifftn(s).real
    delta = np.zeros(shape)
    delta[(0,) * len(shape)] = 1
    assert_close(jnp.asarray(0.3 * green - 2.0 * laplacian(green), FLOAT), delta)


def test_random_field_has_the_given_structure_factor_on_average():
    spectrum = free_field_spectrum((8, 6), mass=0.2, stiffness=1.0)
    draw = jax.jit(jax.vmap(lambda key: sj.structure_factor(gaussian_random_field(spectrum, key=key))))
    samples = np.asarray(draw(jr.split(jr.key(1), 2000)), float)
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    assert within_standard_errors(np.mean(samples, axis=0), spectrum, error)
    assert np.max(error / np.asarray(spectrum)) < 0.05


def test_white_spectrum_gives_unit_white_noise():
    x = gaussian_random_field(jnp.ones((64, 64), FLOAT), key=jr.key(2))
    assert x.dtype == FLOAT
    assert within_standard_errors(jnp.mean(x), 0, 1 / 64)
    assert within_standard_errors(jnp.mean(x**2), 1, np.sqrt(2) / 64)


@pytest.mark.parametrize(
    ("mass", "stiffness", "message"), [(0.0, 1.0, "mass must be positive"), (1.0, -1.0, "stiffness")]
)
def test_free_field_must_be_stable(mass, stiffness, message):
    with pytest.raises(ValueError, match=message):
        free_field_spectrum((4, 4), mass, stiffness)


@pytest.mark.parametrize(
    "function", [sj.structure_factor, sj.spectral_content, lambda x: gaussian_random_field(x, key=jr.key(0))]
)
def test_a_number_is_no_lattice(function):
    with pytest.raises(ValueError, match="must be a lattice"):
        function(jnp.ones((), FLOAT))


@pytest.mark.parametrize("shape", [(9,), (6, 5), (4, 8), (4, 3, 5)])
def test_spectral_content_adds_up_to_the_squared_norm(shape):
    x = jr.normal(jr.key(0), shape, FLOAT)
    assert_close(jnp.sum(sj.spectral_content(x, channels=0)), np.sum(np.asarray(x, float) ** 2))
    wave = jax.lax.complex(x, 2 * x)
    assert_close(sj.spectral_content(wave, channels=0), 5 * np.asarray(sj.spectral_content(x, channels=0), float))


@pytest.mark.parametrize("shape", [(9,), (6, 5), (8, 8)])
def test_spectral_content_of_a_fourier_mode_is_its_shell(shape):
    modes = sj.fourier_modes(shape, min(shape) // 2, "isotropic")
    content = jax.vmap(sj.spectral_content)(modes.directions)
    expected = np.asarray(modes.shells)[:, None] == np.arange(content.shape[1])
    assert_close(content, expected.astype(float), loosen=5)
