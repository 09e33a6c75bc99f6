import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

A = np.array([[1.0, -1, 1], [0.5, 1, 1], [-1, -1, 2]])
B = np.array([[1.0, 1, 1], [-1, 1, 1], [-1, -1, 1]])
ZERO = np.zeros((3, 3))
HOLES = A * np.array([0.0, 1, 1])


@eqx.filter_jit
def denoise(dictionary, x):
    return sj.PatchField(dictionary, sj.VP()).denoise(0.5, x)


@pytest.mark.parametrize(
    ("patterns", "num_pairs"),
    [
        ([A, B], 0),
        ([A, -A], 1),
        ([A, B, -B, -A], 2),
        ([A, A, -A], 1),
        ([A, A, -A, -A], 2),
        ([A, -A, -A, -A, B], 1),
        ([ZERO, -ZERO, A], 0),
        ([ZERO, A, -A, ZERO], 1),
        ([A, -A.T], 0),
        ([HOLES, 0.0 - HOLES, B], 1),  # the negative of 0 is -0 in one and 0 in the other
        ([-HOLES, HOLES], 1),
    ],
)
def test_mirrors_pair_each_pattern_with_one_negative(patterns, num_pairs):
    mirrors = sj.PatchDictionary(np.stack(patterns)).mirrors
    paired = [m for m, mirror in enumerate(mirrors) if mirror is not None]
    assert len(paired) == 2 * num_pairs
    for m in paired:
        mirror = mirrors[m]
        assert mirror is not None
        assert mirror != m
        assert mirrors[mirror] == m
        assert np.array_equal(patterns[m], -patterns[mirror])


@pytest.mark.parametrize("patterns", [[A, B], [A, -A], [A, B, -B, -A], [A, -A, -A, -A, B], [ZERO, A, -A, ZERO]])
def test_every_pattern_is_a_representative_or_its_negative(patterns):
    dictionary = sj.PatchDictionary(np.stack(patterns))
    representatives, signs = np.asarray(dictionary.representative_patterns), np.asarray(dictionary.signs)
    np.testing.assert_array_equal(signs[:, None, None] * representatives[np.asarray(dictionary.owners)], patterns)
    np.testing.assert_array_equal(representatives, dictionary.patterns[np.asarray(dictionary.representatives)])
    assert [m for m, sign in enumerate(signs) if sign == 1] == list(dictionary.representatives)
    for m, mirror in zip(dictionary.representatives, dictionary.representative_mirrors, strict=True):
        assert mirror == (m if dictionary.mirrors[m] is None else dictionary.mirrors[m])


def test_traced_patterns_give_the_same_field_without_mirrors():
    patterns, x = (
        jnp.asarray(np.stack([A, -A, B]), FLOAT),
        jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)), FLOAT),
    )

    @jax.jit
    def traced(patterns):
        dictionary = sj.PatchDictionary(patterns)
        assert dictionary.mirrors == (None, None, None)
        return sj.PatchField(dictionary, sj.VP()).denoise(0.5, x)

    assert_close(traced(patterns), denoise(sj.PatchDictionary(patterns), x))


@pytest.mark.parametrize(("num_random", "count"), [(4, 10), (8, 18), (1, 4)])
def test_ising_dictionary_is_the_papers(num_random, count):
    dictionary = sj.PatchDictionary.ising(5, num_random, 0.7, key=jr.key(0))
    patterns, prior = np.asarray(dictionary.patterns), np.exp(np.asarray(dictionary.log_prior, float))
    uniform = np.all(patterns == patterns[:, :1, :1], axis=(1, 2))
    assert patterns.shape == (count, 5, 5)
    assert set(np.unique(patterns)) == {-1, 1}
    assert sorted(patterns[uniform][:, 0, 0]) == [-1, 1]
    np.testing.assert_allclose(prior[uniform], 0.35, rtol=1e-6)
    np.testing.assert_allclose(prior[~uniform], 0.3 / (count - 2), rtol=1e-6)
    assert np.array_equal(np.sort(patterns.reshape(count, -1), axis=0), np.sort(-patterns.reshape(count, -1), axis=0))
    assert dictionary.mirrors == sj.PatchDictionary(patterns).mirrors


def test_ising_without_random_patterns_is_the_two_pattern_model():
    ising = sj.PatchDictionary.ising(3, 0, 1.0, key=jr.key(0))
    two = sj.PatchDictionary.two_pattern(3)
    assert_close((ising.patterns, ising.log_prior), (np.asarray(two.patterns), np.asarray(two.log_prior)))


def test_ising_draws_depend_on_the_key():
    draws = [np.asarray(sj.PatchDictionary.ising(5, key=jr.key(n)).patterns) for n in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_named_dictionaries_in_any_dimension(ndim):
    assert sj.PatchDictionary.two_pattern(3, ndim=ndim).patterns.shape == (2, *(3,) * ndim)
    assert sj.PatchDictionary.ising(3, 2, ndim=ndim, key=jr.key(0)).patch_shape == (3,) * ndim


def test_priors_are_equal_by_default():
    assert_close(jnp.exp(sj.PatchDictionary(np.stack([A, B, ZERO])).log_prior), np.full(3, 1 / 3))


def test_centres_and_norms():
    dictionary = sj.PatchDictionary(np.stack([A, 3 * B])[:, :, 1:2])
    assert dictionary.patch_shape == (3, 1)
    assert_close(dictionary.centres, np.array([1.0, 3.0]))
    assert_close(dictionary.squared_norms, np.array([3.0, 27.0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"] if X64 else ["float32"])
def test_dtype_of_the_patterns_is_kept(dtype):
    dictionary = sj.PatchDictionary(jnp.ones((2, 3, 3), dtype), np.log([0.25, 0.75]))
    assert dictionary.patterns.dtype == dictionary.log_prior.dtype == dtype


def test_integer_patterns_become_floats():
    assert sj.PatchDictionary(np.ones((2, 3, 3), int)).patterns.dtype == FLOAT


def test_padding_changes_nothing():
    dictionary = sj.PatchDictionary(np.stack([A, -A, B])[:, :, 1:2], np.log([0.2, 0.5, 0.3]))
    padded = dictionary.pad(5)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 7)), FLOAT)
    assert padded.patch_shape == (5, 5)
    assert padded.mirrors == dictionary.mirrors
    assert_close(denoise(padded, x), denoise(dictionary, x))


@pytest.mark.parametrize("patch_size", [1, 4])
def test_padding_must_be_to_a_larger_odd_side(patch_size):
    with pytest.raises(ValueError, match=f"patch_size must be odd and at least 3, got {patch_size}"):
        sj.PatchDictionary(np.stack([A, B])).pad(patch_size)


@pytest.mark.parametrize(
    ("patterns", "log_prior", "message"),
    [
        (np.ones((2, 4, 3)), None, r"patch sides must be odd.*got .4, 3."),
        (np.ones(3), None, r"shape \(M, \*patch\)"),
        (np.ones((0, 3, 3)), None, "M >= 1"),
        (np.full((2, 3), np.nan), None, "patterns must be finite, got 6 NaN"),
        (np.ones((2, 3)), np.log([0.5, 0.4]), "priors must sum to one, got 0.9.*log_softmax"),
        (np.ones((2, 3)), np.array([0.5, 0.5]), "priors must sum to one"),
        (np.ones((2, 3)), np.zeros(1), r"one entry per pattern, shape \(2,\), got \(1,\)"),
        (np.ones((2, 3)), np.array([0.0, -np.inf]), "leave out patterns of zero probability"),
    ],
)
def test_dictionary_refuses(patterns, log_prior, message):
    with pytest.raises(ValueError, match=message):
        sj.PatchDictionary(patterns, log_prior)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 4}, "patch_size must be odd.*got 4"),
        ({"patch_size": -1}, "patch_size must be odd"),
        ({"num_random": -1}, "num_random must not be negative, got -1"),
        ({"p_global": 0.0}, "p_global must lie strictly between 0 and 1"),
        ({"p_global": 1.0}, "p_global must lie strictly between 0 and 1"),
        ({"num_random": 0, "p_global": 0.8}, "be 1 when num_random is 0"),
    ],
)
def test_ising_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        sj.PatchDictionary.ising(**arguments, key=jr.key(0))


def test_two_pattern_needs_an_odd_patch():
    with pytest.raises(ValueError, match="patch_size must be odd.*got 2"):
        sj.PatchDictionary.two_pattern(2)


@pytest.mark.parametrize("mirrors", [(1, 0), (1, 2, 0, None), (2, None, 0, None), (0, 1, 2, 3), (4, None, None, 0)])
def test_mirrors_that_are_none_are_refused(mirrors):
    patterns = np.stack([np.ones((3, 3)), -np.ones((3, 3)), np.eye(3), -np.eye(3)])
    with pytest.raises(ValueError, match="mirrors must name|is not the negative"):
        sj.PatchDictionary(patterns, None, mirrors)
