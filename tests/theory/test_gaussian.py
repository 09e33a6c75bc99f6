"""Responses of the Gaussian null: against probes and dense Jacobians at any state, and on Fashion-MNIST."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fashion_sample import needs_debian
from helpers import needs_x64

import softjax as sj
from softjax.data import binarized, grey, load_fashion_mnist, padded

SHAPE, TS = (6, 7), jnp.asarray([4.0, 1.5, 0.3, 0.01])
RNG = np.random.default_rng(0)
MODES = sj.fourier_modes(SHAPE, 3)
PROCESSES = [sj.VP.linear(), sj.EDM(), sj.RectifiedFlow()]
COLOURS = RNG.normal(size=(30, *SHAPE, 3)) * np.asarray([1.0, 0.5, 2.0]) + RNG.normal(size=(30, *SHAPE, 1))


def fields(process) -> Iterator[tuple[Any, dict[str, Any]]]:
    plain = COLOURS[..., 0]
    yield sj.GaussianField(sj.spectral.free_field_spectrum(SHAPE, 0.2, 1.0), process, 0.3), {}
    yield sj.CovarianceField.from_samples(plain, process), {}
    yield sj.CovarianceField.from_samples(plain, process, rank=4), {}
    yield sj.CovarianceField.from_samples(plain, process, labels=np.arange(30) % 2).with_label(1), {}
    for channel in ("equal", 2):
        yield sj.CovarianceField.from_samples(COLOURS, process, channels=3), {"channel": channel}
        yield sj.CovarianceField.from_samples(COLOURS, process), {"channels": 3, "channel": channel}


@needs_x64
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_responses_are_those_of_a_probe_at_any_state(process):
    ts = TS / 5 if isinstance(process, sj.RectifiedFlow) else TS
    for field, among in fields(process):
        colours = (3,) if "channel" in among else ()
        x = jnp.asarray(3 * RNG.normal(size=(*SHAPE, *colours)))
        probed = jax.vmap(sj.ModeProbe(field, MODES, **among), (0, None))(ts, x)
        exact = sj.theory.gaussian_responses(field, ts, MODES, **among)
        for name in ("rayleigh", "magnitude", "direction_rayleigh", "direction_magnitude"):
            got, want = getattr(exact, name), getattr(probed, name)
            assert got.shape == want.shape
            scale = np.max(np.abs(want), axis=1, keepdims=True)
            np.testing.assert_allclose(got / scale, want / scale, atol=1e-10, err_msg=f"{name} of {field}")


@needs_x64
def test_responses_are_those_of_the_dense_jacobian():
    samples = COLOURS[..., 1]
    field = sj.CovarianceField.from_samples(samples, sj.VP(), shrinkage=0.2)
    covariance = np.cov(samples.reshape(30, -1).T)
    covariance = 0.8 * covariance + 0.2 * np.trace(covariance) / 42 * np.eye(42)
    directions = np.asarray(MODES.directions).reshape(-1, 42)
    got = sj.theory.gaussian_responses(field, TS, MODES)
    for row, t in enumerate(np.asarray(TS)):
        jacobian = 0.5 * np.eye(42) - np.linalg.inv(np.exp(-t) * covariance - np.expm1(-t) * np.eye(42))
        jv = np.matmul(directions, jacobian)
        np.testing.assert_allclose(got.direction_magnitude[row], np.linalg.norm(jv, axis=1), rtol=1e-10)
        np.testing.assert_allclose(got.direction_rayleigh[row], np.sum(jv * directions, axis=1), rtol=1e-10, atol=1e-12)


@pytest.mark.float32
def test_a_stationary_null_softens_to_nothing_where_its_largest_variance_is_noisy_by_one():
    """alpha^2 nu + sigma^2 = 2, that is t = ln(nu - 1): a softest point and a peak of xi_eq without any pattern."""
    spectrum = sj.spectral.free_field_spectrum((16, 16), 0.02, 1.0)
    ts = sj.log_grid(8.0, 0.5, 400)
    modes = sj.fourier_modes((16, 16), 3)
    magnitudes = sj.theory.gaussian_responses(sj.GaussianField(spectrum, sj.VP()), ts, modes).magnitude
    lengths = sj.equilibrium_correlation_length(modes.wavenumbers, magnitudes).length
    for found in (ts[np.argmin(magnitudes[:, 0])], ts[np.argmax(lengths)]):
        assert abs(np.log(float(found) / np.log(49))) < 0.005


@pytest.mark.float32
def test_single_precision_keeps_small_variances_apart():
    """A hundredth of the noise at t = 0.001, where what is left of 1 by rounding would outweigh a stiff direction."""
    field = sj.CovarianceField.from_samples(COLOURS[..., 0].astype(np.float32), sj.VP(), rank=25)
    ts = jnp.asarray([1.0, 1e-3], jnp.float32)
    got = sj.theory.gaussian_responses(field, ts, MODES).magnitude
    variances = np.append(np.asarray(field.variances, float), float(field.residual_variance))
    vectors = np.asarray(field.vectors, float).reshape(25, -1)
    directions = np.asarray(MODES.directions, float).reshape(-1, 42)
    shares = np.matmul(directions, vectors.T)
    rest = np.sum((directions - np.matmul(shares, vectors)) ** 2, axis=1, keepdims=True)
    for row, t in enumerate((1.0, 1e-3)):
        rates = 0.5 - 1 / (np.exp(-t) * variances - np.expm1(-t))
        wanted = np.sqrt(np.matmul(np.append(shares**2, rest, axis=1), rates**2))
        np.testing.assert_allclose(got[row], MODES.shell_mean(jnp.asarray(wanted)), rtol=1e-4)


def test_classes_are_a_batch_and_times_are_refused():
    field = sj.CovarianceField.from_samples(COLOURS[..., 0], sj.VP(), labels=np.arange(30) % 3)
    of_class = jax.vmap(lambda label: sj.theory.gaussian_responses(field.with_label(label), TS, MODES).magnitude)
    magnitudes = of_class(jnp.arange(3))
    assert magnitudes.shape == (3, 4, 4)
    alone = sj.theory.gaussian_responses(field.with_label(2), TS, MODES).magnitude
    np.testing.assert_allclose(magnitudes[2], alone, rtol=1e-5)
    with pytest.raises(ValueError, match="ts must be positive"):
        sj.theory.gaussian_responses(field.with_label(0), TS - 4, MODES)
    with pytest.raises(ValueError, match="has no short cut"):
        sj.theory.gaussian_responses(field.with_label(0), TS, MODES, channel="block")
    with pytest.raises(ValueError, match="3 classes"):
        sj.theory.gaussian_responses(field, TS, MODES)


def null_of(images, process, ts):
    """xi_eq and the uniform mode's response along the grid, as a function of time."""
    modes = sj.fourier_modes(images.shape[1:], 6)
    field = sj.CovarianceField.from_samples(images, process)
    magnitudes = sj.theory.gaussian_responses(field, ts, modes).magnitude
    return sj.equilibrium_correlation_length(modes.wavenumbers, magnitudes).length, magnitudes[:, 0]


@pytest.mark.slow
@pytest.mark.optimised
@needs_debian
@pytest.mark.parametrize(("kind", "peak", "height"), [("spins", 4.65, 1.35), ("grey", 4.25, None), ("edm", 3.85, None)])
def test_the_null_of_fashion_mnist(kind, peak, height):
    """On a grid of 200 times, whose steps are 4 to 5%: the numbers are grid points."""
    images = load_fashion_mnist("train", download=False).images
    images = binarized(images) if kind == "spins" else grey(images)
    first, last, process = (80.0, 0.002, sj.EDM()) if kind == "edm" else (8.0, 1e-3, sj.VP())
    ts = jnp.geomspace(first, last, 200)
    lengths, uniform = null_of(padded(images, 32) if kind == "edm" else images, process, ts)
    late = np.asarray(ts) > (0.1 if kind == "edm" else 1)
    top = int(np.argmax(np.where(late, lengths, -1)))
    assert abs(float(ts[top]) / peak - 1) < 0.01
    if height is not None:
        assert abs(float(lengths[top]) / height - 1) < 0.01
        soft = int(np.argmin(np.where(late, uniform, np.inf)))
        assert abs(float(ts[soft]) / 4.45 - 1) < 0.01
        assert abs(float(uniform[soft]) / 0.275 - 1) < 0.01
