import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from helpers import within_standard_errors

import softjax as sj

MEAN, VARIANCE = 0.7, 0.25
SAMPLES = 2**16
PROCESSES = {
    "constant": (sj.VP(), 3.0, 0.05),
    "linear": (sj.VP.linear(0.2, 2.0, 3.0), 3.0, 0.05),
    "edm": (sj.EDM(), 5.0, 0.1),
}


class White(sj.AbstractField):
    """Gaussian data, independent on every site: each site is a sample."""

    process: sj.AbstractProcess

    def denoise(self, t, x):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return MEAN + alpha * VARIANCE * (x - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)


def exact_moments(process, start, end):
    """Mean and variance at `end` of the reverse SDE started from N(0, prior_scale^2), by Bayes' rule.

    The reverse SDE's transition is the posterior of the forward process, x_start = a x_end + noise of variance q.
    """
    alpha, sigma = (np.asarray([scale(start), scale(end)], float) for scale in (process.alpha, process.sigma))
    a = alpha[0] / alpha[1]
    marginal = alpha**2 * VARIANCE + sigma**2
    gain = a * marginal[1] / marginal[0]
    mean = alpha[1] * MEAN - gain * alpha[0] * MEAN
    variance = gain**2 * float(process.prior_scale(start)) ** 2 + marginal[1] - gain * a * marginal[1]
    return mean, variance


def moments(case, num_steps, solver, seed):
    process, start, end = case
    ts = sj.log_grid(start, end, num_steps)
    x = np.asarray(sj.simulate(White(process), ts, shape=(SAMPLES,), key=jr.key(seed), solver=solver).x, float)
    return np.asarray([np.mean(x), np.var(x)])


def standard_errors(variance):
    return np.asarray([np.sqrt(variance / SAMPLES), variance * np.sqrt(2 / SAMPLES)])


@pytest.mark.float32
@pytest.mark.parametrize(
    ("name", "solver", "num_steps"),
    [
        ("constant", "sea", 100),
        ("edm", "shark", 50),
        *(pytest.param(name, "shark", 50, marks=pytest.mark.slow) for name in ("constant", "linear")),
    ],
)
def test_higher_order_solvers_reach_the_exact_marginal(name, solver, num_steps):
    # Their bias at these steps is 0.3% of the variance, against a standard error of 0.55%.
    mean, variance = exact_moments(*PROCESSES[name])
    measured = moments(PROCESSES[name], num_steps, solver, seed=1)
    assert within_standard_errors(measured, [mean, variance], standard_errors(variance))


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("constant", "euler"),
        ("edm", "sea"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("edm", "euler"), ("linear", "sea"))),
    ],
)
def test_first_order_solvers_reach_the_exact_marginal_for_vanishing_steps(name, solver):
    mean, variance = exact_moments(*PROCESSES[name])
    coarse, fine = (moments(PROCESSES[name], n, solver, seed=n) for n in (50, 100))
    extrapolated = 2 * fine - coarse  # variances: 4 of the finer, 1 of the coarser
    assert within_standard_errors(extrapolated, [mean, variance], np.sqrt(5) * standard_errors(variance))


class Sites(sj.AbstractField):
    """Three points on a line with unequal priors; each site is a sample."""

    process: sj.AbstractProcess

    def denoise(self, t, x):
        point = sj.EmpiricalField(POINTS[:, None], self.process, jnp.log(jnp.asarray(PRIORS)))
        return jax.vmap(lambda x: point.denoise(t, x[None])[0])(x)


POINTS, PRIORS = np.asarray([-1.0, 0.4, 2.0]), np.asarray([0.5, 0.2, 0.3])


@pytest.mark.parametrize("case", [(sj.VP(), 10.0, 0.2), (sj.EDM(), 80.0, 0.3)], ids=["vp", "edm"])
@pytest.mark.parametrize(("kind", "solver"), [("sde", "shark"), ("flow", dfx.Heun())])
def test_flow_and_sde_share_the_marginals_of_the_forward_process(case, kind, solver):
    process, start, end = case
    ts, shape = sj.log_grid(start, end, 150), (2**14,)
    x = sj.simulate(Sites(process), ts, shape=shape, key=jr.key(5), kind=kind, solver=solver).x
    alpha, sigma = float(process.alpha(end)), float(process.sigma(end))

    def exact(x):
        return np.sum(PRIORS * scipy.stats.norm.cdf(x[:, None], alpha * POINTS, sigma), axis=1)

    assert scipy.stats.kstest(np.asarray(x, float), exact).pvalue > 1e-3


@pytest.mark.float32
@pytest.mark.parametrize("engine", ["diffrax", "scan"])
def test_two_patterns_are_reached_in_the_proportions_of_their_priors(engine):
    pattern = jr.rademacher(jr.key(0), (4, 4), float)
    field = sj.EmpiricalField(jnp.stack([pattern, -pattern]), sj.VP(), jnp.log(jnp.asarray([0.3, 0.7])))
    ts = sj.log_grid(10.0, 1e-3, 150)
    ends = sj.simulate_ensemble(field, ts, shape=(4, 4), num=1500, key=jr.key(2), engine=engine).x
    overlap = np.mean(np.asarray(ends) * np.asarray(pattern), axis=(1, 2))
    np.testing.assert_allclose(np.abs(overlap), 1, atol=0.1)  # sigma = 0.03 per site at the end
    assert scipy.stats.binomtest(int(np.sum(overlap > 0)), 1500, 0.3).pvalue > 1e-3
