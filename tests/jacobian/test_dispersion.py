import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, convergence_order, needs_x64, within_standard_errors

import softjax as sj
from softjax.jacobian._dispersion import _colours

ACCURACY = 1e-10 if X64 else 1e-5


def patch_drift(patch, t=1.5, key=None):
    """Reverse drift of a patch field without any symmetry: J is neither symmetric nor a convolution."""
    patterns = jr.normal(jr.key(1) if key is None else key, (4, *patch))
    field = sj.PatchField(sj.PatchDictionary(patterns, jnp.log(jnp.asarray([0.1, 0.2, 0.3, 0.4]))), sj.VP())
    return lambda x: sj.reverse_drift(field, t, x)


def nonlinear(x):
    """A cheap local drift."""
    return jnp.sin(x) * jnp.roll(x, 1, axis=0) - 0.5 * jnp.roll(x, -1, axis=-1) ** 2


def dense(f, x):
    return np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(x.size, x.size)


def symbol(jacobian, shape):
    """Phase-averaged Rayleigh quotient of every plane wave, (*shape), straight from its definition."""
    sites = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, len(shape))
    waves = np.exp(1j * sites @ sj.spectral.wavevectors(shape).reshape(-1, len(shape)).T)
    return (np.einsum("ik,ij,jk->k", np.conj(waves), jacobian, waves, optimize=True) / len(sites)).reshape(shape)


@pytest.mark.float32
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((12,), (3,)),  # a multiple of the window
        ((11,), (5,)),  # prime, two blocks of unequal size
        ((13,), (7,)),  # one block: a colour per site
        ((15, 10), (5, 5)),
        ((16, 13), (5, 3)),  # no multiple, prime, not square
        ((7, 11), (3, 5)),
        ((3, 12), (3, 3)),  # the window is the side
        ((5, 6, 4), (3, 3, 3)),
    ],
)
def test_local_dispersion_is_the_symbol_of_the_dense_jacobian(shape, patch):
    f, x = patch_drift(patch), jr.normal(jr.key(0), shape)
    exact = symbol(dense(f, x), shape)
    got = jax.jit(lambda x: sj.local_dispersion(f, x, [w // 2 for w in patch], channels=0))(x)
    assert got.shape == shape
    assert np.max(np.abs(np.imag(exact))) > 1e-3
    np.testing.assert_allclose(got, exact, rtol=0, atol=ACCURACY * np.max(np.abs(exact)))


@pytest.mark.float32
@pytest.mark.parametrize(("shape", "radius"), [((2,), 1), ((4, 9), 3), ((5, 4), 10), ((3, 7), (0, 2))])
def test_lattices_smaller_than_the_window_have_a_colour_per_site(shape, radius):
    radii = (radius,) * len(shape) if isinstance(radius, int) else radius
    distance = np.abs(sj.spectral.displacements(shape))
    near = np.all(distance <= np.asarray(radii), axis=-1)
    index = np.arange(near.size).reshape(shape)
    mask = np.stack([np.roll(near, np.unravel_index(i, shape), range(len(shape))).ravel() for i in index.ravel()])
    weights = jnp.asarray(mask, FLOAT) * jr.normal(jr.key(0), mask.shape)
    f = lambda x: (weights @ x.ravel()).reshape(shape)  # noqa: E731
    got = sj.local_dispersion(f, jnp.zeros(shape, FLOAT), radius, channels=0)
    assert_close(got, symbol(np.asarray(weights, float), shape), loosen=10)


@pytest.mark.float32
def test_local_kernel_is_the_dense_jacobian():
    shape, f, x = (11, 7), patch_drift((5, 3)), jr.normal(jr.key(0), (11, 7))
    jacobian = dense(f, x).reshape(*shape, *shape)
    kernel = jax.jit(lambda x: sj.local_kernel(f, x, (2, 1)))(x)
    expected = np.zeros((5, 3, *shape))
    for i, j in np.ndindex(*shape):
        for a, b in np.ndindex(5, 3):
            expected[a, b, i, j] = jacobian[i, j, (i + a - 2) % 11, (j + b - 1) % 7]
    assert_close(kernel, expected, loosen=10)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 9, 11, 12, 64, 67])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_colours_keep_sites_apart_and_are_the_fewest(length, side):
    side = min(side, length)
    colours = _colours(length, side)
    assert colours.shape == (length,)
    for colour in range(colours.max() + 1):
        sites = np.flatnonzero(colours == colour)
        assert np.all(np.diff([*sites, sites[0] + length]) >= side)
    assert colours.max() + 1 == -(-length // (length // side))  # no colour fits on more than length // side sites


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(10, 10), (9, 12)])
def test_both_are_the_dictionary_s_spectrum_at_the_symmetric_point(shape):
    d = sj.PatchDictionary(jr.rademacher(jr.key(0), (6, 5, 3), FLOAT), jax.nn.log_softmax(jr.normal(jr.key(1), (6,))))
    field, t = sj.PatchField(d, sj.VP()), 2.5
    exact = np.asarray(sj.theory.dictionary_spectrum(d, sj.VP(), t, shape))
    assert np.max(np.abs(np.imag(exact))) > 1e-3

    @jax.jit
    def both(x):
        def f(x):
            return sj.reverse_drift(field, t, x)

        return sj.local_dispersion(f, x, (2, 1)), *sj.dispersion(f, x, key=jr.key(2), num_probes=2)

    local, probed, sem = both(jnp.zeros(shape, FLOAT))
    bound = ACCURACY * np.max(np.abs(exact))
    np.testing.assert_allclose(local, exact, rtol=0, atol=bound)
    np.testing.assert_allclose(probed, exact, rtol=0, atol=bound)  # a convolution: every probe is exact
    np.testing.assert_allclose(sem, 0, atol=bound)


@pytest.mark.float32
def test_dispersion_is_within_its_error_at_every_wavevector():
    f, x = patch_drift((5, 5), t=2.0), jr.normal(jr.key(0), (64, 64))
    lam, sem = jax.jit(lambda x: sj.dispersion(f, x, key=jr.key(1), num_probes=256))(x)
    exact = jax.jit(lambda x: sj.local_dispersion(f, x, 2))(x)
    assert within_standard_errors(lam.real, exact.real, sem.real)
    complex_modes = np.ones(x.shape, bool)
    complex_modes[::32, ::32] = False  # the mean and the Nyquist modes: real eigenvalues
    assert within_standard_errors(abs(lam - exact), 0, abs(sem))
    assert np.max(np.abs(lam.imag[~complex_modes])) < ACCURACY
    z = np.asarray((lam - exact).real / sem.real)
    assert 0.9 < np.std(z) < 1.1  # the errors are neither too small nor too large


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(8, 6), (7, 9), (12,)])
def test_scatter_of_the_probes_is_the_off_diagonal_row(shape):
    weights = jr.normal(jr.key(0), (int(np.prod(shape)),) * 2)
    count = 4000
    f = jax.jit(lambda x: (weights @ x.ravel()).reshape(shape))
    lam, sem = sj.dispersion(f, jnp.ones(shape, FLOAT), key=jr.key(1), num_probes=count)
    jacobian = np.asarray(weights, float).reshape(*shape, *shape)
    half = np.fft.fftn(jacobian, axes=range(len(shape)), norm="ortho")
    hat = np.fft.ifftn(half, axes=range(len(shape), 2 * len(shape)), norm="ortho").reshape(lam.size, lam.size)
    row = np.sum(np.abs(hat) ** 2, axis=1) - np.abs(np.diag(hat)) ** 2
    assert within_standard_errors(lam.real, np.diag(hat).real.reshape(shape), sem.real)
    assert_close(
        np.abs(sem) ** 2 * count / row.reshape(shape), np.ones(shape), loosen=0.15 / (64 * np.finfo(FLOAT).eps)
    )


@pytest.mark.slow
def test_error_falls_as_one_over_the_root_of_the_probes():
    f, x = nonlinear, jr.normal(jr.key(0), (24, 20))
    exact = sj.local_dispersion(f, x, 1)
    counts = (4, 16, 64, 256, 1024)
    errors, quoted = [], []
    for count in counts:
        lam, sem = sj.dispersion(f, x, key=jr.key(2), num_probes=count)
        errors.append(float(jnp.sqrt(jnp.mean(jnp.abs(lam - exact) ** 2))))
        quoted.append(float(jnp.sqrt(jnp.mean(jnp.abs(sem) ** 2))))
    assert convergence_order(counts, errors) == pytest.approx(-0.5, abs=0.05)
    np.testing.assert_allclose(quoted, errors, rtol=0.15)


@pytest.mark.slow
def test_probes_depend_on_the_key_and_their_number_only():
    f, x = nonlinear, jr.normal(jr.key(0), (8, 6))
    eight, _ = sj.dispersion(f, x, key=jr.key(1), num_probes=8, batch_size=3)
    assert_close(eight, sj.dispersion(f, x, key=jr.key(1), num_probes=8).rates, loosen=10)
    four, _ = sj.dispersion(f, x, key=jr.key(1), num_probes=4)
    rest = 2 * np.asarray(eight) - np.asarray(four)
    assert np.max(np.abs(rest - np.asarray(four))) > 1e-3
    assert np.max(np.abs(eight - sj.dispersion(f, x, key=jr.key(2), num_probes=8).rates)) > 1e-3


def test_both_can_be_compiled_and_batched():
    xs = jr.normal(jr.key(0), (2, 7, 6))

    def both(x):
        local = sj.local_dispersion(nonlinear, x, 1, batch_size=2)
        return local, *sj.dispersion(nonlinear, x, key=jr.key(1), num_probes=3)

    batched = jax.jit(jax.vmap(both))(xs)
    assert_close(batched, jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(both, xs)), loosen=10)


@needs_x64
def test_a_gradient_goes_through():
    x = jr.normal(jr.key(0), (6, 7))

    @jax.jit
    def fastest(x):
        return jnp.max(sj.local_dispersion(nonlinear, x, 1).real)

    v, h = jr.normal(jr.key(3), x.shape), 1e-5
    slope = jnp.vdot(jax.grad(fastest)(x), v)
    np.testing.assert_allclose(slope, (fastest(x + h * v) - fastest(x - h * v)) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: sj.dispersion(f, x, key=jr.key(0), num_probes=1), "num_probes must be at least 2.*got 1"),
        (lambda f, x: sj.dispersion(f, x, key=jr.key(0), batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda f, x: sj.dispersion(f, x / 0, key=jr.key(0)), "x must be finite, got 30 NaN or infinite"),
        (lambda f, x: sj.dispersion(jnp.sum, x, key=jr.key(0)), r"f must return the shape.*\(5, 6\); got \(\)"),
        (lambda f, x: sj.dispersion(f, x[0, 0], key=jr.key(0)), r"x must be a lattice, got shape \(\)"),
        (
            lambda f, x: sj.local_dispersion(f, x, -1),
            "radius must be a number of sites.* 2 axes of the lattice; got -1",
        ),
        (lambda f, x: sj.local_dispersion(f, x, (1, 1, 1)), r"radius must be .*got \(1, 1, 1\)"),
        (lambda f, x: sj.local_dispersion(f, x, 1, batch_size=-2), "batch_size must be at least 1, got -2"),
        (lambda f, x: sj.local_dispersion(f, x * jnp.nan, 1), "x must be finite, got 30 NaN"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda x: x, jnp.ones((5, 6), FLOAT))
