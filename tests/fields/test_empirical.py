import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

RNG = np.random.default_rng(0)
PATTERNS = RNG.normal(size=(11, 4, 3))
LOG_PRIOR = np.log(np.arange(1.0, 12) / 66)
T = 0.7


def log_density(process, t, x):
    """Of the Gaussian mixture that the data become at time t, up to a constant."""
    distances = jnp.sum((x - process.alpha(t) * jnp.asarray(PATTERNS, FLOAT)) ** 2, axis=(1, 2))
    return jax.nn.logsumexp(jnp.asarray(LOG_PRIOR, FLOAT) - distances / (2 * process.sigma(t) ** 2))


@pytest.mark.parametrize("chunk", [4096, 4])
@pytest.mark.parametrize("process", [sj.VP(beta=0.8), sj.VP.cosine(), sj.EDM()], ids=["constant", "cosine", "edm"])
def test_score_is_the_gradient_of_the_log_density(process, chunk):
    x = jnp.asarray(RNG.normal(size=(4, 3)), FLOAT)
    field = sj.EmpiricalField(PATTERNS, process, LOG_PRIOR, chunk)
    gradient = jax.jit(jax.grad(lambda x: log_density(process, T, x)))(x)
    assert_close(eqx.filter_jit(lambda field, x: field.score(T, x))(field, x), gradient, loosen=8)


@pytest.mark.parametrize("chunk", [1, 3, 10, 11])
def test_streaming_changes_neither_value_nor_jvp(chunk):
    x, v = jnp.asarray(RNG.normal(size=(2, 4, 3)), FLOAT)

    @eqx.filter_jit
    def value_and_tangent(field):
        return jax.jvp(lambda x: field.denoise(T, x), (x,), (v,))

    streamed = value_and_tangent(sj.EmpiricalField(PATTERNS, sj.VP(), LOG_PRIOR, chunk))
    assert_close(streamed, value_and_tangent(sj.EmpiricalField(PATTERNS, sj.VP(), LOG_PRIOR)), loosen=4)


@pytest.mark.parametrize("chunk", [2, 4096])
def test_jvp_at_zero_is_the_posterior_covariance(chunk):
    patterns = np.concatenate([PATTERNS, -PATTERNS])
    field = sj.EmpiricalField(patterns, sj.VP(), chunk=chunk)
    alpha2, variance = np.exp(-T), 1 - np.exp(-T)
    flat = patterns.reshape(22, -1)
    logits = -alpha2 / (2 * variance) * np.sum(flat**2, axis=1)
    weights = np.exp(logits) / np.sum(np.exp(logits))
    covariance = np.einsum("k,ki,kj->ij", weights, flat, flat)
    jacobian = jax.jit(jax.jacfwd(lambda x: field.denoise(T, x.reshape(4, 3)).ravel()))(jnp.zeros(12, FLOAT))
    assert_close(jacobian, np.sqrt(alpha2) / variance * covariance, loosen=4)


def test_two_patterns_give_a_hyperbolic_tangent():
    y, x = RNG.normal(size=(2, 4, 3))
    alpha, variance = np.exp(-T / 2), 1 - np.exp(-T)
    score = sj.EmpiricalField(np.stack([y, -y]), sj.VP()).score(T, jnp.asarray(x, FLOAT))
    assert_close(score, -x / variance + alpha / variance * y * np.tanh(alpha / variance * np.sum(x * y)), loosen=4)


def test_one_pattern_is_remembered_exactly():
    field = sj.EmpiricalField(PATTERNS[:1], sj.VP())
    assert_close(field.denoise(T, jnp.asarray(PATTERNS[1], FLOAT)), PATTERNS[0])


@pytest.mark.parametrize("chunk", [4, 4096])
@pytest.mark.parametrize("t", [1e-4, 1e-3])
def test_small_times_pick_the_nearest_pattern(t, chunk):
    field = sj.EmpiricalField(PATTERNS.astype(np.float32), sj.VP(), chunk=chunk)
    x = jnp.asarray(PATTERNS[5] + 1e-2 * RNG.normal(size=(4, 3)), jnp.float32)
    value, tangent = eqx.filter_jit(lambda field, x: jax.jvp(lambda x: field.denoise(t, x), (x,), (x,)))(field, x)
    assert_close(value, PATTERNS[5].astype(np.float32))
    assert np.all(np.abs(tangent) < 1e-3)


def test_priors_decide_where_the_noise_says_nothing():
    field = sj.EmpiricalField(PATTERNS, sj.EDM(), LOG_PRIOR)
    mean = np.tensordot(np.exp(LOG_PRIOR), PATTERNS, 1)
    np.testing.assert_allclose(field.denoise(1e6, jnp.ones((4, 3), FLOAT)), mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("patterns", "log_prior", "chunk", "message"),
    [
        (np.ones((2, 3)), np.log([0.3, 0.3]), 8, "priors must sum to one, got 0.6"),
        (np.ones((2, 3)), np.zeros(3), 8, r"one entry per pattern, shape \(2,\)"),
        (np.ones(()), None, 8, r"patterns must have shape \(K, \*shape\)"),
        (np.ones(3), None, 8, "each pattern must be a lattice"),
        (np.ones((0, 3)), None, 8, "K >= 1"),
        (np.full((2, 3), np.inf), None, 8, "patterns must be finite"),
        (np.ones((2, 3)), None, 0, "chunk must be at least 1, got 0"),
    ],
)
def test_empirical_field_refuses(patterns, log_prior, chunk, message):
    with pytest.raises(ValueError, match=message):
        sj.EmpiricalField(patterns, sj.VP(), log_prior, chunk)


@pytest.mark.parametrize("method", ["denoise", "evidence"])
def test_state_must_have_the_patterns_shape(method):
    field, x = sj.EmpiricalField(PATTERNS, sj.VP()), jnp.zeros((3, 4), FLOAT)
    with pytest.raises(ValueError, match=r"one configuration of shape \(4, 3\), got \(3, 4\)"):
        field.denoise(T, x) if method == "denoise" else field.evidence(x)


LARGE = """
import resource
import numpy as np
import equinox as eqx
import jax
import jax.numpy as jnp
import softjax as sj

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

jnp.ones(3).block_until_ready()
before = peak_mib()
images = np.random.default_rng(0).standard_normal((60_000, 28, 28), np.float32)
field = sj.EmpiricalField(images, sj.VP())
x = jnp.asarray(images[[3, 59_999]]) + 0.01
scores = eqx.filter_jit(lambda f, x: jax.vmap(lambda x: f.denoise(0.01, x))(x))(field, x)
assert np.allclose(scores, images[[3, 59_999]], atol=1e-3)
print(peak_mib() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_a_data_set_of_60000_images_fits_in_2_gib():
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2048
