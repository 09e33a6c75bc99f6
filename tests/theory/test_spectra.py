from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, needs_x64

import softjax as sj
from softjax.theory import dictionary_spectrum, neighbourhood_spectrum, patch_spectrum, two_pattern_eigenvalues

pytestmark = pytest.mark.float32

RTOL = 1e-12 if X64 else 1e-5


def normalised(weights):
    return np.log(np.asarray(weights, float) / np.sum(weights))


def random_dictionary(patch, count=4, seed=0):
    """Gaussian patterns: priors and norms unequal, no symmetry."""
    y = 0.6 * np.random.default_rng(seed).normal(size=(count, *patch))
    return sj.PatchDictionary(y, normalised(np.arange(1, count + 1)))


def symmetric_dictionary():
    y = np.random.default_rng(1).choice([-1.0, 1.0], size=(3, 3, 3))
    return sj.PatchDictionary(np.concatenate([y, -y]), normalised([1, 2, 3, 1, 2, 3]))


@eqx.filter_jit
def dense_jacobian(field, t, shape):
    """Of the reverse drift at x = 0, (sites, sites)."""
    return jax.jacfwd(lambda x: sj.reverse_drift(field, t, x.reshape(shape)).ravel())(jnp.zeros(np.prod(shape), FLOAT))


def plane_waves(shape):
    """All of them, one per column, in FFT order."""
    sites = np.indices(shape).reshape(len(shape), -1)
    return np.exp(2j * np.pi * np.einsum("ar,ak->rk", sites / np.reshape(shape, (-1, 1)), sites))


CASES = {
    "symmetric, even sides": (symmetric_dictionary(), (6, 6)),
    "symmetric, odd sides": (symmetric_dictionary(), (5, 7)),
    "random, unequal sides": (random_dictionary((3, 3)), (5, 6)),
    "random, oblong patch": (random_dictionary((3, 5)), (4, 7)),
    "random, patch as long as the lattice": (random_dictionary((3, 5)), (3, 6)),
    "chain": (random_dictionary((5,)), (8,)),
    "three dimensions": (random_dictionary((3, 1, 3)), (3, 4, 4)),
    "ising": (sj.PatchDictionary.ising(3, 2, 0.7, key=jr.key(0)), (6, 5)),
}


@pytest.mark.parametrize("process", [sj.VP(beta=0.8), sj.EDM()], ids=["vp", "edm"])
@pytest.mark.parametrize("name", CASES)
def test_dictionary_spectrum_diagonalises_the_dense_jacobian(name, process):
    dictionary, shape = CASES[name]
    t = 1.3
    jacobian = np.asarray(dense_jacobian(sj.PatchField(dictionary, process), jnp.asarray(t, FLOAT), shape), float)
    values = np.asarray(dictionary_spectrum(dictionary, process, t, shape)).ravel()
    waves = plane_waves(shape)
    scale = np.max(np.abs(values))
    np.testing.assert_allclose(jacobian @ waves, waves * values, atol=RTOL * scale * np.sqrt(len(values)), rtol=0)


def test_spectrum_of_an_uneven_kernel_is_complex_and_conjugate_at_minus_k():
    values = np.asarray(dictionary_spectrum(symmetric_dictionary(), sj.VP(), 1.0, (5, 7)))
    minus_k = np.roll(np.flip(values), 1, (0, 1))
    assert np.iscomplexobj(values)
    assert np.max(np.abs(np.imag(values))) > 0.1 * np.max(np.abs(np.real(values)))
    assert_close(jnp.asarray(minus_k), np.conj(values))


@pytest.mark.parametrize("process", [sj.VP.linear(), sj.EDM()], ids=["vp", "edm"])
def test_patch_spectrum_is_that_of_the_two_pattern_dictionary(process):
    values = np.asarray(dictionary_spectrum(sj.PatchDictionary.two_pattern(3), process, 0.4, (6, 5)))
    patch = np.asarray(patch_spectrum(process, 0.4, 3, (6, 5)))
    np.testing.assert_allclose(np.real(values), patch, atol=RTOL * np.max(np.abs(patch)))
    np.testing.assert_allclose(np.imag(values), 0, atol=RTOL * np.max(np.abs(patch)))


@pytest.mark.parametrize("t", [0.3, 2.893444, 6.0])
def test_patch_spectrum_at_zero_wavevector(t):
    alpha2, variance = np.exp(-t), 1 - np.exp(-t)
    uniform = 0.5 - 1 / variance + 9 * alpha2 / variance**2
    np.testing.assert_allclose(patch_spectrum(sj.VP(), t, 3, (8, 8))[0, 0], uniform, rtol=RTOL, atol=RTOL)


@pytest.mark.parametrize(("patch_size", "shape"), [(1, (4,)), (3, (7,)), (5, (8, 6)), (3, (4, 3, 5))])
def test_neighbourhood_spectrum_is_the_sum_over_the_neighbourhood(patch_size, shape):
    offsets = product(range(-(patch_size // 2), patch_size // 2 + 1), repeat=len(shape))
    k = 2 * np.pi * np.indices(shape) / np.reshape(shape, (-1, *(1,) * len(shape)))
    direct = sum(np.exp(1j * np.tensordot(r, k, 1)) for r in offsets)
    assert_close(neighbourhood_spectrum(patch_size, shape), np.real(direct))


def test_neighbourhood_spectrum_is_a_product_of_dirichlet_kernels():
    k = np.pi * np.arange(1, 16) / 16
    spectrum = np.asarray(neighbourhood_spectrum(5, (32, 32)))[1:16, 1:16]
    kernel = np.sin(2.5 * k) / np.sin(0.5 * k)
    assert_close(jnp.asarray(spectrum), kernel[:, None] * kernel)


@needs_x64
@pytest.mark.parametrize("ndim", [1, 2])
def test_long_waves_follow_mass_and_stiffness(ndim):
    radius, t, beta = 2, 1.7, 0.8
    side, volume = 2 * radius + 1, (2 * radius + 1) ** ndim
    alpha2, variance = np.exp(-beta * t), 1 - np.exp(-beta * t)
    stiffness = beta * alpha2 * volume * radius * (radius + 1) / (6 * variance**2)
    spectrum = np.asarray(patch_spectrum(sj.VP(beta), t, side, (4096, 8)[:ndim])).reshape(4096, -1)[:, 0]
    k = 2 * np.pi / 4096
    np.testing.assert_allclose(
        (spectrum[0] - spectrum[1]) / k**2, stiffness, rtol=1e-5
    )  # the next term is of order k^2


@pytest.mark.parametrize("process", [sj.VP(beta=0.8), sj.EDM()], ids=["vp", "edm"])
def test_two_pattern_eigenvalues_are_those_of_the_empirical_field(process):
    y, t = np.random.default_rng(2).normal(size=(4, 3)), 1.1
    field = sj.EmpiricalField(np.stack([y, -y]), process)
    jacobian = np.asarray(dense_jacobian(field, jnp.asarray(t, FLOAT), (4, 3)), float)
    across, along = two_pattern_eigenvalues(process, t, np.sum(y**2))
    expected = np.array([*[float(across)] * 11, float(along)])
    np.testing.assert_allclose(np.linalg.eigvalsh(jacobian), expected, atol=RTOL * np.max(np.abs(expected)))


def test_squared_norm_may_be_a_count():
    assert_close(two_pattern_eigenvalues(sj.VP(), 0.5, 64), two_pattern_eigenvalues(sj.VP(), 0.5, 64.0))


def test_new_times_and_data_do_not_retrace():
    traces = []

    @eqx.filter_jit
    def spectrum(dictionary, process, t):
        traces.append(t)
        return dictionary_spectrum(dictionary, process, t, (6, 5))

    for seed, t in ((0, 0.5), (1, 0.7)):
        spectrum(random_dictionary((3, 3), seed=seed), sj.VP(beta=t), jnp.asarray(t))
    assert len(traces) == 1


@pytest.mark.parametrize(("shape", "message"), [((4, 6), "must fit on the lattice"), ((6,), "with 2 lattice axes")])
def test_dictionary_spectrum_refuses(shape, message):
    with pytest.raises(ValueError, match=message):
        dictionary_spectrum(sj.PatchDictionary.two_pattern(5), sj.VP(), 1.0, shape)


@pytest.mark.parametrize("patch_size", [0, 4])
def test_neighbourhood_has_an_odd_side(patch_size):
    with pytest.raises(ValueError, match=f"patch_size must be odd, got {patch_size}"):
        neighbourhood_spectrum(patch_size, (8, 8))
