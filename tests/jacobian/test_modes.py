from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, convergence_order, needs_x64

import softjax as sj

CASES = [((6,), "axes"), ((7,), "axes"), ((4, 4), "axes"), ((5, 6), "isotropic")]


def patch_field(shape, key):
    patterns = jr.normal(key, (4, *(3,) * len(shape)))  # unequal norms, no mirrors
    return sj.PatchField(sj.PatchDictionary(patterns, jnp.log(jnp.asarray([0.1, 0.2, 0.3, 0.4]))), sj.VP())


def drifts(shape):
    """Drifts to linearise, by name."""
    key = jr.key(1)
    patch = patch_field(shape, key)
    empirical = sj.EmpiricalField(jr.normal(key, (5, *shape)), sj.EDM())
    gaussian = sj.GaussianField(sj.spectral.free_field_spectrum(shape, 0.5, 2.0), sj.VP())
    weights = jr.normal(key, (int(np.prod(shape)),) * 2)
    return {
        "patch": lambda x: sj.reverse_drift(patch, 1.5, x),
        "empirical": lambda x: sj.reverse_drift(empirical, 0.8, x),
        "gaussian": lambda x: sj.reverse_drift(gaussian, 0.7, x),
        "nonlinear": lambda x: jnp.sin(x) * jnp.roll(x, 1) ** 2 - x,
        "matrix": lambda x: (weights @ x.ravel()).reshape(shape),
    }


@pytest.mark.float32
@pytest.mark.parametrize(("shape", "kind"), CASES)
@pytest.mark.parametrize("name", ["patch", "empirical", "gaussian", "nonlinear", "matrix"])
def test_response_is_that_of_the_dense_jacobian(name, shape, kind):
    f, x = drifts(shape)[name], jr.normal(jr.key(0), shape)
    modes = sj.fourier_modes(shape, max_shell=2, kind=kind)
    response = jax.jit(lambda x: sj.mode_response(f, x, modes))(x)
    jacobian = np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(x.size, x.size)
    v = np.asarray(modes.directions, float).reshape(-1, x.size)
    jv = v @ jacobian.T
    shells = np.asarray(modes.shells)
    for got, direction, want in (
        (response.rayleigh, response.direction_rayleigh, np.sum(v * jv, axis=1)),
        (response.magnitude, response.direction_magnitude, np.linalg.norm(jv, axis=1)),
    ):
        assert_close(direction, want, loosen=10)  # sums over the sites
        assert_close(got, np.asarray([np.mean(want[shells == n]) for n in range(3)]), loosen=10)


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(9, 9), (8, 10), (5, 12)])
@pytest.mark.parametrize(("patch", "t"), [((3, 3), 3.0), ((5, 3), 0.6)])
def test_eigenvalues_at_the_symmetric_point_are_those_of_the_dictionary(shape, patch, t):
    key_patterns, key_prior = jr.split(jr.key(sum(shape)))
    prior = jax.nn.log_softmax(jr.normal(key_prior, (6,)))
    d = sj.PatchDictionary(jr.rademacher(key_patterns, (6, *patch), FLOAT), prior)
    field, modes = sj.PatchField(d, sj.VP()), sj.fourier_modes(shape, max_shell=min(shape) // 2)
    response = jax.jit(lambda x: sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes))(jnp.zeros(shape))
    spectrum = np.asarray(sj.theory.dictionary_spectrum(d, sj.VP(), t, shape))
    eigenvalues: Any = spectrum[tuple(np.asarray(modes.wavevectors).T)]
    bound = (1e-12 if X64 else 1e-5) * np.max(np.abs(eigenvalues))
    # J is a real convolution, hence normal: a cosine or sine has Re(lambda) and |lambda|.
    np.testing.assert_allclose(response.direction_rayleigh, eigenvalues.real, rtol=0, atol=bound)
    np.testing.assert_allclose(response.direction_magnitude, np.abs(eigenvalues), rtol=0, atol=bound)
    assert np.max(np.abs(eigenvalues.imag)) > 1e-3


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
def test_eigenvalues_of_a_gaussian_field_are_those_of_its_spectrum(shape):
    spectrum = sj.spectral.free_field_spectrum(shape, 0.5, 2.0)
    field, modes, t = sj.GaussianField(spectrum, sj.VP(), mean=0.3), sj.fourier_modes(shape, 3, "isotropic"), 0.4
    x = jr.normal(jr.key(0), shape)
    response = jax.jit(lambda x: sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes))(x)
    variance = np.exp(-t) * np.asarray(spectrum)[tuple(np.asarray(modes.wavevectors).T)] + 1 - np.exp(-t)
    assert_close(response.direction_rayleigh, 0.5 - 1 / variance)
    assert_close(response.direction_magnitude, np.abs(0.5 - 1 / variance))


@needs_x64
@pytest.mark.parametrize("name", ["patch", "empirical", "nonlinear"])
def test_finite_differences_converge_to_the_jvp_with_the_square_of_the_step(name):
    f, x, modes = jax.jit(drifts((5, 6))[name]), jr.normal(jr.key(0), (5, 6)), sj.fourier_modes((5, 6), max_shell=2)
    exact = sj.mode_response(f, x, modes)
    steps = (0.08, 0.04, 0.02, 0.01)
    by_step = [sj.mode_response(f, x, modes, "finite_difference", step) for step in steps]
    for quantity in ("rayleigh", "magnitude"):
        errors = [float(np.max(np.abs(getattr(r, quantity) - getattr(exact, quantity)))) for r in by_step]
        assert 1.95 < convergence_order(steps, errors) < 2.05  # the next term is of fourth order: under 1% of it here


@pytest.mark.float32
@pytest.mark.parametrize("name", ["matrix", "gaussian"])
def test_finite_differences_of_a_linear_drift_are_exact_at_any_step(name):
    f, x, modes = drifts((5, 6))[name], jr.normal(jr.key(0), (5, 6)), sj.fourier_modes((5, 6), max_shell=2)
    difference = sj.mode_response(f, x, modes, "finite_difference", jnp.asarray(2.0, FLOAT))
    assert_close(difference, sj.mode_response(f, x, modes), loosen=10)


def test_a_black_box_needs_no_derivative():
    def drift(x):
        return jax.pure_callback(lambda x: -3 * np.asarray(x), x, x, vmap_method="broadcast_all")

    modes = sj.fourier_modes((6,), max_shell=2)
    response = sj.mode_response(drift, jnp.ones(6, FLOAT), modes, "finite_difference")
    np.testing.assert_allclose(response.rayleigh, -3, rtol=1e-3)


def test_response_can_be_compiled_and_batched():
    f, modes = drifts((5, 6))["patch"], sj.fourier_modes((5, 6), max_shell=2)
    xs = jr.normal(jr.key(0), (3, 5, 6))
    batched = jax.jit(jax.vmap(lambda x: sj.mode_response(f, x, modes)))(xs)
    singles = [sj.mode_response(jax.jit(f), x, modes) for x in xs]
    assert_close(batched, jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles), loosen=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda x: x, jnp.ones((2, 5, 6), FLOAT)), r"x must be one configuration of shape \(5, 6\).*jax.vmap"),
        ((lambda x: x, jnp.ones((6, 5), FLOAT)), r"shape \(5, 6\), got \(6, 5\)"),
        ((lambda x: x, jnp.full((5, 6), np.nan, FLOAT)), "x must be finite, got 30 NaN"),
        ((jnp.sum, jnp.ones((5, 6), FLOAT)), r"f must return the shape of its configuration, \(5, 6\); got \(\)"),
        ((lambda x: x, jnp.ones((5, 6), FLOAT), "vjp"), "method must be one of 'jvp', 'finite_difference'; got 'vjp'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(arguments, message):
    f, x, *method = arguments
    with pytest.raises(ValueError, match=message):
        sj.mode_response(f, x, sj.fourier_modes((5, 6), max_shell=2), *method)
