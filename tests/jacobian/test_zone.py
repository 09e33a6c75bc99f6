import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, needs_x64

import softjax as sj

SHAPE = (6, 7)
RNG = np.random.default_rng(0)
PATCHES = RNG.normal(size=(4, 3, 5))
PRIOR = np.log(np.arange(1.0, 6) / 15)
UNEVEN = sj.PatchDictionary(np.concatenate([PATCHES, -PATCHES[:1]]), PRIOR)  # one pair of unequal priors, three alone
ISING = sj.PatchDictionary.ising(3, 2, 0.6, key=jr.key(1))
FIELDS = {
    "two patterns": lambda process: sj.PatchField(sj.PatchDictionary.two_pattern(3), process),
    "pairs": lambda process: sj.PatchField(ISING, process),
    "pairs and others": lambda process: sj.PatchField(UNEVEN, process),
    "matrix products": lambda process: sj.PatchField(UNEVEN, process, route="einsum"),
    "local": lambda process: sj.LocalField(RNG.normal(size=(2, *SHAPE)), 3, process, chunk=50),
}


@eqx.filter_jit
def respond(probe, t, x):
    return probe(t, x)


@eqx.filter_jit
def dense(field, t, x):
    return jax.jacfwd(lambda x: sj.reverse_drift(field, t, x))(x)


def plane_waves(jacobian, shape):
    """Rates, magnitudes and leakage of every plane wave from the dense Jacobian, in NumPy."""
    num = int(np.prod(shape))
    waves = np.fft.ifftn(np.eye(num).reshape(num, *shape), axes=(1, 2), norm="ortho").reshape(num, num)
    image = waves @ np.asarray(jacobian).reshape(num, num).T
    rates = np.sum(np.conj(waves) * image, axis=1)
    size = np.linalg.norm(image, axis=1)
    leakage = np.linalg.norm(image - rates[:, None] * waves, axis=1) / size
    return [a.reshape(shape) for a in (rates, size, leakage)]


@pytest.mark.float32
@pytest.mark.parametrize("name", FIELDS)
def test_every_wave_is_that_of_the_dense_jacobian(name):
    process = sj.VP.linear(0.2, 2.0, 4.0) if name in ("pairs", "matrix products") else sj.EDM()
    field, x = FIELDS[name](process), jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), FLOAT)
    probe = sj.ZoneProbe(field, SHAPE)
    for t in (0.6, 1.7):
        response = respond(probe, t, x)
        rates, size, leakage = plane_waves(dense(field, t, x), SHAPE)
        assert np.max(leakage) > 0.01
        assert_close(response.rates, rates.astype(response.rates.dtype), loosen=10)
        assert_close([response.rayleigh, response.magnitude], [rates.real.astype(FLOAT), size.astype(FLOAT)], loosen=10)
        np.testing.assert_allclose(response.leakage, leakage, atol=200 * float(jnp.finfo(FLOAT).eps))


@needs_x64
@pytest.mark.slow
def test_inside_the_transition_it_is_the_mode_probe_averaged_over_phases():
    shape, t = (24, 24), 1.3
    field = sj.PatchField(sj.PatchDictionary.ising(5, 4, 0.8, key=jr.key(0)), sj.VP())
    x = sj.simulate(field, sj.log_grid(6.0, t, 60), key=jr.key(1), shape=shape).x
    modes = sj.fourier_modes(shape, 6)
    by_modes, zone = respond(sj.ModeProbe(field, modes), t, x), respond(sj.ZoneProbe(field, shape), t, x)
    places = tuple(modes.wavevectors[1::2].T)  # after the mean, cosine and sine in turn
    pairs = by_modes.direction_rayleigh[1:].reshape(-1, 2), by_modes.direction_magnitude[1:].reshape(-1, 2)
    np.testing.assert_allclose(zone.rayleigh[places], jnp.mean(pairs[0], axis=1), atol=1e-12)
    np.testing.assert_allclose(zone.magnitude[places], jnp.sqrt(jnp.mean(pairs[1] ** 2, axis=1)), atol=1e-12)
    first = by_modes.direction_rayleigh[0], by_modes.direction_magnitude[0]
    np.testing.assert_allclose([zone.rayleigh[0, 0], zone.magnitude[0, 0]], first, atol=1e-12)


@pytest.mark.parametrize("shape", [(9,), (5, 6, 4)])
def test_at_zero_it_is_the_exact_spectrum_in_one_and_three_dimensions(shape):
    ndim = len(shape)
    dictionary = sj.PatchDictionary(np.concatenate([y := RNG.normal(size=(2, *(3,) * ndim)), -y]))
    field = sj.PatchField(dictionary, sj.VP())
    response = respond(sj.ZoneProbe(field, shape), 1.1, jnp.zeros(shape, FLOAT))
    assert_close(response.rates, sj.theory.dictionary_spectrum(dictionary, sj.VP(), 1.1, shape), loosen=10)
    assert_close(response.magnitude, jnp.abs(response.rates), loosen=10)
    np.testing.assert_allclose(response.leakage, 0, atol=1e-7)


def test_it_observes_a_trajectory_and_passes_through_vmap():
    field, ts = FIELDS["pairs"](sj.VP()), sj.log_grid(3.0, 0.5, 5)
    probe = sj.ZoneProbe(field, SHAPE)
    states, responses = sj.simulate(
        field, ts, shape=SHAPE, key=jr.key(0), observe=lambda t, x: (x, probe(t, x))
    ).observed
    assert responses.rates.shape == (len(ts), *SHAPE)
    assert_close(responses, eqx.filter_jit(lambda p, ts, xs: jax.vmap(p)(ts, xs))(probe, ts, states), loosen=10)
    assert_close(jax.tree.map(lambda a: a[2], responses), respond(probe, ts[2], states[2]), loosen=10)


def test_what_does_not_fit_is_refused():
    pairs = FIELDS["pairs"](sj.VP())
    with pytest.raises(ValueError, match="must be a PatchField or a LocalField, got EmpiricalField.*local_dispersion"):
        sj.ZoneProbe(sj.EmpiricalField(np.ones((1, *SHAPE)), sj.VP()), SHAPE)
    with pytest.raises(ValueError, match="With borders of zeros"):
        sj.ZoneProbe(sj.LocalField(np.ones((1, *SHAPE)), 3, sj.VP(), "zeros"), SHAPE)
    with pytest.raises(ValueError, match="must fit on the lattice"):
        sj.ZoneProbe(pairs, (2, 8))
    with pytest.raises(ValueError, match=r"one configuration of shape \(6, 7\), got \(3, 6, 7\).*jax.vmap"):
        sj.ZoneProbe(pairs, SHAPE)(1.0, jnp.ones((3, *SHAPE), FLOAT))


@pytest.mark.float32
@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.1])
def test_an_undecided_site_at_small_noise_keeps_its_digits(sigma):
    """Logits of millions: weights that rounding does not normalise were 21% off in single precision.

    Two patterns that differ in their central site, and the state halfway: 25 windows hold it, one of them undecided in
    its own site, whose denoiser has the slope 1 / sigma^2. Over 64 sites J v is that site's and noise elsewhere.
    """
    pattern = np.ones((5, 5))
    other = pattern.copy()
    other[2, 2] = -1
    field = sj.PatchField(sj.PatchDictionary(np.stack([pattern, other])), sj.EDM())
    x, t = jnp.ones((8, 8), FLOAT).at[4, 4].set(0), jnp.asarray(sigma, FLOAT)
    modes = sj.fourier_modes((8, 8), 1)
    exact = sj.mode_response(lambda y: sj.reverse_drift(field, t, y), x, modes).magnitude
    for found in (sj.ModeProbe(field, modes)(t, x).magnitude, sj.ZoneProbe(field, (8, 8))(t, x).magnitude):
        np.testing.assert_allclose(np.ravel(found)[0], exact[0], rtol=1e-5)
    if sigma < 0.01:
        np.testing.assert_allclose(exact[0], 1 / sigma**3 / 8, rtol=1e-3)


@needs_x64
def test_responses_have_derivatives_where_pairs_are_undecided():
    """At x = 0 a pattern and its mirror weigh the same, while a pattern without one keeps the mean from vanishing."""
    patterns = sj.PatchDictionary(np.concatenate([PATCHES[:2], -PATCHES[:1]]), np.log(np.full(3, 1 / 3)))
    field, modes = sj.PatchField(patterns, sj.VP()), sj.fourier_modes(SHAPE, 1)
    x, direction = jnp.zeros(SHAPE), jnp.asarray(RNG.normal(size=SHAPE))
    for probe in (sj.ModeProbe(field, modes), sj.ZoneProbe(field, SHAPE)):

        def rates(step, probe=probe):
            return jnp.ravel(probe(1.0, x + step * direction).rayleigh)

        slope = jax.jvp(jax.jit(rates), (0.0,), (1.0,))[1]
        difference = (rates(1e-5) - rates(-1e-5)) / 2e-5
        assert np.max(np.abs(difference)) > 0.01
        np.testing.assert_allclose(slope, difference, atol=1e-7)
