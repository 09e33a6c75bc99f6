"""Plane-averaged correlations, against direct sums, closed forms and the Ising model in two dimensions."""

import ising
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32


def test_it_is_the_sum_of_the_correlation_over_the_other_axes():
    x = jnp.asarray(1 + np.random.default_rng(0).normal(size=(6, 5, 7)), FLOAT)
    for connected in (False, True):
        c = np.asarray(sj.correlation_function(x, connected, channels=0))
        for axis in range(3):
            others = tuple(set(range(3)) - {axis})
            assert_close(sj.plane_correlation(x, axis, connected, channels=0), c.sum(others), loosen=20)
    square = x[:5, :, 0]
    mean = 0.5 * (sj.plane_correlation(square, 0) + sj.plane_correlation(square, 1))
    assert_close(sj.plane_correlation(square), mean)
    each = jnp.stack([sj.plane_correlation(x[..., n], 1) for n in range(7)])
    assert_close(sj.plane_correlation(x, 1, channels=7), each.mean(0), loosen=4)


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("xi", [0.8, 3.0, 20.0])
def test_a_cosh_has_a_level_mass_and_its_length(side, xi):
    g = np.cosh((side / 2 - np.arange(side)) / xi)
    found = sj.plane_correlation_length(jnp.asarray([g, g, g], FLOAT), (1, 12))
    np.testing.assert_allclose(found.length, xi, rtol=2e-3)
    np.testing.assert_allclose(found.effective_mass[1:8], 1 / xi, rtol=2e-2)
    assert float(found.standard_error) < 1e-3 * xi


def test_its_error_is_the_scatter_of_ensembles():
    g = np.cosh((16 - np.arange(32)) / 3.0)
    noisy = g * (1 + 0.2 * np.random.default_rng(0).normal(size=(200, 60, 32)))
    found = jax.vmap(lambda rows: sj.plane_correlation_length(rows, (1, 6)))(jnp.asarray(noisy, FLOAT))
    spread = float(jnp.std(found.length))
    assert float(jnp.mean(found.standard_error)) == pytest.approx(spread, rel=0.2)  # 5% of 200 spreads, and weights
    assert abs(float(jnp.mean(found.length)) - 3) < 0.05


def test_configurations_of_the_referee_are_those_of_boltzmann():
    """All 2^16 states of 4 x 4 sites; 4000 samples within four standard errors."""
    states = ((np.arange(2**16)[:, None] >> np.arange(16)) & 1).reshape(-1, 4, 4) * 2.0 - 1.0

    def energy(s):
        return np.sum(s * (np.roll(s, 1, 1) + np.roll(s, 1, 2)), axis=(1, 2))

    weights = np.exp(0.3 * energy(states))
    samples = ising.ising_configurations(0.3, 4, 4000, seed=0, chains=400, burn=30, every=5)
    for observable in (energy, lambda s: s.mean((1, 2)) ** 2):
        values = observable(samples)
        exact = np.sum(weights * observable(states)) / np.sum(weights)
        assert abs(values.mean() - exact) < 4 * values.std() / 4000**0.5


@pytest.mark.slow
@pytest.mark.optimised
@pytest.mark.parametrize(
    ("k", "side", "num", "xi"), [(0.38, 32, 1600, 3.9346), (0.4, 48, 1280, 5.9624), (0.42, 72, 960, 11.9056)]
)
def test_length_of_the_ising_model_is_exact_to_5_percent_where_the_radial_fit_is_not(k, side, num, xi):
    assert ising.correlation_length(k) == pytest.approx(xi, rel=1e-4)
    spins = jnp.asarray(ising.ising_configurations(k, side, num, seed=0, chains=32, every=4), FLOAT)
    window = (2, int(2 * xi))
    found = sj.plane_correlation_length(jax.vmap(lambda x: sj.plane_correlation(x, channels=0))(spins), window)
    assert float(found.length) == pytest.approx(xi, rel=0.05)
    assert float(found.standard_error) < 0.03 * xi
    radial = jax.lax.map(lambda x: sj.correlation_length(x, "exponential_fit", channels=0), spins[:200])
    assert float(jnp.median(radial)) < 0.5 * xi


def test_nonsense_is_refused(without_type_checks):
    x = jnp.ones((6, 5), FLOAT)
    with pytest.raises(ValueError, match="equal sides"):
        sj.plane_correlation(x)
    with pytest.raises(ValueError, match="axis must be one of the lattice's 2"):
        sj.plane_correlation(x, 2)
    with pytest.raises(ValueError, match="at least two samples"):
        sj.plane_correlation_length(x[:1], (0, 2))
    for window in ((2, 2), (0, 3), (-1, 2)):
        with pytest.raises(ValueError, match="window must hold two distances from 0 to half the side, 2"):
            sj.plane_correlation_length(x, window)


def test_the_floor_of_white_noise_is_that_of_shuffles():
    """On 28 x 28 sites, of spins that add up to 0; another magnetisation has another floor."""
    spins = jnp.where(jnp.arange(784).reshape(28, 28) % 2 == 0, 1, -1).astype(FLOAT)
    mean, error = sj.noise_floor(spins, key=jax.random.key(1), num=200)
    assert abs(float(mean) - 0.2196) < 3 * float(error) + 0.011  # 0.2196(38), measured with another key
    assert float(error) < 0.01
    polarised, _ = sj.noise_floor(spins.at[:8].set(1), key=jax.random.key(1), num=8)
    assert float(polarised) > 2 * float(mean)
    with pytest.raises(ValueError, match="at least two shuffles"):
        sj.noise_floor(spins, key=jax.random.key(1), num=1)
