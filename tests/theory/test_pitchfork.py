import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close
from scipy.optimize import root_scalar

import softjax as sj
from softjax.theory import (
    bifurcation_diagram,
    critical_time,
    pitchfork_equilibrium,
    pitchfork_near_onset,
    prototype_critical_times,
    prototype_spectrum,
)

pytestmark = pytest.mark.float32

RTOL = 1e-11 if X64 else 3e-5


def root_of_the_projected_drift(t, n):
    alpha, variance = np.exp(-t / 2), -np.expm1(-t)

    def drift(m):
        return (0.5 - 1 / variance) * m + alpha / variance * np.tanh(alpha * n * m / variance)

    return root_scalar(drift, bracket=(1e-8, 3), xtol=1e-15, rtol=1e-15).root


@pytest.mark.parametrize(("n", "t"), [(9, 2.893), (9, 2.88), (9, 2.0), (9, 0.3), (1, 0.5), (4096, 8.0), (2.5, 1.0)])
def test_equilibrium_is_the_root_of_the_projected_drift(n, t):
    # Near the onset the root is as uncertain as its square: rounding is divided by the distance.
    distance = 1 - t / np.arcsinh(n)
    np.testing.assert_allclose(
        pitchfork_equilibrium(sj.VP(), t, n), root_of_the_projected_drift(t, n), rtol=RTOL + 1e-6 * (not X64) / distance
    )


def test_symmetric_point_is_the_only_rest_point_before_the_onset():
    assert float(pitchfork_equilibrium(sj.VP(), 2.9, 9)) == 0
    assert float(pitchfork_near_onset(sj.VP(), 2.9, 9)) == 0


def test_patterns_are_restored_at_small_times():
    t = 1e-3
    expected = 2 * np.exp(-t / 2) / (1 + np.exp(-t))  # alpha / (1 - sigma^2 / 2), where the tanh is 1
    np.testing.assert_allclose(pitchfork_equilibrium(sj.VP(), t, 9), expected, rtol=RTOL)


def test_near_onset_form_is_the_limit():
    t_c = float(critical_time(sj.VP(), 9))
    gaps = np.array([0.1, 0.01])
    ratios = [
        float(pitchfork_near_onset(sj.VP(), t_c - g, 9) / pitchfork_equilibrium(sj.VP(), t_c - g, 9)) for g in gaps
    ]
    deviations = np.abs(np.array(ratios) - 1)
    assert deviations[1] < 0.01
    assert deviations[1] < 0.15 * deviations[0]  # of first order in the distance


@pytest.mark.parametrize("process", [sj.VP(), sj.EDM()], ids=["vp", "edm"])
def test_equilibrium_is_a_rest_point_of_the_field(process):
    y = np.array([1.0, -1.0, 0.5, 2.0])
    field = sj.EmpiricalField(np.stack([y, -y]), process)
    m = pitchfork_equilibrium(process, 0.9, float(y @ y))
    assert float(m) > 0.1
    drift = sj.reverse_drift(field, jnp.asarray(0.9, FLOAT), m * jnp.asarray(y, FLOAT))
    np.testing.assert_allclose(drift, 0, atol=20 * RTOL)


def test_diagram_branches_and_their_stability():
    ts = sj.log_grid(5.0, 0.1, 60)
    d = bifurcation_diagram(sj.VP(), ts, 9)
    unstable = np.asarray(ts) < np.arcsinh(9)
    assert np.all((np.asarray(d.growth_rate) > 0) == unstable)
    assert np.all((np.asarray(d.equilibrium) > 0) == unstable)
    assert np.all(np.asarray(d.relaxation_rate) < 0)
    assert np.all(np.diff(np.asarray(d.equilibrium)) >= 0)


@pytest.mark.parametrize("t", [0.5, 2.5])
def test_equilibrium_is_differentiable_in_time_and_norm(t):
    gradient = jax.grad(lambda t, n: pitchfork_equilibrium(sj.VP(), t, n), (0, 1))(t, 9.0)
    h = 1e-5
    by_t = (root_of_the_projected_drift(t + h, 9) - root_of_the_projected_drift(t - h, 9)) / (2 * h)
    by_n = (root_of_the_projected_drift(t, 9 + h) - root_of_the_projected_drift(t, 9 - h)) / (2 * h)
    # Single precision that is compiled in haste is 1.1e-4 off.
    np.testing.assert_allclose(gradient, (by_t, by_n), rtol=1e-4 if X64 else 3e-4, atol=1e-6)
    assert float(jax.grad(lambda t: pitchfork_equilibrium(sj.VP(), t, 9))(4.0)) == 0


@pytest.mark.parametrize(("t", "norm", "message"), [(0.0, 9, "t must be positive"), (1.0, -1, "squared_norm must be")])
def test_bad_arguments_are_refused(t, norm, message):
    with pytest.raises(ValueError, match=message):
        pitchfork_equilibrium(sj.VP(), t, norm)


def prototypes(count, shape, seed=0, process=None):
    rng = np.random.default_rng(seed)
    prior = rng.random(count)
    y = rng.normal(size=(count, *shape))
    return sj.EmpiricalField(y, sj.VP() if process is None else process, np.log(prior / prior.sum()))


@pytest.mark.parametrize("process", [sj.VP(0.7), sj.EDM()], ids=["vp", "edm"])
@pytest.mark.parametrize("count", [3, 20])
def test_prototype_spectrum_is_that_of_the_dense_jacobian(count, process):
    shape, t = (3, 4), jnp.asarray(1.2, FLOAT)
    field = prototypes(count, shape, process=process)
    x = jnp.asarray(np.random.default_rng(1).normal(size=shape), FLOAT)
    for state in (None, x):
        at = jnp.zeros(12, FLOAT) if state is None else state.ravel()
        jacobian = jax.jacfwd(lambda z: sj.reverse_drift(field, t, z.reshape(shape)).ravel())(at)
        s = prototype_spectrum(field, t, state)
        rates = np.concatenate([s.growth_rates, np.full(s.num_transverse, s.transverse)])
        dense = np.linalg.eigvalsh(np.asarray(jacobian, float))
        np.testing.assert_allclose(np.sort(rates), dense, atol=10 * RTOL * np.max(np.abs(dense)))


def test_prototypes_turn_unstable_where_their_growth_rate_vanishes():
    y = np.random.default_rng(2).choice([-1.0, 1.0], size=(4, 5, 5))
    field = sj.EmpiricalField(np.concatenate([y, -y]), sj.VP.linear())
    times = prototype_critical_times(field)
    assert np.all(np.diff(np.asarray(times)) <= 0)
    second_moments = np.sort(np.linalg.eigvalsh(y.reshape(4, 25) @ y.reshape(4, 25).T / 4))[::-1]
    expected = [sj.theory.critical_time(sj.VP.linear(), c) for c in second_moments]
    np.testing.assert_allclose(times[:4], expected, rtol=100 * RTOL)
    for j in range(4):
        rate = prototype_spectrum(field, times[j]).growth_rates[j]
        assert abs(float(rate)) < 2e3 * RTOL * float(field.process.beta(times[j]))


def test_two_prototypes_are_the_pitchfork():
    y = np.random.default_rng(3).normal(size=(6,))
    field = sj.EmpiricalField(np.stack([y, -y]), sj.VP())
    s = prototype_spectrum(field, 1.0)
    transverse, along = sj.theory.two_pattern_eigenvalues(sj.VP(), 1.0, float(y @ y))
    np.testing.assert_allclose(s.growth_rates, [along, transverse], rtol=100 * RTOL)
    assert_close(s.transverse, transverse)
    assert s.num_transverse == 4


def test_unequal_norms_have_no_fixed_critical_times():
    with pytest.raises(ValueError, match="equal norms"):
        prototype_critical_times(prototypes(3, (4,)))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_negative_priors_are_refused():
    with pytest.raises(ValueError, match="log_prior"):
        sj.EmpiricalField(np.ones((2, 3)), sj.VP(), np.log(np.array([1.5, -0.5])))


def test_gradient_of_a_growth_rate_reaches_the_prototypes():
    y = jnp.asarray(np.random.default_rng(4).normal(size=(3, 5)), FLOAT)

    def top(y):
        return prototype_spectrum(sj.EmpiricalField(y, sj.VP()), 1.0).growth_rates[0]

    direction = jnp.asarray(np.random.default_rng(5).normal(size=(3, 5)), FLOAT)
    h = 1e-5 if X64 else 1e-2
    difference = (top(y + h * direction) - top(y - h * direction)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(jax.grad(top)(y), direction), difference, rtol=1e-6 if X64 else 1e-2)
