import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad

import softjax as sj


def exact_agreement(t, squared_norm):
    """The one-dimensional integral, on the clock beta = 2 where the noisy clouds have unit variance."""
    shift = np.exp(-t) * np.sqrt(squared_norm)

    def integrand(q):
        p = 1 / (1 + np.exp(-2 * shift * q))
        return np.exp(-0.5 * (q - shift) ** 2) / np.sqrt(2 * np.pi) * (p**2 + (1 - p) ** 2)

    return quad(integrand, shift - 12, shift + 12)[0]


@pytest.mark.parametrize("t", [0.5, 2.0, 2.77, 5.0])
def test_agreement_of_two_clouds_is_the_integral(t):
    found = sj.theory.two_cloud_agreement(sj.VP(2.0), t, 256)
    assert float(found) == pytest.approx(exact_agreement(t, 256), rel=1e-5)


def test_speciation_time_on_its_own_clock():
    for size, expected in ((256, 2.7726), (1024, 3.4657)):
        time = sj.theory.speciation_time(sj.VP(2.0), size)
        assert float(time) == pytest.approx(expected, abs=1e-4)
        assert float(sj.theory.two_cloud_agreement(sj.VP(2.0), time, size)) == pytest.approx(0.775, abs=1e-3)
    with pytest.raises(ValueError, match="must exceed 1"):
        sj.theory.speciation_time(sj.VP(2.0), 0.5)


def test_drift_instability_of_the_clouds_precedes_speciation_by_half_log_two():
    """A dense Jacobian: the two clocks differ by design."""
    size = 64
    mean = jnp.ones(size)
    field = sj.MixtureField(jnp.stack([mean, -mean]), sj.VP(2.0))
    onset = 0.5 * np.log(2 * size)
    direction = mean / jnp.linalg.norm(mean)

    def rate(t):
        drift = sj.reverse_drift(field, t, 1e-4 * direction) - sj.reverse_drift(field, t, -1e-4 * direction)
        return float(direction @ drift) / 2e-4

    assert rate(onset + 0.02) < 0 < rate(onset - 0.02)
    assert onset - float(sj.theory.speciation_time(sj.VP(2.0), size)) == pytest.approx(0.3466, abs=1e-3)


@pytest.mark.optimised
@pytest.mark.slow
def test_cloning_meets_the_exact_agreement():
    size = 256
    mean = jnp.ones(size)
    field = sj.MixtureField(jnp.stack([mean, -mean]), sj.VP(2.0))
    ts = sj.log_grid(8.0, 0.05, 300)
    at = [int(np.argmin(np.abs(np.asarray(ts) - t))) for t in (3.8, 2.77, 1.8)]
    found = sj.cloning_agreement(
        field, ts, at, key=jr.key(0), num=600, shape=(size,), classify=lambda x: jnp.sum(x) > 0, solver="sea", chunk=300
    )
    for t, value, error in zip(found.ts, found.agreement, found.standard_error, strict=True):
        assert abs(float(value) - exact_agreement(float(t), size)) < 4 * float(error)


def test_bad_cloning_times_are_refused():
    field = sj.GaussianField(jnp.ones((8, 8)), sj.VP())
    ts = sj.log_grid(3.0, 0.1, 10)
    for at in ([], [0], [10]):
        with pytest.raises(ValueError, match="grid ind"):
            sj.cloning_agreement(field, ts, at, key=jr.key(0), num=4, shape=(8, 8), classify=jnp.sum)
    with pytest.raises(ValueError, match="two trajectories"):
        sj.cloning_agreement(field, ts, [5], key=jr.key(0), num=1, shape=(8, 8), classify=jnp.sum)
