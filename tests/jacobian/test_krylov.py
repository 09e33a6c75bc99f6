import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, tolerance

import softjax as sj

ACCURACY = 1e-10 if X64 else 1e-4


def patch_drift(shape, t=1.5):
    field = sj.PatchField(sj.PatchDictionary(jr.normal(jr.key(1), (4, *(3,) * len(shape)))), sj.VP())
    return lambda x: sj.reverse_drift(field, t, x)


def linear(matrix, shape=None):
    matrix = jnp.asarray(matrix, FLOAT)
    return lambda x: (matrix @ x.ravel()).reshape(shape or x.shape)


def dense(f, x):
    return np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(x.size, x.size)


def leading(f, x, **options):
    return jax.jit(lambda x: sj.leading_modes(f, x, key=jr.key(2), **options))(x)


def check_pairs(pairs, operator, num):
    """Eigenvalues of numpy's dense solver, vectors that are its eigenvectors, residuals that are true."""
    exact = np.linalg.eigvals(operator)
    exact = exact[np.lexsort((-exact.imag, -exact.real))][:num]
    scale = float(np.linalg.norm(operator, 2))
    np.testing.assert_allclose(pairs.values, exact, rtol=0, atol=ACCURACY * scale)
    v = np.asarray(pairs.vectors, complex).reshape(num, -1)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=tolerance())
    residual = np.linalg.norm(v @ operator.T - np.asarray(pairs.values)[:, None] * v, axis=1)
    np.testing.assert_allclose(pairs.residuals, residual, rtol=1e-3, atol=10 * tolerance() * scale)
    assert np.max(pairs.residuals) < ACCURACY * scale


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shape", [(16, 12), pytest.param((9, 7), marks=pytest.mark.float32), (40,)])
def test_pairs_are_those_of_the_dense_jacobian(shape, symmetric):
    f, x = patch_drift(shape), jr.normal(jr.key(0), shape)
    pairs = leading(f, x, num=5, symmetric=symmetric, num_matvecs=min(x.size, 120))
    jacobian = dense(f, x)
    assert np.linalg.norm(jacobian - jacobian.T) > 0.1
    assert pairs.vectors.shape == (5, *shape)
    assert jnp.iscomplexobj(pairs.values) is not symmetric
    check_pairs(pairs, 0.5 * (jacobian + jacobian.T) if symmetric else jacobian, 5)


@pytest.mark.float32
def test_complex_pairs_stand_together_upper_half_plane_first():
    rng = np.random.default_rng(0)
    blocks = [np.array([[1 - 0.1 * n, 2.0], [-2.0, 1 - 0.1 * n]]) for n in range(15)]
    matrix = np.kron(np.eye(15), np.zeros((2, 2)))
    for n, block in enumerate(blocks):
        matrix[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = block
    change = np.eye(30) + 0.1 * rng.normal(size=(30, 30))
    matrix = change @ matrix @ np.linalg.inv(change)  # not normal
    pairs = leading(linear(matrix), jnp.zeros(30, FLOAT), num=4)
    expected = np.asarray([1 + 2j, 1 - 2j, 0.9 + 2j, 0.9 - 2j])
    np.testing.assert_allclose(pairs.values, expected, atol=ACCURACY * 10)
    check_pairs(pairs, np.asarray(matrix, FLOAT).astype(float), 4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("t", [2.0, pytest.param(5.0, marks=pytest.mark.float32), 7.0, 9.5])
def test_two_patterns_have_one_unstable_direction(t, symmetric):
    shape = (16, 16)
    y = jr.rademacher(jr.key(5), shape, FLOAT)
    field = sj.EmpiricalField(jnp.stack([y, -y]), sj.VP())
    pairs = leading(lambda x: sj.reverse_drift(field, t, x), jnp.zeros(shape, FLOAT), num=8, symmetric=symmetric)
    transverse, along = sj.theory.two_pattern_eigenvalues(sj.VP(), t, 256)
    norm = max(abs(float(along)), abs(float(transverse)))
    assert float(along) > float(transverse)
    np.testing.assert_allclose(pairs.values[0].real, along, atol=10 * tolerance() * norm)
    np.testing.assert_allclose(pairs.values[1:].real, transverse, atol=10 * tolerance() * norm)
    assert abs(float(jnp.vdot(pairs.vectors[0].real, y))) == pytest.approx(16, rel=1e-4)
    assert np.max(pairs.residuals) < 1e-4
    vectors = np.asarray(pairs.vectors, complex).reshape(8, -1)
    assert np.linalg.matrix_rank(vectors, tol=1e-2) == 8  # the degenerate space is spanned too


@pytest.mark.float32
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("matrix", [np.zeros((6, 6)), -2 * np.eye(6), np.diag([3.0, 3, 3, 1, 1, 0])])
def test_invariant_subspaces_are_left_by_a_new_start(matrix, symmetric):
    pairs = leading(linear(matrix), jnp.zeros(6, FLOAT), num=6, symmetric=symmetric)
    assert_close(pairs.values.real, np.diag(matrix), loosen=5)
    assert np.max(pairs.residuals) < 1e-4
    assert np.linalg.matrix_rank(np.asarray(pairs.vectors), tol=1e-2) == 6


@pytest.mark.float32
def test_a_defective_matrix_is_reported_as_it_is():
    jordan = np.array([[2.0, 1, 0], [0, 2, 0], [0, 0, 1]])
    pairs = leading(linear(jordan), jnp.zeros(3, FLOAT), num=3)
    np.testing.assert_allclose(pairs.values, [2, 2, 1], atol=1e-6 if X64 else 5e-3)
    assert np.all(np.isfinite(pairs.residuals))


@pytest.mark.float32
def test_several_starts_find_the_multiplicity_of_plane_waves():
    shape, t = (16, 16), 2.5
    field = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP())
    x = jnp.zeros(shape, FLOAT)
    exact = np.sort(np.asarray(sj.theory.patch_spectrum(sj.VP(), t, 3, shape)).ravel())[::-1][:9]
    assert np.ptp(exact[1:5]) < 1e-5  # cosines and sines along two axes: four-fold
    pairs = leading(lambda x: sj.reverse_drift(field, t, x), x, num=9, symmetric=True, num_matvecs=160, num_starts=4)
    np.testing.assert_allclose(pairs.values, exact, atol=1e-5)
    content = jax.vmap(sj.spectral_content)(pairs.vectors)
    assert jnp.argmax(content, axis=1).tolist() == [0, *[1] * 8]


def test_residuals_are_honest_before_convergence():
    f, x = patch_drift((20, 20)), jr.normal(jr.key(0), (20, 20))
    pairs = leading(f, x, num=4, num_matvecs=8)
    v, jacobian = np.asarray(pairs.vectors).reshape(4, -1), dense(f, x)
    residual = np.linalg.norm(v @ jacobian.T - np.asarray(pairs.values)[:, None] * v, axis=1)
    assert np.min(residual) > 1e-3
    assert_close(pairs.residuals, residual, loosen=100)


@pytest.mark.float32
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_full_basis_gives_the_whole_spectrum(symmetric):
    matrix = np.random.default_rng(1).normal(size=(12, 12))
    pairs = leading(linear(matrix, (3, 4)), jnp.zeros((3, 4), FLOAT), num=12, symmetric=symmetric)
    check_pairs(pairs, 0.5 * (matrix + matrix.T) if symmetric else matrix, 12)


def test_pairs_can_be_batched():
    xs = jr.normal(jr.key(0), (2, 6, 5))

    @jax.jit
    def values(x):
        return sj.leading_modes(lambda x: x - jnp.roll(x, 1) * x**2, x, num=3, key=jr.key(1)).values

    batched = jax.jit(jax.vmap(values))(xs)
    assert_close(batched, jnp.stack([values(x) for x in xs]), loosen=100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must lie between 1 and the 30 components of x, got 0"),
        ({"num": 31}, "num must lie between 1 and the 30 components of x, got 31"),
        ({"num": 4, "num_matvecs": 3}, "num_matvecs must lie between num = 4 and the 30 components of x, got 3"),
        ({"num_matvecs": 31}, "num_matvecs must lie between num = 8 and the 30 components of x, got 31"),
        ({"num_starts": 0}, "num_starts must lie between 1 and 30, got 0"),
    ],
)
def test_bad_counts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sj.leading_modes(lambda x: x, jnp.ones((5, 6), FLOAT), key=jr.key(0), **options)


@pytest.mark.usefixtures("without_type_checks")
def test_bad_states_and_drifts_are_refused():
    with pytest.raises(ValueError, match="x must be finite, got 30 NaN"):
        sj.leading_modes(lambda x: x, jnp.full((5, 6), np.nan, FLOAT), key=jr.key(0))
    with pytest.raises(ValueError, match="f must return the shape"):
        sj.leading_modes(jnp.sum, jnp.ones((5, 6), FLOAT), key=jr.key(0))
