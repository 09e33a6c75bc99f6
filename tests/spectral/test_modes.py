from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.spectral import integer_wavevectors

pytestmark = pytest.mark.float32

SHAPES = [(8,), (7,), (6, 6), (5, 7), (8, 6), (4, 5, 3)]
KINDS = ["axes", "isotropic"]


def full_set(shape, kind):
    return sj.fourier_modes(shape, max_shell=min(shape) // 2, kind=kind, channels=0)


def flat(modes):
    return np.asarray(modes.directions, float).reshape(modes.directions.shape[0], -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_orthonormal(shape, kind):
    modes = full_set(shape, kind)
    assert modes.directions.dtype == FLOAT
    assert_close(jnp.asarray(flat(modes) @ flat(modes).T, FLOAT), np.eye(len(flat(modes))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_direction_holds_its_wavevector_and_the_negative_only(shape, kind):
    modes = full_set(shape, kind)
    for direction, n in zip(np.asarray(modes.directions, float), np.asarray(modes.wavevectors), strict=True):
        power = np.abs(np.fft.fftn(direction)) ** 2 / direction.size
        indices = {tuple(n % shape), tuple(-n % shape)}
        np.testing.assert_allclose(sum(power[index] for index in indices), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_axis_shells_hold_a_pair_per_axis(shape):
    modes = full_set(shape, "axes")
    for shell in range(modes.num_shells):
        self_mirrored = [(2 * shell) % length == 0 for length in shape]
        wanted = 1 if shell == 0 else sum(1 if alone else 2 for alone in self_mirrored)
        assert np.sum(np.asarray(modes.shells) == shell) == wanted


def test_the_mean_comes_first_and_is_uniform():
    modes = sj.fourier_modes((6, 5), max_shell=2)
    assert modes.shells[0] == 0
    assert modes.wavenumbers[0] == 0
    assert_close(modes.directions[0], np.full((6, 5), 30**-0.5))


def test_nyquist_modes_have_a_cosine_only():
    modes = sj.fourier_modes((6, 6), max_shell=3)
    last = np.asarray(modes.directions)[np.asarray(modes.shells) == 3]
    stripes = (-1.0) ** np.arange(6) / 6
    assert_close(jnp.asarray(last), np.stack([np.tile(stripes[:, None], 6), np.tile(stripes, (6, 1))]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8,), (5, 6), (3, 4, 5)])
def test_rayleigh_quotients_are_real_parts_of_a_convolutions_eigenvalues(shape, kind):
    kernel = np.random.default_rng(0).normal(size=shape)
    sites = list(product(*map(range, shape)))
    matrix = np.array([[kernel[tuple(np.subtract(j, i) % shape)] for j in sites] for i in sites])
    symmetric = 0.5 * (matrix + matrix.T)
    modes = full_set(shape, kind)
    for v, n in zip(flat(modes), np.asarray(modes.wavevectors), strict=True):
        k = 2 * np.pi * n / np.asarray(shape)
        growth = sum(kernel[r] * np.cos(np.dot(k, r)) for r in sites)
        np.testing.assert_allclose(v @ matrix @ v, growth, atol=1e-5)
        np.testing.assert_allclose(symmetric @ v, growth * v, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_isotropic_shells_span_the_ball_of_wavevectors(shape):
    modes = full_set(shape, "isotropic")
    longest = max(shape)
    length = np.linalg.norm(integer_wavevectors(shape) * longest / np.asarray(shape), axis=-1)
    ball = np.round(length) <= min(shape) // 2
    x = np.random.default_rng(1).normal(size=shape)
    filtered = np.fft.ifftn(np.where(ball, np.fft.fftn(x), 0)).real
    projected = (flat(modes).T @ (flat(modes) @ x.ravel())).reshape(shape)
    assert len(flat(modes)) == np.sum(ball)
    assert_close(jnp.asarray(projected, FLOAT), filtered)


@pytest.mark.parametrize("length", [7, 8])
def test_all_shells_of_a_chain_are_a_basis(length):
    for kind in KINDS:
        assert np.linalg.matrix_rank(flat(full_set((length,), kind))) == length


def test_isotropic_shells_round_the_length():
    modes = sj.fourier_modes((9, 9), max_shell=3, kind="isotropic")
    lengths = np.linalg.norm(np.asarray(modes.wavevectors), axis=1)
    assert np.array_equal(np.round(lengths), np.asarray(modes.shells))
    assert np.sum(np.asarray(modes.shells) == 1) == 8  # (1, 0), (0, 1), (1, 1) and (1, -1), each with its sine


def test_wavenumbers_of_axis_shells():
    assert_close(sj.fourier_modes((64, 64), max_shell=6).wavenumbers, 2 * np.pi * np.arange(7) / 64)
    uneven = sj.fourier_modes((8, 6), max_shell=1).wavenumbers[1]
    assert_close(uneven, np.pi * np.sqrt(0.5 * (1 / 16 + 1 / 9)))


def test_shell_mean_averages_within_shells():
    modes = sj.fourier_modes((6, 4), max_shell=2, channels=0)
    values = jnp.asarray(np.random.default_rng(2).normal(size=modes.shells.shape), FLOAT)
    expected = [np.mean(np.asarray(values)[np.asarray(modes.shells) == n]) for n in range(3)]
    assert_close(modes.shell_mean(values), np.array(expected))


@pytest.mark.parametrize("max_shell", [-1, 4])
def test_shells_end_at_the_nyquist_mode(max_shell):
    with pytest.raises(ValueError, match=r"max_shell must lie between 0 and half the smallest side, 3"):
        sj.fourier_modes((6, 8), max_shell)


@pytest.mark.usefixtures("without_type_checks")
def test_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="kind must be one of 'axes', 'isotropic'; got 'radial'"):
        sj.fourier_modes((6, 6), 2, kind="radial")  # pyright: ignore[reportArgumentType]
