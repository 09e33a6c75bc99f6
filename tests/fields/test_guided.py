import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.fields import log_intervals
from softjax.networks import EDM2, EDM2Config

pytestmark = pytest.mark.float32

TS = sj.karras_grid(80.0, 0.002, 32)
KEY = jr.key(1)


def network_field(seed, label):
    config = EDM2Config(
        img_resolution=8, img_channels=1, label_dim=4, model_channels=8, channel_mult=(1,), num_blocks=1
    )
    network = EDM2(config, rngs=nnx.Rngs(seed))
    network = jax.tree.map(lambda leaf: leaf + 0.5 if leaf.ndim == 0 else leaf, network)
    return sj.NetworkField(network, sj.EDM(0.5), "denoiser", label)


FIELD, GUIDE = network_field(0, 2), network_field(1, 2)


def gaussian(mean, process=None):
    return sj.GaussianField(jnp.full((4, 4), 0.5, FLOAT), process or sj.EDM(), mean=mean)


def path(field, ts=TS, shape=(8, 8)):
    sample = jax.jit(lambda key: sj.heun(field, ts, key=key, shape=shape, observe=lambda t, x: x))(KEY)
    return np.append(sample.observed, sample.x[None], axis=0)


@pytest.mark.slow
def test_a_weight_of_one_is_no_guide_bit_for_bit():
    for weight in (1.0, sj.pulse(1.0, 0.5, 1.0)):
        np.testing.assert_array_equal(path(sj.GuidedField(FIELD, GUIDE, weight)), path(FIELD))
    assert np.max(np.abs(path(FIELD) - path(GUIDE))) > 0.1


def test_a_weight_of_zero_is_the_guide():
    assert_close(path(sj.GuidedField(FIELD, GUIDE, 0.0)), path(GUIDE), loosen=100)


@pytest.mark.slow
def test_a_pulse_that_is_wider_than_the_grid_is_constant_guidance():
    constant = path(sj.GuidedField(FIELD, GUIDE, 2.5))
    wide = sj.pulse(0.3, 60.0, 2.5)
    assert_close(path(sj.GuidedField(FIELD, GUIDE, wide)), constant, loosen=100)
    short = path(sj.GuidedField(FIELD, GUIDE, sj.pulse(0.3, 1.0, 2.5)))
    before = np.asarray(TS) > 0.3 * np.exp(0.5)
    np.testing.assert_array_equal(short[before], path(FIELD)[before])
    assert np.max(np.abs(short - constant)) > 1e-3


def test_the_denoiser_is_the_extrapolated_one():
    field, x = sj.GuidedField(gaussian(1.0), gaussian(-0.5), 3.0), jr.normal(KEY, (4, 4), FLOAT)
    ours, theirs = gaussian(1.0).denoise(0.7, x), gaussian(-0.5).denoise(0.7, x)
    assert_close(field.denoise(0.7, x), theirs + 3 * (ours - theirs))
    v = jr.normal(jr.key(2), (4, 4), FLOAT)
    jvps = [jax.jvp(lambda x, f=f: f.denoise(0.7, x), (x,), (v,))[1] for f in (field, gaussian(1.0), gaussian(-0.5))]
    assert_close(jvps[0], jvps[2] + 3 * (jvps[1] - jvps[2]))


def test_weights_are_functions_of_the_noise_in_units_of_the_data():
    """One pulse acts at the same noise-to-signal ratio under both processes."""
    weight, ratio = sj.pulse(0.8, 0.5, 4.0), 0.8
    vp, edm = sj.VP(), sj.EDM()
    t = vp.from_noise_to_signal(ratio)
    x = jr.normal(KEY, (4, 4), FLOAT)
    on_vp = sj.GuidedField(gaussian(1.0, vp), gaussian(-0.5, vp), weight).denoise(t, vp.alpha(t) * x)
    on_edm = sj.GuidedField(gaussian(1.0, edm), gaussian(-0.5, edm), weight).denoise(ratio, x)
    assert_close(on_vp, on_edm, loosen=10)
    assert float(jnp.max(jnp.abs(on_edm - gaussian(1.0).denoise(ratio, x)))) > 0.1


def test_without_weight_the_guide_is_not_evaluated():
    calls = []

    class Counting(sj.AbstractField):
        process: sj.AbstractProcess

        def denoise(self, t, x):
            jax.debug.callback(lambda: calls.append(1))
            return 0.5 * x

    field = sj.GuidedField(gaussian(1.0), Counting(sj.EDM()), sj.pulse(1.0, 1.0, 3.0))
    denoise = jax.jit(lambda t, x: field.denoise(t, x))
    for t, wanted in ((5.0, 0), (0.1, 0), (1.2, 1), (1.0, 2)):
        jax.block_until_ready(denoise(t, jnp.ones((4, 4), FLOAT)))
        jax.effects_barrier()
        assert len(calls) == wanted


@pytest.mark.parametrize("edges", ["sharp", "smooth"])
def test_pulses_have_their_height_width_and_dose(edges):
    weight = sj.pulse(0.5, 1.2, 3.0, edges)
    logs = jnp.linspace(-4, 3, 70_001, dtype=FLOAT)
    values = np.asarray(weight(jnp.exp(logs)))
    assert_close(weight(jnp.asarray(0.5, FLOAT)), 3.0)
    half = np.asarray(logs)[values > 2]
    assert half[-1] - half[0] == pytest.approx(1.2, abs=1e-3)
    assert 0.5 * (half[-1] + half[0]) == pytest.approx(np.log(0.5), abs=1e-3)
    assert np.sum(values - 1) * 1e-4 == pytest.approx(2.4, abs=1e-3)
    assert values[0] == values[-1] == 1
    assert values.max() <= 3 + 1e-5


@pytest.mark.parametrize("center", [80.0, 3.0, 0.01, 0.002])
def test_pulses_of_equal_dose_push_equally_much_on_a_grid(center):
    """Against fields that differ by a constant, Heun's steps move the end by the dose of the levels they visit."""
    weight = sj.pulse(center, 1.0, 4.0, "smooth").with_dose(1.5, TS)
    logs = np.log(np.asarray(TS)[:-1])
    values = np.asarray(weight(TS))[:-1] - 1
    assert_close(np.sum(values * np.asarray(log_intervals(TS))[:-1]), 1.5)
    assert_close(-np.sum(np.diff(logs) * 0.5 * (values[1:] + values[:-1])), 1.5)  # the trapezoidal rule
    assert float(log_intervals(TS)[-1]) == 0


def test_nonsense_is_refused(without_type_checks):
    with pytest.raises(ValueError, match="same process"):
        sj.GuidedField(gaussian(0.0), gaussian(0.0, sj.VP()), 2.0)
    with pytest.raises(ValueError, match="same process"):
        sj.GuidedField(gaussian(0.0, sj.VP(1.0)), gaussian(0.0, sj.VP(2.0)), 2.0)
    for center, width in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, -2.0)):
        with pytest.raises(ValueError, match="must be positive"):
            sj.pulse(center, width, 2.0)
    with pytest.raises(ValueError, match="edges must be one of"):
        sj.pulse(1.0, 1.0, 2.0, "round")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="contains no noise level"):
        sj.pulse(1000.0, 0.5, 2.0).with_dose(1.0, TS)


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_the_derivative_by_the_weight_is_the_difference_of_the_fields(weight):
    """At weight 1 too, where the guide is left out of everything else."""
    up, down = (sj.EmpiricalField(sign * jnp.ones((1, 2, 2)), sj.VP()) for sign in (1, -1))

    def denoised(weight):
        return sj.GuidedField(up, down, weight).denoise(1.0, jnp.zeros((2, 2)))[0, 0]

    def pulsed(strength):
        return denoised(sj.pulse(up.process.noise_to_signal(1.0), 1.0, strength))

    for function in (denoised, pulsed):
        slopes = [jax.grad(function)(weight), jax.jvp(function, (weight,), (1.0,))[1]]
        slopes += [jax.jit(jax.grad(function))(weight), jax.vmap(jax.grad(function))(jnp.full(2, weight))[0]]
        assert_close(jnp.asarray(slopes), jnp.full(4, 2.0))
