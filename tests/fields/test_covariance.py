"""Gaussian fields against dense matrices, and their estimates against formulas written out in full."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close, needs_x64

import softjax as sj
from softjax.fields import _principal

SHAPE, SITES, T = (4, 6), 24, 0.7
VP = sj.VP()


def correlated(count, seed=0, shape=SHAPE):
    """Samples with a mean image and neighbours that are alike, uneven from site to site."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, *shape))
    smooth = noise + 0.7 * np.roll(noise, 1, 1) + 0.4 * np.roll(noise, 1, 2)
    return smooth * rng.uniform(0.3, 2.0, shape) + rng.normal(size=shape)


def dense(field, shape=SHAPE):
    """The covariance that a field without classes stands for, (sites, sites)."""
    vectors = np.asarray(field.vectors, float).reshape(-1, int(np.prod(shape)))
    excess = np.asarray(field.variances - field.residual_variance, float)
    return np.einsum("ji,j,jk", vectors, excess, vectors) + float(field.residual_variance) * np.eye(vectors.shape[1])


def dense_score(covariance, mean, process, t, x):
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    noisy = alpha**2 * covariance + sigma**2 * np.eye(len(covariance))
    return -np.linalg.solve(noisy, (x - alpha * mean).ravel()).reshape(x.shape)


@pytest.mark.float32
@pytest.mark.parametrize("process", [VP, sj.EDM(), sj.RectifiedFlow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("rank", [None, 5])
def test_score_is_the_gradient_of_the_dense_gaussian(process, rank):
    data, x = correlated(90), np.random.default_rng(1).normal(size=SHAPE)
    covariance = np.cov(data.reshape(-1, SITES).T)
    mean = data.mean(0)
    field = sj.CovarianceField.from_covariance(
        jnp.asarray(covariance.reshape(*SHAPE, *SHAPE), FLOAT), process, mean, rank=rank
    )
    assert field.variances.shape == (rank or SITES,)
    assert_close(np.trace(dense(field)), np.trace(covariance), loosen=20)
    expected = dense_score(dense(field), mean, process, T, x)
    assert_close(field.score(T, jnp.asarray(x, FLOAT)), np.asarray(expected), loosen=20)
    if rank is None:
        np.testing.assert_allclose(dense(field), covariance, atol=1e-5)


def test_samples_without_shrinkage_have_numpys_covariance_and_their_mean_image():
    data = correlated(90)
    field = sj.CovarianceField.from_samples(data, VP, shrinkage=0.0)
    np.testing.assert_allclose(dense(field), np.cov(data.reshape(-1, SITES).T), atol=1e-12)
    np.testing.assert_allclose(field.mean, data.mean(0), atol=1e-14)


def test_a_mean_that_is_given_leaves_second_moments_about_it():
    data = correlated(90)
    field = sj.CovarianceField.from_samples(data, VP, mean=0.0, shrinkage=0.0)
    flat = data.reshape(-1, SITES)
    np.testing.assert_allclose(dense(field), np.matmul(flat.T, flat) / 90, atol=1e-12)
    assert np.all(np.asarray(field.mean) == 0)


def written_out(data):
    """Ledoit and Wolf's covariance, and its shrinkage, as their paper defines them."""
    y = data.reshape(len(data), -1) - data.reshape(len(data), -1).mean(0)
    count, sites = y.shape
    sample = sum(np.outer(row, row) for row in y) / count
    mu = np.trace(sample) / sites
    distance = np.sum((sample - mu * np.eye(sites)) ** 2)
    noise = sum(np.sum((np.outer(row, row) - sample) ** 2) for row in y) / count**2
    return min(noise, distance) / distance, sample * count / (count - 1)


@pytest.mark.parametrize("count", [3, 12, 24, 60, 500])
def test_shrinkage_is_ledoit_and_wolfs(count):
    data = correlated(count)
    shrink, sample = written_out(data)
    field = sj.CovarianceField.from_samples(data, VP)
    wanted = (1 - shrink) * sample + shrink * np.trace(sample) / SITES * np.eye(SITES)
    assert 0 < shrink <= 1
    np.testing.assert_allclose(dense(field), wanted, atol=1e-10)


def test_shrinkage_comes_nearer_to_the_truth_where_samples_are_few():
    many = np.cov(correlated(200_000).reshape(-1, SITES).T)
    errors = {}
    for shrinkage in ("ledoit_wolf", 0.0):
        field = sj.CovarianceField.from_samples(correlated(200_000)[:20], VP, shrinkage=shrinkage)
        errors[shrinkage] = np.linalg.norm(dense(field) - many)
    assert errors["ledoit_wolf"] < 0.9 * errors[0.0]


def test_few_samples_of_many_sites_need_no_matrix_of_the_sites():
    shape = (64, 64, 3)
    data = correlated(40, shape=shape[:2])[..., None] * np.asarray([1.0, 0.5, -0.5])
    field = sj.CovarianceField.from_samples(data.astype(np.float32), VP, rank=16, channels=3)
    assert field.vectors.shape == (16, *shape)
    assert field.residual_variance > 0
    total = np.sum(field.variances) + field.residual_variance * (64 * 64 * 3 - 16)
    np.testing.assert_allclose(total, np.sum(np.var(data, axis=0, ddof=1)), rtol=1e-5)
    assert field.score(T, jnp.zeros(shape, jnp.float32)).shape == shape
    assert repr(field) == "CovarianceField(16 components of 64 x 64 x 3, channels=3, VP(beta=1))"


def test_few_samples_with_very_unequal_variances_have_orthonormal_components():
    data = np.random.default_rng(0).normal(size=(12, 24)) * np.logspace(0, -6, 12)[:, None]
    field = sj.CovarianceField.from_samples(data, VP, shrinkage=0.0)
    vectors = np.asarray(field.vectors)
    assert len(vectors) >= 8
    np.testing.assert_allclose(np.matmul(vectors, vectors.T), np.eye(len(vectors)), atol=1e-10)
    np.testing.assert_allclose(dense(field, (24,)), np.cov(data.T), atol=1e-9)


def test_a_tail_that_is_left_out_is_shared_and_total_variance_stays():
    full = sj.CovarianceField.from_samples(correlated(90), VP)
    part = sj.CovarianceField.from_samples(correlated(90), VP, rank=7)
    np.testing.assert_allclose(part.residual_variance, np.mean(full.variances[7:]), rtol=1e-12)
    np.testing.assert_allclose(part.variances, full.variances[:7], rtol=1e-12)


def test_classes_are_gaussians_of_their_own():
    data = np.concatenate([correlated(30, 0), 2 * correlated(40, 1), correlated(5, 2)])
    labels = np.repeat([0, 1, 2], [30, 40, 5])
    shuffled = np.random.default_rng(0).permutation(len(data))
    field = sj.CovarianceField.from_samples(data[shuffled], VP, labels=labels[shuffled])
    x = jnp.asarray(np.random.default_rng(3).normal(size=SHAPE))
    rows = np.asarray([0, 1])
    scores = jax.jit(jax.vmap(lambda label: field.with_label(label).score(T, x)))(rows)
    assert field.variances.shape == (3, 4)  # five samples differ in four directions
    for label in rows:
        alone = sj.CovarianceField.from_samples(data[labels == label], VP, rank=4)
        np.testing.assert_allclose(scores[label], alone.score(T, x), rtol=1e-10, atol=1e-12)
    assert repr(field) == "CovarianceField(3 classes, 4 components of 4 x 6, VP(beta=1))"
    assert "label=1" in repr(field.with_label(1))
    with pytest.raises(ValueError, match=r"has 3 classes.*with_label\(label\)"):
        field.score(T, x)
    with pytest.raises(ValueError, match="label must be a class from 0 to 2, got 3"):
        field.with_label(3)
    assert np.all(np.isnan(jax.jit(lambda label: field.with_label(label).score(T, x))(3)))
    with pytest.raises(ValueError, match="this field has none"):
        sj.CovarianceField.from_samples(data, VP).with_label(0)


@needs_x64
def test_of_stationary_data_it_is_the_stationary_field():
    spectrum = sj.spectral.free_field_spectrum(SHAPE, 0.3, 1.0)
    stationary = sj.GaussianField(spectrum, VP, mean=0.4)
    impulses = jnp.eye(SITES).reshape(SITES, *SHAPE)
    columns = jax.vmap(lambda v: jnp.fft.ifftn(jnp.fft.fftn(v) * spectrum.astype(complex)).real)(impulses)
    field = sj.CovarianceField.from_covariance(columns.reshape(*SHAPE, *SHAPE), VP, 0.4)
    x = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
    assert_close(field.score(T, x), stationary.score(T, x), loosen=20)


@pytest.mark.parametrize("mean", [None, 0.25])
def test_a_stationary_field_of_samples_has_their_structure_factor(mean):
    data = correlated(30)
    field = sj.GaussianField.from_samples(data, VP, mean)
    level = data.mean() if mean is None else mean
    wanted = np.mean([sj.structure_factor(image - level) for image in data], axis=0)
    if mean is None:
        wanted[0, 0] = SITES * np.var(data.mean((1, 2)), ddof=1)
    np.testing.assert_allclose(field.spectrum, wanted, rtol=1e-12)
    np.testing.assert_allclose(field.mean, level, rtol=1e-14)


EYE = np.eye(SITES).reshape(*SHAPE, *SHAPE)
DATA = correlated(9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sj.CovarianceField.from_covariance(EYE[0], VP), r"must have shape \(\*shape, \*shape\)"),
        (lambda: sj.CovarianceField.from_covariance(np.triu(np.ones((4, 4))), VP), "must be symmetric"),
        (lambda: sj.CovarianceField.from_covariance(-EYE, VP), "no negative eigenvalues"),
        (lambda: sj.CovarianceField.from_covariance(EYE, VP, rank=0), "rank must be at least 1"),
        (lambda: sj.CovarianceField.from_samples(DATA[:1], VP), "needs 2 samples"),
        (lambda: sj.CovarianceField.from_samples(DATA, VP, shrinkage=1.5), "shrinkage must lie between 0 and 1"),
        (lambda: sj.CovarianceField.from_samples(DATA, VP, mean=np.ones(3)), "mean must be one number or have shape"),
        (lambda: sj.CovarianceField.from_samples(DATA, VP, labels=np.arange(9)), "two samples at least; class .0. has"),
        (lambda: sj.CovarianceField.from_samples(DATA, VP, labels=np.arange(3)), "labels must have shape"),
        (lambda: sj.CovarianceField.from_samples(DATA, VP, channels=3), "channels=3 says"),
        (lambda: sj.CovarianceField(2 * EYE[0], np.ones(6), VP), "vectors must be orthonormal"),
        (lambda: sj.CovarianceField(EYE[0], -np.ones(6), VP), "variances must not be negative"),
        (lambda: sj.CovarianceField(EYE[0], np.ones(5), VP), "vectors must have shape"),
        (lambda: sj.CovarianceField(EYE[0], np.ones(6), VP, np.ones(3)), "mean must be one number or have shape"),
        (lambda: sj.CovarianceField(EYE[0], np.ones(6), VP, label=1), "this field has none"),
        (lambda: jax.jit(lambda x: sj.CovarianceField.from_samples(x, VP).mean)(DATA), "call this outside jit"),
        (lambda: sj.GaussianField.from_samples(DATA[:1], VP), "samples >= 2"),
        (lambda: jax.jit(lambda x: sj.GaussianField.from_samples(x, VP).mean)(DATA), "call this outside jit"),
    ],
)
def test_nonsense_is_refused(call, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_too_large_is_refused_before_it_is_computed(monkeypatch):
    monkeypatch.setattr(_principal, "LARGEST", 8)
    with pytest.raises(ValueError, match="give at most 8 samples"):
        sj.CovarianceField.from_samples(DATA, VP)


def test_data_that_do_not_vary_are_one_pattern():
    field = sj.CovarianceField.from_samples(np.ones((3, *SHAPE)), VP)
    x = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
    assert_close(field.score(T, x), sj.EmpiricalField(np.ones((1, *SHAPE)), VP).score(T, x))
