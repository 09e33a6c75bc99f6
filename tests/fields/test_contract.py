"""Every field is held to the same contract."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, X64, assert_close, needs_x64

import softjax as sj
from softjax.fields import AbstractEvidenceField
from softjax.networks import UNet, UNetConfig
from softjax.spectral import free_field_spectrum

pytestmark = pytest.mark.float32

SHAPE = (5, 6)
T = 0.6
DTYPES = ["float32", "float64"] if X64 else ["float32"]


def random(seed, shape, dtype):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def uneven_prior(count):
    weights = np.arange(1.0, count + 1)
    return np.log(weights / weights.sum())


def patch(process, dtype):
    ising = sj.PatchDictionary.ising(3, num_random=2, key=jr.key(0))
    return sj.PatchField(sj.PatchDictionary(ising.patterns.astype(dtype), ising.log_prior), process)


def uneven_patch(process, dtype):
    y = random(1, (3, 3, 3), dtype)
    return sj.PatchField(sj.PatchDictionary(jnp.concatenate([y, -y[:2], 0 * y[:1]]), uneven_prior(6)), process)


def empirical(process, dtype):
    return sj.EmpiricalField(random(2, (7, *SHAPE), dtype), process, uneven_prior(7))


def streamed(process, dtype):
    return sj.EmpiricalField(random(2, (7, *SHAPE), dtype), process, uneven_prior(7), chunk=3)


def two_patterns(process, dtype):
    return sj.EmpiricalField(jnp.asarray([1, -1], dtype)[:, None, None] * jnp.ones(SHAPE, dtype), process)


def gaussian(process, dtype):
    return sj.GaussianField(free_field_spectrum(SHAPE, 0.3, 1.0).astype(dtype), process, mean=0.4)


def samples(count, dtype):
    """Known inside jit too, unlike JAX arrays that are made there."""
    return np.random.default_rng(2).normal(size=(count, *SHAPE)).astype(dtype)


def covariance(process, dtype):
    return sj.CovarianceField.from_samples(samples(40, dtype), process)


def low_rank(process, dtype):
    return sj.CovarianceField.from_samples(samples(7, dtype), process, rank=3)


def local(process, dtype):
    return sj.LocalField(random(2, (3, *SHAPE), dtype), 3, process, "zeros", chunk=40)


def network(process, dtype):
    config = UNetConfig(widths=(8,), num_middle_blocks=0, embedding_size=8)
    outline, rng = jax.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0))), np.random.default_rng(6)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 5, dtype), outline)
    return sj.NetworkField(jax.tree_util.Partial(denoised, weights, process), process, "denoiser")


def guided(process, dtype):
    weight = sj.pulse(sj.VP().noise_to_signal(T), 1.0, 3.0, "smooth")
    return sj.GuidedField(gaussian(process, dtype), local(process, dtype), weight)


def rescaled(process, dtype):
    return sj.RescaledField(local(sj.EDM(), dtype), process)


def denoised(network, process, t, x):
    """By a network that sees noise-to-signal ratio and undamped signal, hence the same on every process."""
    return network(process.noise_to_signal(t), x / process.alpha(t))


EVIDENCE_FIELDS = [patch, uneven_patch, empirical, streamed, two_patterns]
FIELDS = [*EVIDENCE_FIELDS, gaussian, covariance, low_rank, local, network, guided, rescaled]
CONTRACT = pytest.mark.parametrize("make", FIELDS, ids=lambda make: make.__name__)


@eqx.filter_jit
def score(field, t, x):
    return field.score(t, x)


@eqx.filter_jit
def denoise(field, t, x):
    return field.denoise(t, x)


@eqx.filter_jit
def score_and_tangent(field, t, x, v):
    return jax.jvp(lambda x: field.score(t, x), (x,), (v,))


@CONTRACT
@pytest.mark.parametrize("process", [sj.VP(), sj.EDM()], ids=["vp", "edm"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shape_and_dtype_are_kept(make, process, dtype):
    field, x = make(process, dtype), random(3, SHAPE, dtype)
    for result in jax.eval_shape(lambda x: (field.score(T, x), field.denoise(T, x)), x):
        assert result.shape == SHAPE
        assert result.dtype == dtype


@CONTRACT
def test_jit_changes_nothing(make):
    field, x = make(sj.VP(), FLOAT), random(3, SHAPE, FLOAT)
    assert_close(score(field, jnp.asarray(T), x), field.score(T, x), loosen=4)


@CONTRACT
def test_vmap_is_a_loop(make):
    field, xs = make(sj.VP(), FLOAT), random(3, (3, *SHAPE), FLOAT)
    ts = jnp.asarray([0.1, 0.6, 3.0], FLOAT)
    batched = eqx.filter_jit(lambda field, ts, xs: jax.vmap(field.score)(ts, xs))(field, ts, xs)
    for t, x, result in zip(ts, xs, batched, strict=True):
        assert_close(result, score(field, t, x), loosen=4)


@needs_x64
@CONTRACT
@pytest.mark.parametrize("at", ["zero", "generic"])
def test_jvp_is_the_central_difference(make, at):
    field, v = make(sj.VP(), FLOAT), random(4, SHAPE, FLOAT)
    x = 0.5 * random(3, SHAPE, FLOAT) if at == "generic" else jnp.zeros(SHAPE)
    t, h = jnp.asarray(T), 1e-4
    value, jv = score_and_tangent(field, t, x, v)
    ahead, behind = score(field, t, x + h * v), score(field, t, x - h * v)
    np.testing.assert_allclose((ahead - behind) / (2 * h), jv, atol=1e-5, rtol=1e-5)  # h^2 times the third derivative
    np.testing.assert_allclose((ahead - value) / h, (value - behind) / h, atol=0.05)  # no kink: equal to order h


@needs_x64
@CONTRACT
@pytest.mark.parametrize("at", ["zero", "generic"])
def test_second_derivative_is_the_central_difference_of_the_jvp(make, at):
    field, v = make(sj.VP(), FLOAT), random(4, SHAPE, FLOAT)
    x = 0.5 * random(3, SHAPE, FLOAT) if at == "generic" else jnp.zeros(SHAPE)
    t, h = jnp.asarray(T), 1e-4

    def second_derivative(field, x):
        return jax.jvp(lambda x: jax.jvp(lambda x: field.score(t, x), (x,), (v,))[1], (x,), (v,))[1]

    compiled = second_derivative if make in (patch, uneven_patch) else eqx.filter_jit(second_derivative)
    second = compiled(field, x)
    slopes = [score_and_tangent(field, t, x + step * v, v)[1] for step in (h, -h)]
    np.testing.assert_allclose((slopes[0] - slopes[1]) / (2 * h), second, atol=1e-3, rtol=1e-4)


@CONTRACT
def test_reverse_mode_agrees_with_forward_mode(make):
    field, x = make(sj.VP(), FLOAT), random(3, SHAPE, FLOAT)
    v, w = random(4, SHAPE, FLOAT), random(5, SHAPE, FLOAT)
    pull = eqx.filter_jit(lambda f, x: jax.vjp(lambda x: f.score(T, x), x)[1](w)[0])(field, x)
    _, jv = score_and_tangent(field, jnp.asarray(T), x, v)
    assert_close(jnp.vdot(pull, v), np.vdot(w, jv), loosen=16)


@CONTRACT
@pytest.mark.parametrize("t", [1e-4, 1e-3, 12.0])
def test_extreme_times_stay_finite(make, t):
    field = make(sj.VP(), jnp.float32)
    x = 3 * random(3, SHAPE, jnp.float32)
    for state in (x, jnp.zeros_like(x)):
        value, jv = score_and_tangent(field, jnp.asarray(t, jnp.float32), state, x)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(jv))


@CONTRACT
def test_vp_field_maps_to_edm(make):
    vp, x = sj.VP.linear(), random(3, SHAPE, FLOAT)
    t = 0.3
    on_vp = denoise(make(vp, FLOAT), t, x)
    on_edm = denoise(make(sj.EDM(), FLOAT), vp.noise_to_signal(t), x / vp.alpha(t))
    assert_close(on_vp, on_edm, loosen=4)


@CONTRACT
def test_new_times_and_states_do_not_retrace(make):
    traces = []

    @eqx.filter_jit
    def counted(field, t, x):
        traces.append(t)
        return field.score(t, x)

    counted(make(sj.VP(beta=1.0), FLOAT), jnp.asarray(0.1), random(3, SHAPE, FLOAT))
    counted(make(sj.VP(beta=2.0), FLOAT), jnp.asarray(0.2), random(4, SHAPE, FLOAT))
    assert len(traces) == 1


@pytest.mark.parametrize("make", [make for make in FIELDS if make is not network], ids=lambda make: make.__name__)
def test_matrix_products_keep_all_bits_on_accelerators(make):
    x = random(3, (2, *SHAPE), FLOAT)
    batched = jax.vmap(score_and_tangent, (None, None, 0, 0))
    program = jax.jit(lambda x: batched(make(sj.VP(), FLOAT), jnp.asarray(T), x, x)).lower(x).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert [line for line in products if "HIGHEST, HIGHEST" not in line] == []
    assert len(products) > 0 or make in (patch, uneven_patch, gaussian)


@CONTRACT
def test_batches_are_refused_with_the_remedy(make):
    with pytest.raises(ValueError, match=r"got.*\(2, 5, 6\).*use jax\.vmap"):
        make(sj.VP(), FLOAT).score(T, jnp.zeros((2, *SHAPE), FLOAT))


@pytest.mark.parametrize("make", EVIDENCE_FIELDS, ids=lambda make: make.__name__)
def test_posterior_mean_of_the_evidence_is_the_denoiser(make):
    field, x = make(sj.VP(), FLOAT), random(3, SHAPE, FLOAT)
    assert isinstance(field, AbstractEvidenceField)
    via_evidence = eqx.filter_jit(lambda field, x: field.posterior_mean(T, field.evidence(x)))(field, x)
    assert_close(via_evidence, denoise(field, T, x), loosen=4)


@pytest.mark.parametrize("make", EVIDENCE_FIELDS, ids=lambda make: make.__name__)
def test_evidence_is_linear(make):
    field = make(sj.VP(), FLOAT)
    x, y = random(3, SHAPE, FLOAT), random(4, SHAPE, FLOAT)
    combined = field.evidence(2 * x - 3 * y)
    assert np.max(np.abs(combined)) > 1
    assert_close(combined, 2 * np.asarray(field.evidence(x)) - 3 * np.asarray(field.evidence(y)))
