"""Channels are said, not guessed: probes of colour configurations against dense Jacobians, and refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.spectral import in_channels

SHAPE, CHANNELS = (5, 6), 3
MIXING = jnp.asarray([[1.0, 0.5, 0.0], [-0.5, 2.0, 0.25], [0.0, 1.0, -1.0]], FLOAT)
CHOICES = ["equal", 0, 2, "block"]


def mixing(x):
    """A convolution of space and channels."""
    near = x + 0.5 * (jnp.roll(x, 1, 0) + jnp.roll(x, -1, 1))
    return near @ MIXING.T + 0.3 * jnp.roll(x, 2, 0) @ MIXING


def uneven(x):
    """The same with a pointwise nonlinearity, whose Jacobian is no convolution."""
    return mixing(x) + 0.1 * x**3


def state(shape=(*SHAPE, CHANNELS)):
    return jr.normal(jr.key(0), shape, FLOAT)


def dense(f, x):
    """The Jacobian as (sites, channels, sites, channels)."""
    sites = x.size // x.shape[-1]
    return np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(sites, x.shape[-1], sites, x.shape[-1])


def reduced(jacobian, channel):
    """The part of a dense Jacobian that `channel` names, as (sites, sites) or (sites, sites, channels, channels)."""
    if channel == "block":
        return jacobian.transpose(0, 2, 1, 3)
    if channel == "equal":
        return jacobian.sum((1, 3)) / jacobian.shape[1]
    return jacobian[:, channel, :, channel]


def symbol(matrix, shape):
    """Phase-averaged Rayleigh quotients of all plane waves, in FFT order."""
    k = sj.spectral.wavevectors(shape).reshape(-1, len(shape))
    waves = np.exp(1j * k @ np.indices(shape).reshape(len(shape), -1)) / np.sqrt(len(k))
    return np.einsum("ki,ij...,kj->k...", waves.conj(), matrix, waves).reshape(*shape, *matrix.shape[2:])


@pytest.mark.float32
@pytest.mark.parametrize("channel", CHOICES)
def test_local_dispersion_is_the_symbol_of_the_dense_jacobian(channel):
    x = state()
    got = jax.jit(lambda x: sj.local_dispersion(uneven, x, 2, channels=3, channel=channel))(x)
    assert_close(got, symbol(reduced(dense(uneven, x), channel), SHAPE), loosen=10)


@pytest.mark.float32
@pytest.mark.parametrize("channel", CHOICES)
def test_dispersion_of_a_convolution_is_exact(channel):
    x = state()
    got = sj.dispersion(mixing, x, key=jr.key(1), num_probes=2, channels=3, channel=channel)
    assert_close(got.rates, symbol(reduced(dense(mixing, x), channel), SHAPE), loosen=10)
    assert np.max(np.abs(got.standard_error)) < 1e-5


@pytest.mark.float32
def test_eigenvalues_of_the_block_are_those_of_the_jacobian():
    x = state()
    block = sj.local_dispersion(mixing, x, 2, channels=3, channel="block")
    wanted = np.linalg.eigvals(dense(mixing, x).reshape(x.size, x.size))
    got = np.linalg.eigvals(np.asarray(block)).ravel()
    gaps = np.abs(got[:, None] - wanted[None])
    assert max(gaps.min(0).max(), gaps.min(1).max()) < (1e-9 if jnp.float64 == FLOAT else 1e-3)


def test_block_kernel_is_the_dense_jacobian():
    x = state()
    kernel = np.asarray(sj.local_kernel(uneven, x, (2, 3), channels=3, channel="block"))
    assert kernel.shape == (5, 6, *SHAPE, 3, 3)
    jacobian, sites = dense(uneven, x), np.arange(30).reshape(SHAPE)
    for a, b in np.ndindex(5, 6):
        to = np.roll(sites, (-(a - 2), -(b - 3)), (0, 1)).ravel()
        wanted = jacobian[np.arange(30), :, to, :].reshape(*SHAPE, 3, 3)
        assert_close(jnp.asarray(kernel[a, b]), wanted, loosen=5)


@pytest.mark.float32
@pytest.mark.parametrize("channel", CHOICES)
def test_mode_response_is_that_of_the_dense_jacobian(channel):
    x, modes = state(), sj.fourier_modes(x_shape := (*SHAPE, 3), 2, channels=x_shape[-1])
    got = jax.jit(lambda x: sj.mode_response(uneven, x, modes, channels=3, channel=channel))(x)
    jacobian, v = dense(uneven, x), np.asarray(modes.directions, float).reshape(len(modes.shells), -1)
    if channel == "block":
        response = np.einsum("iajb,mj->miab", jacobian, v)
        rayleigh = np.einsum("mi,miab->mab", v, response)
        magnitude = np.sqrt(np.sum(response**2, axis=1))
    else:
        unit = np.ones(3) / np.sqrt(3) if channel == "equal" else np.eye(3)[channel]
        response = np.einsum("iajb,mj,b->mia", jacobian, v, unit)
        rayleigh = np.einsum("mi,a,mia->m", v, unit, response)
        magnitude = np.sqrt(np.sum(response**2, axis=(1, 2)))
    assert_close(got.direction_rayleigh, rayleigh, loosen=5)
    assert_close(got.direction_magnitude, magnitude, loosen=5)
    assert_close(got.rayleigh[1], rayleigh[np.asarray(modes.shells) == 1].mean(0), loosen=5)


@pytest.mark.parametrize("channel", CHOICES)
def test_a_convolution_of_space_does_not_leak_whatever_it_does_to_channels(channel):
    x, modes = state(), sj.fourier_modes(SHAPE, 2)
    got = sj.mode_leakage(mixing, x, modes, channels=3, channel=channel)
    assert np.max(got.leakage) < 1e-5
    assert got.leakage.shape == ((3, 3) if channel == "block" else (3,))
    assert np.min(sj.mode_leakage(lambda x: x**3, x, modes, 3, channel).leakage) > 0.1


@pytest.mark.float32
@pytest.mark.parametrize("channel", ["equal", 1, "block"])
def test_effective_radius_is_that_of_the_dense_jacobian(channel):
    x = state()
    got = sj.effective_radius(uneven, x, key=jr.key(2), num_probes=2000, batch_size=200, channels=3, channel=channel)
    squares = reduced(dense(uneven, x), channel) ** 2
    squares = squares.sum((2, 3)) if channel == "block" else squares
    places = np.indices(SHAPE).reshape(2, -1)
    distance = np.sum((places[:, :, None] - places[:, None]) ** 2, axis=0)
    wanted = np.sqrt(np.sum(squares * distance) / np.sum(squares))
    assert abs(float(got.radius) - wanted) < 4 * float(got.standard_error)


FIELDS = {
    "network": sj.NetworkField(jax.tree_util.Partial(lambda t, x: uneven(x) / (1 + t)), sj.VP(), channels=3),
    "empirical": sj.EmpiricalField(np.random.default_rng(0).normal(size=(4, *SHAPE, 3)), sj.VP(), channels=3),
    "mixture": sj.MixtureField(np.random.default_rng(0).normal(size=(4, *SHAPE, 3)), sj.VP(), channels=3),
}


@pytest.mark.parametrize("channel", CHOICES)
@pytest.mark.parametrize("name", FIELDS)
def test_probes_know_the_channels_of_their_field(name, channel):
    field, modes = FIELDS[name], sj.fourier_modes(SHAPE, 2)
    probe, x = sj.ModeProbe(field, modes, channel=channel), state()
    assert probe.channels == 3
    wanted = sj.mode_response(lambda x: sj.reverse_drift(field, 1.0, x), x, modes, channels=3, channel=channel)
    for got, want in zip(jax.tree.leaves(eqx.filter_jit(probe)(1.0, x)), jax.tree.leaves(wanted), strict=True):
        assert_close(got, np.asarray(want, float), loosen=20)


def test_fields_around_fields_have_their_channels():
    field = FIELDS["empirical"]
    assert sj.RescaledField(field, sj.EDM()).channels == 3
    assert sj.GuidedField(field, FIELDS["network"], 2.0).channels == 3
    assert FIELDS["network"].with_label(None).channels == 3
    assert sj.GaussianField(jnp.ones((4, 4, 4)), sj.VP()).channels == 0
    with pytest.raises(ValueError, match="channels=3 does not fit NetworkField, which has channels=4"):
        sj.GuidedField(sj.NetworkField(lambda t, x: x, sj.VP(), channels=4), field, 2.0)
    with pytest.raises(ValueError, match="channels=1 does not fit EmpiricalField"):
        sj.ModeProbe(field, sj.fourier_modes(SHAPE, 1), 1)
    with pytest.raises(ValueError, match=r"x must have shape \(\*lattice, 3\)"):
        FIELDS["network"].denoise(1.0, state(SHAPE))


def test_equal_directions_are_edm2s_bit_for_bit():
    x, modes = state(), sj.fourier_modes(SHAPE, 2)
    by_hand = jnp.repeat(modes.directions[..., None], 3, axis=-1) / float(np.sqrt(3))
    by_hand = eqx.tree_at(lambda m: m.directions, modes, by_hand)
    wanted = jax.jit(lambda x: sj.mode_response(uneven, x, by_hand))(x)
    got = jax.jit(lambda x: sj.mode_response(uneven, x, modes, channels=3))(x)
    assert all(map(np.array_equal, jax.tree.leaves(got), jax.tree.leaves(wanted)))


@pytest.mark.parametrize("shape", [(16, 7), (9, 1), (9, 3), (4, 5, 6)])
def test_signals_latents_and_lattices_work_when_said(shape):
    f, x = (lambda x: jnp.tanh(x + 0.2 * jnp.roll(x, 1, 0))), state(shape)
    lattice, channels = shape[:-1], shape[-1]
    rates = sj.local_dispersion(f, x, 1, channels=channels)
    modes = sj.fourier_modes(shape, 1, channels=channels)
    assert rates.shape == sj.dispersion(f, x, key=jr.key(0), channels=channels).rates.shape == lattice
    assert_close(rates, symbol(reduced(dense(f, x), "equal"), lattice), loosen=20)
    assert in_channels(modes, shape, channels, "block").directions.shape == (modes.shells.size * channels, *shape)
    assert sj.mode_response(f, x, modes, channels=channels).rayleigh.shape == (2,)
    whole = sj.local_dispersion(f, x, 1, channels=0)
    assert whole.shape == shape
    assert_close(whole, symbol(np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(x.size, x.size), shape), loosen=20)


@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 8, 4), (8, 8, 8), (8, 8, 16), (32, 3), (4, 6, 6, 2)])
@pytest.mark.parametrize(
    "estimate",
    [
        lambda x: sj.dispersion(jnp.tanh, x, key=jr.key(0)),
        lambda x: sj.local_dispersion(jnp.tanh, x, 1),
        lambda x: sj.local_kernel(jnp.tanh, x, 1),
        lambda x: sj.effective_radius(jnp.tanh, x, key=jr.key(0)),
        lambda x: sj.fourier_modes(x.shape, 1),
    ],
    ids=["dispersion", "local_dispersion", "local_kernel", "effective_radius", "fourier_modes"],
)
def test_what_may_have_channels_is_refused(estimate, shape):
    with pytest.raises(ValueError, match=rf"may be a lattice .* say channels={shape[-1]}, or channels=0.*luminance"):
        estimate(jnp.ones(shape, FLOAT))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, m: sj.mode_response(jnp.tanh, x, m), r"one axis more than the modes.*say channels=3"),
        (lambda x, m: sj.mode_leakage(jnp.tanh, x, m), r"one axis more than the modes.*channel_drift"),
        (
            lambda x, m: sj.mode_response(jnp.tanh, x, m, channels=2),
            r"x must be one configuration of shape \(5, 6, 2\)",
        ),
        (lambda x, m: sj.mode_response(jnp.tanh, x[..., 0], m, channel=1), "channel=1 needs channels="),
        (lambda x, m: sj.dispersion(jnp.tanh, x, key=jr.key(0), channels=3, channel=3), "channel must lie between 0"),
        (lambda x, m: sj.dispersion(jnp.tanh, x, key=jr.key(0), channels=4), r"x must have shape \(\*lattice, 4\)"),
        (lambda x, m: sj.dispersion(jnp.tanh, x, key=jr.key(0), channels=-1), "channels must not be negative"),
        (lambda x, m: sj.ModeProbe(sj.NetworkField(lambda t, x: x, sj.VP()), m)(1.0, x), "say channels=3"),
    ],
)
def test_channels_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(state(), sj.fourier_modes(SHAPE, 1))
