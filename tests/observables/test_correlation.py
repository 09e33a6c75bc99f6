from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, within_standard_errors

import softjax as sj
from softjax.spectral import free_field_spectrum, gaussian_random_field

pytestmark = pytest.mark.float32

MASS, STIFFNESS = 0.05, 1.0
XI = np.sqrt(STIFFNESS / MASS)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("shape", [(9,), (6, 5), (4, 3, 5)])
def test_correlation_function_equals_the_direct_sum(shape, connected):
    x = 1 + jr.normal(jr.key(0), shape, FLOAT)
    centred = np.asarray(x, float) - connected * np.mean(np.asarray(x, float))
    axes = range(len(shape))
    direct = np.array([np.mean(centred * np.roll(centred, [-i for i in r], axes)) for r in product(*map(range, shape))])
    c = sj.correlation_function(x, connected=connected, channels=0)
    assert c.dtype == x.dtype
    assert_close(c, direct.reshape(shape))


def test_correlation_function_is_the_transform_of_the_structure_factor():
    x = jr.normal(jr.key(1), (7, 8), FLOAT)
    assert_close(sj.correlation_function(x), np.fft.ifftn(np.asarray(sj.structure_factor(x), float)).real)


def field_with_spectrum(spectrum, seed=0):
    """One configuration whose structure factor is exactly the given one, with random phases."""
    noise = np.fft.fftn(np.random.default_rng(seed).normal(size=np.shape(spectrum)))
    amplitude = np.sqrt(np.asarray(spectrum, float) * np.size(spectrum))
    return jnp.asarray(np.fft.ifftn(noise / np.abs(noise) * amplitude).real, FLOAT)


def radial_profile(c):
    length = c.shape[0]
    distance = np.minimum(np.arange(length), length - np.arange(length))
    rounded = np.round(np.hypot(distance[:, None], distance))
    return np.array([c[rounded == r].mean() for r in range(length // 2 + 1)])


# Of a free field these are not sqrt(stiffness / mass): the radial moments weigh a lattice-distorted profile up to half
# the side. `second_moment_length` is the estimator of that length.
@pytest.mark.parametrize("length", [16, 33])
@pytest.mark.parametrize(("estimator", "power", "connected"), [("first_moment", 1, False), ("second_moment", 2, True)])
def test_moments_of_a_free_field_are_those_of_its_exact_correlation(length, estimator, power, connected):
    spectrum = np.array(free_field_spectrum((length, length), MASS, STIFFNESS), float)
    x = field_with_spectrum(spectrum)
    if connected:
        spectrum[0, 0] = 0
    positive = np.maximum(radial_profile(np.fft.ifftn(spectrum).real), 0)
    r = np.arange(length // 2 + 1)
    expected = (np.sum(r**power * positive) / np.sum(positive)) ** (1 / power)
    assert_close(sj.correlation_length(x, estimator), expected)


@pytest.mark.parametrize("xi", [0.5, 3.0, 10.0])
def test_exponential_fit_of_an_exponential_correlation_is_exact(xi):
    distance = np.minimum(np.arange(128), 128 - np.arange(128))
    spectrum = np.maximum(np.fft.fft(np.exp(-distance / xi)).real, 0)  # of a convex profile: not negative
    x = field_with_spectrum(spectrum)
    # The transforms round relative to C(0), the logarithm magnifies that tenfold where the fit ends.
    assert_close(sj.correlation_length(x, "exponential_fit", connected=False), xi, loosen=10)


@pytest.mark.parametrize(("estimator", "expected"), [("first_moment", 2.0), ("second_moment", np.sqrt(20 / 3))])
def test_only_positive_correlations_count(estimator, expected):
    x = jnp.asarray((-1.0) ** np.arange(8), FLOAT)  # C = +1 at distances 0, 2, 4 and -1 at 1, 3
    assert_close(sj.correlation_length(x, estimator), expected)


def test_white_noise_has_a_first_moment_length_below_a_half():
    noise = jr.normal(jr.key(2), (32, 64, 64), FLOAT)
    for fields in (noise, jax.vmap(sj.binarize)(noise)):
        lengths = jax.jit(jax.vmap(sj.correlation_length))(fields)
        assert np.all(lengths > 0)
        assert np.mean(lengths) < 0.5


@pytest.mark.parametrize("estimator", ["first_moment", "second_moment", "exponential_fit"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_a_constant_field_has_connected_length_zero(estimator, value):
    x = jnp.full((12, 10), value, FLOAT)
    assert sj.correlation_length(x, estimator, connected=True) == 0


def test_full_first_moment_of_a_constant_field_is_that_of_a_flat_profile():
    assert_close(sj.correlation_length(jnp.ones((8, 8), FLOAT)), 2.0)


@pytest.mark.parametrize("estimator", ["first_moment", "second_moment", "exponential_fit"])
def test_length_of_a_batch_is_that_of_its_members(estimator):
    spectrum = free_field_spectrum((16, 16), MASS, STIFFNESS)
    xs = jnp.stack([gaussian_random_field(spectrum, key=jr.key(n)) for n in range(3)])
    batched = jax.jit(jax.vmap(lambda x: sj.correlation_length(x, estimator)))(xs)
    assert batched.dtype == xs.dtype
    # The fit's logarithm of C at a tenth of C(0) magnifies the rounding of C.
    assert_close(batched, np.array([sj.correlation_length(x, estimator) for x in xs]), loosen=10)


@pytest.mark.usefixtures("without_type_checks")
def test_unknown_estimator_is_refused_by_name():
    with pytest.raises(ValueError, match="estimator must be one of 'first_moment', .* got 'third_moment'"):
        sj.correlation_length(jnp.ones((4, 4)), "third_moment")  # pyright: ignore[reportArgumentType]


def test_a_number_has_no_correlation():
    with pytest.raises(ValueError, match="x must be a lattice"):
        sj.correlation_length(jnp.ones((), FLOAT))


def free_field_structure_factors(length, num, key):
    spectrum = free_field_spectrum((length, length), MASS, STIFFNESS)
    return jax.lax.map(
        lambda k: sj.structure_factor(gaussian_random_field(spectrum, key=k)), jr.split(key, num), batch_size=64
    )


@pytest.mark.parametrize("length", [8, 16, 32])
def test_second_moment_length_of_a_free_field_is_exact_at_every_size(length):
    factors = jax.jit(free_field_structure_factors, static_argnums=(0, 1))(length, 1024, jr.key(3))
    value, error = sj.second_moment_length(factors)
    assert within_standard_errors(value, XI, error, k=3)
    assert error < 0.1 * XI


def test_second_moment_length_of_the_exact_spectrum_is_exact_on_unequal_sides():
    spectrum = free_field_spectrum((12, 7), MASS, STIFFNESS)
    value, error = sj.second_moment_length(jnp.stack([spectrum, spectrum]))
    assert_close(value, XI)
    assert error < 1e-3 * XI


def test_jackknife_error_of_the_second_moment_length_is_calibrated():
    factors = jax.jit(free_field_structure_factors, static_argnums=(0, 1))(8, 200 * 128, jr.key(4))
    values, errors = jax.jit(jax.vmap(sj.second_moment_length))(factors.reshape(200, 128, 8, 8))
    spread = np.std(np.asarray(values))
    assert np.mean(np.asarray(errors)) == pytest.approx(spread, rel=0.15)  # 3 sigma of a spread over 200 values
    assert 0.9 < np.mean(np.abs(np.asarray(values) - XI) < 2 * np.asarray(errors)) < 0.99


def test_second_moment_length_needs_two_samples():
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        sj.second_moment_length(jnp.ones((1, 4, 4), FLOAT))


def test_second_moment_length_needs_a_lattice():
    with pytest.raises(ValueError, match=r"structure_factors must have shape \(samples"):
        sj.second_moment_length(jnp.ones((5,), FLOAT))


OBSERVABLES = {
    "correlation_length": sj.correlation_length,
    "correlation_function": sj.correlation_function,
    "structure_factor": sj.structure_factor,
    "radial_average": sj.radial_average,
    "spectral_content": sj.spectral_content,
    "second_moment_length": lambda x, **said: sj.second_moment_length(x[None].repeat(2, axis=0), **said),
}


@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 8, 8), (8, 8, 16), (32, 4)])
@pytest.mark.parametrize("name", OBSERVABLES)
def test_what_may_have_channels_is_refused(name, shape):
    with pytest.raises(ValueError, match=rf"may be a lattice .* say channels={shape[-1]}, or channels=0.*luminance"):
        OBSERVABLES[name](jnp.ones(shape, FLOAT))


@pytest.mark.parametrize("estimator", ["first_moment", "second_moment", "exponential_fit"])
@pytest.mark.parametrize("shape", [(16, 16), (32,), (6, 5, 8)])
def test_equal_channels_have_the_length_of_one(shape, estimator):
    x = gaussian_random_field(free_field_spectrum(shape, 0.1, 1.0).astype(FLOAT), key=jr.key(0))
    one = sj.correlation_length(x, estimator, channels=0)
    for channels in (1, 3, 8):
        stacked = jnp.repeat(x[..., None], channels, axis=-1)
        assert_close(sj.correlation_length(stacked, estimator, channels=channels), np.asarray(one), loosen=5)
    if len(shape) == 2:  # a last axis of one site changes nothing, said or not
        assert_close(sj.correlation_length(x[..., None], estimator), np.asarray(one), loosen=5)
        wrong = sj.correlation_length(jnp.repeat(x[..., None], 3, axis=-1), estimator, channels=0)
        assert not np.allclose(wrong, one, rtol=0.05)


def test_channels_are_averaged_in_quadratic_observables_and_summed_in_powers():
    x = jr.normal(jr.key(0), (6, 7, 3), FLOAT)
    each = [x[..., c] for c in range(3)]
    for function in (sj.correlation_function, sj.structure_factor):
        assert_close(function(x, channels=3), np.mean([np.asarray(function(y), float) for y in each], axis=0))
    assert_close(sj.spectral_content(x, channels=3), sum(np.asarray(sj.spectral_content(y), float) for y in each))
    assert_close(sj.radial_average(x, channels=3), np.stack([sj.radial_average(y) for y in each], axis=-1))
    assert abs(float(jnp.mean(sj.correlation_function(x, True, channels=3)))) < 1e-7
