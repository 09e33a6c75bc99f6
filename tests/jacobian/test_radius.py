import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, tolerance, within_standard_errors

import softjax as sj

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
effective_radius = jax.jit(
    sj.effective_radius, static_argnums=0, static_argnames=("num_probes", "boundary", "batch_size", "channels")
)


def distances(shape, boundary):
    """Squared distance of every two sites, (sites, sites); the chord of the ring on periodic axes."""
    positions = np.stack(np.indices(shape), -1).reshape(-1, len(shape))
    apart = np.abs(positions[:, None] - positions[None]).astype(float)
    if boundary == "periodic":
        apart = np.asarray(shape) / np.pi * np.sin(np.pi * apart / np.asarray(shape))
    return np.sum(apart**2, axis=-1)


def exact(matrix, shape, boundary):
    return np.sqrt(np.sum(matrix**2 * distances(shape, boundary)) / np.sum(matrix**2))


def times(matrix, shape):
    matrix = jnp.asarray(matrix, FLOAT)
    return lambda x: (matrix @ x.ravel()).reshape(shape)


def state(shape):
    return jnp.asarray(RNG.normal(size=shape), FLOAT)


@pytest.mark.parametrize(("shape", "boundary"), [((11,), "periodic"), ((5, 6), "open"), ((3, 4, 2), "periodic")])
def test_many_probes_give_the_dense_value(shape, boundary):
    sites = int(np.prod(shape))
    matrix = RNG.normal(size=(sites, sites)) * np.exp(-distances(shape, boundary))
    radius, error = effective_radius(
        times(matrix, shape),
        state(shape),
        key=jr.key(1),
        num_probes=4000,
        boundary=boundary,
        batch_size=500,
        channels=0,
    )
    wanted = exact(matrix, shape, boundary)
    assert within_standard_errors(radius, wanted, error)
    assert float(error) < 0.02 * wanted


def test_few_probes_lie_within_their_standard_error():
    shape, matrix = (6, 5), RNG.normal(size=(30, 30)) * np.exp(-distances((6, 5), "open") / 4)
    f, wanted = times(matrix, shape), exact(matrix, shape, "open")
    results = [effective_radius(f, state(shape), key=jr.key(seed), num_probes=64) for seed in range(40)]
    radii, errors = np.asarray(results, float).T
    assert all(within_standard_errors(radius, wanted, error) for radius, error in zip(radii, errors, strict=True))
    assert 0.7 < np.std(radii) / np.mean(errors) < 1.4  # the errors are as large as they say


def test_convolution_reaches_as_far_as_its_kernel():
    shape, kernel = (7, 8), np.zeros((7, 8))
    weights = {-2: 0.3, -1: 1.0, 0: 2.0, 1: -0.5, 3: 0.7}
    for step, weight in weights.items():
        kernel[step, 0] = weight

    def convolve(x):
        return jnp.fft.ifftn(jnp.fft.fftn(jnp.asarray(kernel, FLOAT)) * jnp.fft.fftn(x)).real

    length = shape[0]
    chords = {r: (length / np.pi * np.sin(np.pi * r / length)) ** 2 for r in weights}
    total = sum(w**2 for w in weights.values())
    wanted = np.sqrt(sum(w**2 * chords[r] for r, w in weights.items()) / total)
    radius, error = effective_radius(convolve, state(shape), key=jr.key(0), num_probes=2000, boundary="periodic")
    assert within_standard_errors(radius, wanted, error)
    assert float(error) < 0.02 * wanted


def test_a_single_step_is_exact():
    """One matrix element per row leaves nothing to chance."""
    x = state((8, 6))
    for f, boundary, wanted in [
        (lambda x: jnp.roll(x, (1, 1), (0, 1)), "periodic", np.hypot(8 / np.pi * np.sin(np.pi / 8), 3 / np.pi)),
        (lambda x: jnp.pad(x, ((0, 0), (3, 0)))[:, :-3], "open", 3.0),
    ]:
        radius, error = effective_radius(f, x, key=jr.key(0), boundary=boundary)
        assert_close(radius, np.asarray(wanted), loosen=4)
        assert float(error) < 8 * tolerance()


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_a_diagonal_jacobian_does_not_reach_at_all(boundary):
    radius, error = effective_radius(lambda x: x**3 + x, state((6, 5)), key=jr.key(0), boundary=boundary)
    assert 0 <= float(radius) < tolerance()
    assert np.isfinite(error)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_a_zero_jacobian_has_no_radius(boundary):
    def reach(scale):
        f = lambda x: scale * jnp.roll(x, 1, 0)  # noqa: E731
        return jnp.stack(effective_radius(f, state((6, 5)), key=jr.key(0), boundary=boundary))

    values, derivatives = jax.jvp(reach, (jnp.zeros((), FLOAT),), (jnp.ones((), FLOAT),))
    assert np.array_equal(values, [0, 0])
    assert np.array_equal(derivatives, [0, 0])
    assert np.array_equal(jax.jacrev(reach)(jnp.zeros((), FLOAT)), [0, 0])


def test_a_jacobian_that_is_not_a_number_is_not_zero():
    radius, error = effective_radius(lambda x: jnp.nan * x, state((6, 5)), key=jr.key(0))
    assert np.isnan(radius)
    assert np.isnan(error)


def test_batches_of_probes_and_compilation_change_nothing():
    def f(x):
        return jnp.tanh(x * jnp.roll(x, 1, 0))

    x, options = state((6, 6)), {"key": jr.key(0), "num_probes": 7}
    whole = sj.effective_radius(f, x, **options)
    assert float(whole.radius) > 0.1
    assert float(whole.standard_error) > 0
    for batch_size in (1, 3):
        assert_close(effective_radius(f, x, batch_size=batch_size, **options), whole, loosen=16)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("f", "shape", "options", "message"),
    [
        (lambda x: x, (4, 4), {"num_probes": 1}, "num_probes must be at least 2.*got 1"),
        (lambda x: x, (4, 4), {"boundary": "zeros"}, "boundary must be one of 'open', 'periodic'; got 'zeros'"),
        (lambda x: x, (), {}, r"x must be a lattice, got shape \(\)"),
        (jnp.sum, (4, 4), {}, "f must return the shape"),
    ],
)
def test_bad_requests_are_refused(f, shape, options, message):
    with pytest.raises(ValueError, match=message):
        sj.effective_radius(f, jnp.zeros(shape, FLOAT), key=jr.key(0), **options)
