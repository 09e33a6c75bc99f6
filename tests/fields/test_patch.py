from itertools import product
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
import softjax.fields._patch as patch_module

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
T = 0.5


@eqx.filter_jit
def denoise(field, t, x):
    return field.denoise(t, x)


@eqx.filter_jit
def score(field, t, x):
    return field.score(t, x)


def normalised(weights):
    return np.log(np.asarray(weights, float) / np.sum(weights))


def literal_denoiser(dictionary, process, t, x):
    """Gathers every neighbourhood and compares it with every pattern, in float64 NumPy."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    patterns, log_prior = np.asarray(dictionary.patterns, float), np.asarray(dictionary.log_prior, float)
    x, patch = np.asarray(x, float), patterns.shape[1:]
    offsets = [np.arange(side) - side // 2 for side in patch]
    centre = (slice(None), *(side // 2 for side in patch))
    denoised = np.zeros(x.shape)
    for site in np.ndindex(*x.shape):
        window = x[np.ix_(*[(i + o) % n for i, o, n in zip(site, offsets, x.shape, strict=True)])]
        distance = np.sum((window - alpha * patterns) ** 2, axis=tuple(range(1, patterns.ndim)))
        logits = log_prior - distance / (2 * sigma**2)
        weights = np.exp(logits - logits.max())
        denoised[site] = weights @ patterns[centre] / weights.sum()
    return denoised


def gaussian_patterns(count, *patch):
    return RNG.normal(size=(count, *patch))


def spins(count, *patch):
    return RNG.choice([-1.0, 1.0], size=(count, *patch))


def with_mirrors(patterns):
    return np.concatenate([patterns, -patterns])


A, B = spins(2, 3, 3)
DICTIONARIES = {
    "unequal norms and priors": (gaussian_patterns(4, 3, 3), [1, 2, 3, 4], (5, 6)),
    "mirrored pairs of unequal priors": (with_mirrors(spins(3, 3, 3)), [1, 5, 2, 2, 1, 4], (6, 5)),
    "pairs, lone, repeated and zero": (np.stack([A, -A, A, B, 0 * A, -B, -B]), [1, 2, 3, 1, 2, 3, 1], (4, 7)),
    "one pattern": (spins(1, 3, 3), [1], (4, 4)),
    "oblong patch": (gaussian_patterns(3, 3, 5), [1, 1, 2], (7, 6)),
    "chain": (gaussian_patterns(3, 5), [3, 1, 2], (9,)),
    "three dimensions, one side as long as the lattice": (gaussian_patterns(3, 3, 1, 3), [1, 2, 1], (4, 2, 3)),
    "large patch": (with_mirrors(gaussian_patterns(7, 11, 9)), np.arange(1, 15), (12, 11)),
}


@pytest.mark.parametrize("name", DICTIONARIES)
def test_denoiser_equals_the_literal_posterior(name):
    patterns, weights, shape = DICTIONARIES[name]
    dictionary = sj.PatchDictionary(patterns, normalised(weights))
    process = sj.VP(beta=0.8)
    x = jnp.asarray(RNG.normal(size=shape), FLOAT)
    for t in (0.05, 1.5):
        result = denoise(sj.PatchField(dictionary, process), jnp.asarray(t, FLOAT), x)
        # Logits reach patch size / sigma^2; their rounding shifts the weights by as much.
        assert_close(result, literal_denoiser(dictionary, process, t, x), loosen=20)


def test_fourier_route_equals_shifted_sums(monkeypatch):
    dictionary = sj.PatchDictionary(gaussian_patterns(4, 5, 3), normalised([1, 2, 3, 4]))
    x = jnp.asarray(RNG.normal(size=(8, 7)), FLOAT)
    field = sj.PatchField(dictionary, sj.VP())
    by_sums = field.evidence(x), field.denoise(T, x)
    monkeypatch.setattr(patch_module, "_MAX_SHIFTED_TERMS", 0)
    by_fft = field.evidence(x), field.denoise(T, x)
    assert_close(by_fft, by_sums, loosen=4)


def value_and_tangent(field, t, x, v):
    return eqx.filter_jit(lambda field, t, x, v: jax.jvp(lambda x: field.denoise(t, x), (x,), (v,)))(field, t, x, v)


@pytest.mark.parametrize("name", ["mirrored pairs of unequal priors", "pairs, lone, repeated and zero", "chain"])
def test_matrix_products_equal_the_fused_loop(name, monkeypatch):
    monkeypatch.setattr(patch_module, "_BLOCK", 1)  # parts of 64 patterns, of which the last two overlap
    patterns, weights, shape = DICTIONARIES[name]
    copies = 150 // len(patterns)
    x, v = (jnp.asarray(RNG.normal(size=shape), FLOAT) for _ in range(2))
    few = sj.PatchField(sj.PatchDictionary(patterns, normalised(weights)), sj.EDM(), route="fused")
    many = sj.PatchDictionary(np.tile(patterns, (copies, *(1,) * len(shape))), normalised(np.tile(weights, copies)))
    field = sj.PatchField(many, sj.EDM(), route="einsum")
    for t in (0.4, 2.0):
        assert_close(value_and_tangent(field, t, x, v), value_and_tangent(few, t, x, v), loosen=20)


def test_many_patterns_take_matrix_products_and_few_the_fused_loop():
    few, many = (sj.PatchField(sj.PatchDictionary(gaussian_patterns(n, 3)), sj.VP()) for n in (40, 41))
    assert_close(few.evidence_patterns, few.dictionary.patterns)
    assert_close(many.evidence_patterns, np.eye(3, dtype=FLOAT))
    x = jnp.asarray(RNG.normal(size=(8,)), FLOAT)
    literal = literal_denoiser(many.dictionary, many.process, T, x)
    assert_close(denoise(many, T, x), literal, loosen=20)
    for field in (few, many):  # what the evidence of a site is said to be
        windows = np.stack([np.roll(x, 1), x, np.roll(x, -1)])
        assert_close(field.evidence(x), np.asarray(field.evidence_patterns) @ windows, loosen=2)


def test_memory_of_a_large_dictionary_does_not_grow_with_it_in_derivatives_either():
    def temporary_bytes(count):
        field = sj.PatchField(sj.PatchDictionary(np.zeros((count, 3, 3), np.float32)), sj.VP(), route="einsum")
        x = jnp.zeros((16, 16), jnp.float32)

        def probe(field, x):
            return jax.vmap(jax.linearize(lambda x: field.denoise(jnp.float32(T), x), x)[1])(x[None])

        analysis: Any = jax.jit(probe).lower(field, x).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    # Two copies of the dictionary and some numbers per part; all weights would be 256 numbers per pattern.
    assert temporary_bytes(64_000) - temporary_bytes(8_000) < 56_000 * 4 * 40


def translates(base):
    shifts = product(*map(range, base.shape))
    return np.stack([np.roll(base, shift, range(base.ndim)) for shift in shifts])


def test_full_size_patch_over_all_translates_is_the_empirical_field():
    bases = gaussian_patterns(2, 3, 3)  # the next test has sides that differ
    patterns = np.concatenate([translates(base) for base in bases])
    log_prior = normalised(np.repeat([1, 3], 9))
    x = jnp.asarray(RNG.normal(size=(3, 3)), FLOAT)
    local = denoise(sj.PatchField(sj.PatchDictionary(patterns, log_prior), sj.VP()), T, x)
    assert_close(local, denoise(sj.EmpiricalField(patterns, sj.VP(), log_prior), T, x), loosen=4)


def test_full_size_patch_is_the_empirical_field_seen_from_each_site():
    patterns, log_prior = gaussian_patterns(4, 3, 5), normalised([1, 2, 3, 4])
    x = jnp.asarray(RNG.normal(size=(3, 5)), FLOAT)
    local = denoise(sj.PatchField(sj.PatchDictionary(patterns, log_prior), sj.VP()), T, x)
    whole = sj.EmpiricalField(patterns, sj.VP(), log_prior)
    for i, j in product(range(3), range(5)):
        centred = jnp.roll(x, (1 - i, 2 - j), (0, 1))
        np.testing.assert_allclose(local[i, j], denoise(whole, T, centred)[1, 2], rtol=1e-4, atol=1e-5)


def test_field_commutes_with_translations():
    field = sj.PatchField(sj.PatchDictionary.ising(3, 2, key=jr.key(0)), sj.VP())
    x = jnp.asarray(RNG.normal(size=(6, 7)), FLOAT)
    shifted = score(field, T, jnp.roll(x, (2, 3), (0, 1)))
    assert_close(shifted, np.roll(score(field, T, x), (2, 3), (0, 1)))


def test_symmetric_dictionary_has_an_odd_score():
    field = sj.PatchField(sj.PatchDictionary.ising(3, 2, key=jr.key(0)), sj.VP())
    x = jnp.asarray(RNG.normal(size=(6, 7)), FLOAT)
    assert_close(score(field, T, -x), -np.asarray(score(field, T, x)))
    assert np.all(np.asarray(score(field, T, 0 * x)) == 0)


def test_two_pattern_score_is_a_hyperbolic_tangent():
    process, x = sj.VP(beta=0.7), jnp.asarray(RNG.normal(size=(6, 5)), FLOAT)
    alpha2, variance = np.exp(-0.7 * T), 1 - np.exp(-0.7 * T)
    states = np.asarray(x, float)
    total = sum(np.roll(states, shift, (0, 1)) for shift in product((-1, 0, 1), repeat=2))
    expected = -states / variance + np.sqrt(alpha2) / variance * np.tanh(np.sqrt(alpha2) / variance * total)
    assert_close(score(sj.PatchField(sj.PatchDictionary.two_pattern(3), process), T, x), expected, loosen=4)


def test_prior_decides_where_the_noise_says_nothing():
    patterns, weights = gaussian_patterns(4, 3, 3), np.array([1, 2, 3, 4]) / 10
    field = sj.PatchField(sj.PatchDictionary(patterns, np.log(weights)), sj.EDM())
    x = 1e4 * jnp.asarray(RNG.normal(size=(5, 5)), FLOAT)
    prior_mean = weights @ patterns[:, 1, 1]
    np.testing.assert_allclose(denoise(field, 1e6, x), prior_mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [1e-4, 1e-3])
def test_denoiser_finds_its_pattern_at_small_times(t):
    dictionary = sj.PatchDictionary.ising(3, 4, key=jr.key(1))
    field = sj.PatchField(sj.PatchDictionary(dictionary.patterns.astype(jnp.float32), dictionary.log_prior), sj.VP())
    noise = jnp.asarray(RNG.normal(size=(8, 8)), jnp.float32)
    x = 1 + field.process.sigma(t) * noise
    assert_close(denoise(field, jnp.asarray(t, jnp.float32), x), np.ones((8, 8)))


def test_stacked_padded_dictionaries_are_a_loop_over_patch_sizes():
    process, x = sj.VP(), jnp.asarray(RNG.normal(size=(8, 7)), FLOAT)
    dictionaries = [sj.PatchDictionary.ising(w, 2, key=jr.key(w)) for w in (1, 3, 5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(d.pad(5) for d in dictionaries))
    scores = eqx.filter_jit(eqx.filter_vmap(lambda d: sj.PatchField(d, process).score(T, x)))(stacked)
    for dictionary, result in zip(dictionaries, scores, strict=True):
        assert_close(result, score(sj.PatchField(dictionary, process), T, x), loosen=4)


def test_derivative_in_the_dictionary_is_the_central_difference():
    dictionary = sj.PatchDictionary(gaussian_patterns(3, 3, 3), normalised([1, 2, 3]))
    x = jnp.asarray(RNG.normal(size=(5, 4)), FLOAT)
    direction = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), FLOAT), dictionary)
    h = float(jnp.finfo(FLOAT).eps) ** (1 / 3)

    def moved(step):
        return denoise(sj.PatchField(jax.tree.map(lambda y, d: y + step * d, dictionary, direction), sj.VP()), T, x)

    def denoise_with(dictionary):
        return sj.PatchField(dictionary, sj.VP()).denoise(T, x)

    tangent = jax.jit(lambda d, v: jax.jvp(denoise_with, (d,), (v,))[1])(dictionary, direction)
    difference = (np.asarray(moved(h), float) - np.asarray(moved(-h), float)) / (2 * h)
    np.testing.assert_allclose(tangent, difference, atol=200 * h**2)  # truncation and rounding are both of order h^2


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_patch_must_fit_on_the_lattice(shape):
    field = sj.PatchField(sj.PatchDictionary.two_pattern(5), sj.VP())
    with pytest.raises(ValueError, match=r"the patch, \(5, 5\), must fit on the lattice.*smaller patch"):
        field.score(T, jnp.zeros(shape, FLOAT))


@pytest.mark.parametrize("method", ["denoise", "evidence"])
@pytest.mark.parametrize("shape", [(6,), (6, 6, 6)])
def test_state_must_have_the_patches_rank(method, shape):
    field, x = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP()), jnp.zeros(shape, FLOAT)
    with pytest.raises(ValueError, match=r"one configuration with 2 lattice axes.*use jax\.vmap"):
        field.denoise(T, x) if method == "denoise" else field.evidence(x)


@pytest.mark.usefixtures("without_type_checks")
def test_unknown_boundary_is_refused_by_name():
    with pytest.raises(ValueError, match="boundary must be one of 'periodic'; got 'open'"):
        sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP(), "open")  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("without_type_checks")
def test_unknown_route_is_refused_by_name():
    with pytest.raises(ValueError, match="route must be one of 'auto', 'fused', 'einsum'; got 'fft'"):
        sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP(), route="fft")  # pyright: ignore[reportArgumentType]
