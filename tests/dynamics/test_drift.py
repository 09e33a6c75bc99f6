import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

PATTERNS = jnp.asarray([[1.0, -0.5, 2.0], [-1.0, 0.3, 0.7], [0.2, 0.1, -1.4]])
LOG_PRIOR = jnp.log(jnp.asarray([0.5, 0.2, 0.3]))


def log_density(process, t, x):
    """Of a mixture of Gaussians, up to a constant."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return jax.nn.logsumexp(LOG_PRIOR - 0.5 * jnp.sum((x - alpha * PATTERNS) ** 2, axis=1) / sigma**2)


def field(process):
    return sj.EmpiricalField(PATTERNS, process, LOG_PRIOR)


@pytest.mark.parametrize("process", [sj.VP(1.5), sj.VP.linear(0.2, 2.0, 4.0), sj.VP.cosine()])
@pytest.mark.parametrize("t", [0.2, 0.9])
def test_vp_drifts_are_made_of_the_density_gradient(process, t):
    x = jr.normal(jr.key(0), (3,))
    score = jax.grad(lambda x: log_density(process, t, x))(x)
    assert_close(sj.reverse_drift(field(process), t, x), process.beta(t) * (x / 2 + score), loosen=10)
    assert_close(sj.flow_drift(field(process), t, x), process.beta(t) * (x + score) / 2, loosen=10)


@pytest.mark.parametrize("process", [sj.VP(2.0), sj.EDM()])
def test_the_drift_at_any_stochasticity_has_the_flow_and_the_sde_as_cases(process):
    t, x = jnp.asarray(0.7, FLOAT), jnp.asarray([0.3, -0.8, 1.1], FLOAT)
    known = field(process)
    assert_close(sj.stochastic_drift(known, t, x, 0), sj.flow_drift(known, t, x), loosen=10)
    step = process.beta(t) * known.score(t, x) / 2
    assert_close(sj.stochastic_drift(known, t, x, 5.0), sj.flow_drift(known, t, x) + 5 * step, loosen=10)
    with pytest.raises(ValueError, match="stochasticity must not be negative"):
        sj.stochastic_drift(known, t, x, -1.0)


@pytest.mark.parametrize("drift", [sj.reverse_drift, sj.flow_drift])
@pytest.mark.parametrize("sigma", [0.3, 5.0])
def test_edm_drifts_move_along_the_density_gradient_by_sigma(drift, sigma):
    x = jr.normal(jr.key(0), (3,))
    score = jax.grad(lambda x: log_density(sj.EDM(), sigma, x))(x)
    assert_close(drift(field(sj.EDM()), sigma, x), sigma * score, loosen=10)


def test_edm_drift_is_the_distance_to_the_denoised_state():
    x, f = jr.normal(jr.key(0), (3,)), field(sj.EDM())
    assert_close(sj.reverse_drift(f, 0.7, x), (f.denoise(0.7, x) - x) / 0.7, loosen=10)


@pytest.mark.parametrize("process", [sj.VP(1.5), sj.VP.linear(0.2, 2.0, 4.0)])
def test_vp_flow_is_the_edm_flow_of_the_rescaled_state(process):
    t, x = 0.8, jr.normal(jr.key(1), (3,))
    speed = jax.grad(process.noise_to_signal)(t)  # of EDM's noise level, per unit of t
    scaled = x / process.alpha(t)
    along_edm = speed * sj.flow_drift(field(sj.EDM()), process.noise_to_signal(t), scaled)
    rescaling = scaled * jax.grad(lambda t: jnp.log(process.alpha(t)))(t)
    assert_close(sj.flow_drift(field(process), t, x), process.alpha(t) * (along_edm - rescaling), loosen=10)
