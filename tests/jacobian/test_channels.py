import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

SHAPE = (6, 5)
MIXING = jnp.asarray([[1.0, 0.5, 0.0], [-0.5, 2.0, 0.25], [0.0, 1.0, -1.0]], FLOAT)
WEIGHTS = np.asarray([0.2126, 0.7152, 0.0722])


def smooth(x):
    return x + 0.5 * (jnp.roll(x, 1, 0) + jnp.roll(x, -1, 1))


def colours(x):
    """A convolution in space times a mixing of the channels, with a pointwise nonlinearity on top."""
    return smooth(x) @ MIXING.T + 0.1 * x**3


def symbol(shape):
    k = sj.spectral.wavevectors(shape)
    return 1 + 0.5 * (np.exp(-1j * k[..., 0]) + np.exp(1j * k[..., 1]))


@pytest.mark.float32
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_channel_has_its_own_dispersion(channel):
    g, y = sj.channel_drift(colours, jnp.zeros((*SHAPE, 3), FLOAT), channel)
    assert y.shape == SHAPE
    assert_close(sj.local_dispersion(g, y, 1), np.asarray(MIXING)[channel, channel] * symbol(SHAPE))
    lam, _ = sj.dispersion(g, y, key=jr.key(0), num_probes=2)
    assert_close(lam, np.asarray(MIXING)[channel, channel] * symbol(SHAPE))


@pytest.mark.float32
def test_luminance_is_moved_along_grey_and_read_as_luminance():
    g, y = sj.channel_drift(colours, jnp.zeros((*SHAPE, 3), FLOAT))
    rate = WEIGHTS @ np.asarray(MIXING, float) @ np.ones(3)
    assert_close(sj.local_dispersion(g, y, 1), rate * symbol(SHAPE))
    modes = sj.fourier_modes(SHAPE, max_shell=2)
    response = sj.mode_response(g, y, modes)
    assert_close(response.rayleigh[0], np.asarray(2 * rate), loosen=2)
    assert np.max(sj.mode_leakage(g, y, modes).leakage) < 1e-5


@pytest.mark.parametrize("channel", [0, 2, "luminance"])
def test_the_drift_at_the_state_itself_is_unchanged(channel):
    x = jr.normal(jr.key(0), (*SHAPE, 3))
    g, y = sj.channel_drift(colours, x, channel)
    f = colours(x)
    assert_close(y, sj.luminance(x) if channel == "luminance" else x[..., channel])
    assert_close(g(y), sj.luminance(f) if channel == "luminance" else f[..., channel])


@pytest.mark.float32
def test_leading_modes_take_the_channels_as_they_come():
    x = jr.normal(jr.key(0), (*SHAPE, 3))
    pairs = jax.jit(lambda x: sj.leading_modes(colours, x, num=3, key=jr.key(1), num_matvecs=90))(x)
    jacobian = np.asarray(jax.jacfwd(colours)(x), float).reshape(x.size, x.size)
    exact = np.linalg.eigvals(jacobian)
    assert pairs.vectors.shape == (3, *SHAPE, 3)
    assert_close(pairs.values.real, np.sort(exact.real)[::-1][:3], loosen=50)


@pytest.mark.parametrize(
    ("shape", "channel", "message"),
    [
        ((5,), 0, r"x must have shape \(\*lattice, channels\), got \(5,\)"),
        ((5, 3), 3, "channel must lie between 0 and 2, or be 'luminance'; got 3"),
        ((5, 3), "hue", "channel must be one of 'luminance'; got 'hue'"),
        ((5, 4), "luminance", "rgb must have three channels"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(shape, channel, message):
    with pytest.raises(ValueError, match=message):
        sj.channel_drift(lambda x: x, jnp.ones(shape, FLOAT), channel)
