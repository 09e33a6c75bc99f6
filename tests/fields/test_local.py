import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, needs_x64

import softjax as sj

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 6, 7))
X = jnp.asarray(RNG.normal(size=(6, 7)), FLOAT)
ALL = IMAGES.size  # patches
T = 0.7
KEY = jr.key(0)


@eqx.filter_jit
def denoise(field, t, x):
    return field.denoise(t, x)


def local(boundary: Any = "periodic", images=IMAGES, **options):
    return sj.LocalField(jnp.asarray(images, FLOAT), 3, sj.VP(), boundary, **options)


def windows(image, boundary, side=3):
    """The window around each site, and which of its pixels lie inside; (sites, side * side) both."""
    margin = side // 2
    mode = "wrap" if boundary == "periodic" else "constant"
    padded, inside = (np.pad(a, margin, mode=mode) for a in (image, np.ones(image.shape)))
    sites = list(np.ndindex(image.shape))
    cut = [[a[i : i + side, j : j + side].ravel() for i, j in sites] for a in (padded, inside)]
    return np.asarray(cut[0]), np.asarray(cut[1])


def literal(images, x, boundary, t=T):
    """Site by site, window by window."""
    alpha, variance = np.exp(-t / 2), 1 - np.exp(-t)
    seen, inside = windows(np.asarray(x, float), boundary)
    result = np.zeros(x.size)
    for i in range(x.size):
        weights, total = 0.0, 0.0
        for image in images:
            patches, patch_inside = windows(image, boundary)
            for j in range(x.size):
                if np.array_equal(inside[i], patch_inside[j]):
                    weight = np.exp(-np.sum((seen[i] - alpha * patches[j]) ** 2) / (2 * variance))
                    weights, total = weights + weight, total + weight * image.flat[j]
        result[i] = total / weights
    return result.reshape(x.shape)


@pytest.fixture(scope="module")
def by_hand():
    return {boundary: literal(IMAGES, X, boundary) for boundary in ("periodic", "zeros")}


@pytest.mark.parametrize("boundary", ["periodic", "zeros"])
@pytest.mark.parametrize("chunk", [1, 42, 100, 4096])
def test_denoiser_is_the_literal_sum_whatever_the_chunk(boundary, chunk, by_hand):
    assert_close(denoise(local(boundary, chunk=chunk), T, X), by_hand[boundary], loosen=8)


@pytest.mark.parametrize("shape", [(9,), (3, 4, 3)])
def test_one_axis_and_three_axes(shape):
    images, x = RNG.normal(size=(2, *shape)), jnp.asarray(RNG.normal(size=shape), FLOAT)
    cut = (slice(None), *(slice(0, 3),) * len(shape))
    shifts = itertools.product(*map(range, shape))
    patches = np.concatenate([np.roll(images, shift, range(1, len(shape) + 1))[cut] for shift in shifts])
    patch_model = sj.PatchField(sj.PatchDictionary(jnp.asarray(patches, FLOAT)), sj.VP())
    assert_close(denoise(local(images=images, channels=0), T, x), denoise(patch_model, T, x), loosen=8)


@pytest.mark.parametrize("t", [0.05, 0.7, 4.0])
@pytest.mark.parametrize("process", [sj.VP(), sj.EDM()], ids=["vp", "edm"])
def test_with_the_same_dictionary_it_is_the_patch_model(process, t):
    shifts = itertools.product(range(6), range(7))
    patches = np.concatenate([np.roll(IMAGES, shift, (1, 2))[:, :3, :3] for shift in shifts])
    patch_model = sj.PatchField(sj.PatchDictionary(jnp.asarray(patches, FLOAT)), process)
    field = sj.LocalField(jnp.asarray(IMAGES, FLOAT), 3, process, chunk=50)
    assert_close(denoise(field, t, X), denoise(patch_model, t, X), loosen=16)


def test_a_patch_as_large_as_the_image_sees_all_circular_shifts():
    images, x = IMAGES[:2, :5, :5].astype(FLOAT), X[:5, :5]
    shifts = itertools.product(range(5), range(5))
    empirical = sj.EmpiricalField(np.concatenate([np.roll(images, shift, (1, 2)) for shift in shifts]), sj.VP())
    assert_close(denoise(sj.LocalField(images, 5, sj.VP()), T, x), denoise(empirical, T, x), loosen=8)


@pytest.mark.parametrize("boundary", ["periodic", "zeros"])
def test_drawing_every_patch_changes_nothing(boundary, by_hand):
    field = local(boundary, num_patches=ALL, key=KEY, chunk=50)
    assert_close(denoise(field, T, X), by_hand[boundary], loosen=8)


@pytest.mark.parametrize("num_patches", [1, 5, 60])
def test_a_few_patches_are_enough_for_every_window_of_the_border(num_patches):
    result = denoise(local("zeros", num_patches=num_patches, key=KEY), T, X)
    assert np.all(np.isfinite(result))
    assert np.min(IMAGES) <= np.min(result) <= np.max(result) <= np.max(IMAGES)


def test_drawn_patches_are_distinct_and_depend_on_the_key():
    fields = [local(num_patches=40, key=key) for key in (KEY, KEY, jr.key(1))]
    drawn = [np.asarray(field.dictionary.parts[0]).reshape(40, 9) for field in fields]
    assert len(np.unique(drawn[0], axis=0)) == 40
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    every = np.concatenate([windows(image, "periodic")[0] for image in IMAGES]).astype(drawn[0].dtype)
    assert {tuple(patch) for patch in drawn[0]} <= {tuple(patch) for patch in every}


@pytest.mark.parametrize("boundary", ["periodic", "zeros"])
def test_small_noise_gives_the_image_back(boundary):
    assert_close(denoise(local(boundary), 1e-4, jnp.asarray(IMAGES[1], FLOAT)), IMAGES[1])


def test_periodic_scores_commute_with_shifts_and_zero_borders_do_not():
    for boundary, equivariant in [("periodic", True), ("zeros", False)]:
        field = local(boundary)
        moved = jnp.roll(denoise(field, T, jnp.roll(X, (1, 2), (0, 1))), (-1, -2), (0, 1))
        error = float(jnp.max(jnp.abs(moved - denoise(field, T, X))))
        assert error < 1e-5 if equivariant else error > 0.1


@needs_x64
@pytest.mark.parametrize(("boundary", "options"), [("periodic", {"num_patches": 40, "key": KEY}), ("zeros", {})])
def test_jacobian_is_that_of_central_differences(boundary, options):
    field, h = local(boundary, chunk=30, **options), 1e-5
    jacobian = eqx.filter_jit(lambda field, x: jax.jacfwd(lambda x: field.denoise(T, x))(x))(field, X)
    basis = jnp.eye(X.size).reshape(-1, *X.shape)
    both = eqx.filter_jit(jax.vmap(lambda v: field.denoise(T, X + v) - field.denoise(T, X - v)))(h * basis)
    difference = jnp.moveaxis(both.reshape(*X.shape, *X.shape), (0, 1), (2, 3)) / (2 * h)
    np.testing.assert_allclose(jacobian, difference, atol=1e-8 * np.max(np.abs(jacobian)))
    outside = np.abs(np.arange(6)[:, None] - np.arange(6)) > 1
    if boundary == "zeros":
        assert np.all(np.moveaxis(np.asarray(jacobian), 2, 1)[outside] == 0)  # no site sees beyond its window


def test_vmap_is_a_loop():
    field, xs = local("zeros", chunk=50), jnp.asarray(RNG.normal(size=(3, 6, 7)), FLOAT)
    ts = jnp.asarray([0.05, 0.7, 4.0], FLOAT)
    batched = eqx.filter_jit(lambda field, ts, xs: jax.vmap(field.denoise)(ts, xs))(field, ts, xs)
    for t, x, result in zip(ts, xs, batched, strict=True):
        assert_close(result, denoise(field, t, x), loosen=8)


@pytest.mark.parametrize("drawn", [False, True])
def test_memory_does_not_grow_with_the_images(drawn):
    def temporary_bytes(count):
        options = {"num_patches": 32 * count, "key": KEY} if drawn else {}
        field = sj.LocalField(np.zeros((count, 8, 8), np.float32), 3, sj.VP(), chunk=128, **options)
        compiled = jax.jit(lambda field, x: field.denoise(T, x)).lower(field, jnp.zeros((8, 8), jnp.float32)).compile()
        analysis: Any = compiled.memory_analysis()
        return analysis.temp_size_in_bytes

    few, many = temporary_bytes(8), temporary_bytes(400)
    assert few >= 64 * 128 * 4
    assert many < 1.1 * few


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("images", "patch_size", "options", "message"),
    [
        (IMAGES, 4, {}, "patch_size must be odd and at most the smallest side of the images, 6; got 4"),
        (IMAGES, 7, {}, "smallest side of the images, 6; got 7"),
        (IMAGES, -1, {}, "got -1"),
        (IMAGES, 3, {"boundary": "reflect"}, "boundary must be one of 'periodic', 'zeros'; got 'reflect'"),
        (IMAGES[:0], 3, {}, r"K >= 1, got \(0, 6, 7\)"),
        (IMAGES[0, 0], 3, {}, "each image must be a lattice"),
        (np.full((1, 3, 3), np.nan), 3, {}, "images must be finite"),
        (IMAGES, 3, {"chunk": 0}, "chunk must be at least 1, got 0"),
        (IMAGES, 3, {"num_patches": 10}, "give a key"),
        (IMAGES, 3, {"num_patches": 0, "key": KEY}, "num_patches must be from 1 to 126, got 0"),
        (IMAGES, 3, {"num_patches": 127, "key": KEY}, "num_patches must be from 1 to 126, got 127"),
    ],
)
def test_bad_arguments_are_refused(images, patch_size, options, message):
    with pytest.raises(ValueError, match=message):
        sj.LocalField(images, patch_size, sj.VP(), **options)


def test_states_must_have_the_images_shape():
    with pytest.raises(ValueError, match=r"one configuration of shape \(6, 7\), got \(2, 6, 7\).*use jax\.vmap"):
        local().score(T, jnp.zeros((2, 6, 7), FLOAT))
