import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, convergence_order, needs_x64, strong_order, within_standard_errors

import softjax as sj
from softjax.dynamics import _dpm, _engines

MULTISTEP = "dpmpp_2m"
PROCESSES = {
    "constant": sj.VP(1.3),
    "linear": sj.VP.linear(0.2, 2.0, 4.0),
    "edm": sj.EDM(),
    "flow": sj.RectifiedFlow(),
}
PATTERNS = jr.normal(jr.key(3), (3, 2, 3))
GAUSSIAN = sj.GaussianField(sj.spectral.free_field_spectrum((4, 3), mass=0.5, stiffness=2.0), sj.VP(), mean=0.3)
TS = sj.log_grid(0.7, 0.05, 40)


def run(process=PROCESSES["constant"], field=None, ts=TS, **options):
    field = sj.EmpiricalField(PATTERNS, process) if field is None else field
    options = {"shape": (2, 3), "key": jr.key(7)} | options
    return sj.simulate(field, ts, **options)


BEFORE = {
    "sde": [1.1416111276892573, 0.1360246332064916, -0.9170786240754237],
    "flow": [0.8923894866336011, -0.5864689717114443, -0.609574356451539],
}


@pytest.mark.float32
@pytest.mark.parametrize(
    ("process", "solver", "engine"),
    [
        ("constant", "euler", "scan"),
        ("edm", "euler", "diffrax"),
        ("linear", "sea", "scan"),
        ("linear", "shark", "diffrax"),
        ("edm", MULTISTEP, "scan"),
    ],
)
def test_stochasticity_one_is_the_sde_bit_for_bit(process, solver, engine):
    options = {"process": PROCESSES[process], "solver": solver, "engine": engine}
    np.testing.assert_array_equal(run(stochasticity=1.0, **options).x, run(**options).x)


@pytest.mark.float32
@pytest.mark.parametrize(("process", "solver"), [("edm", "euler"), ("linear", dfx.Heun()), ("constant", MULTISTEP)])
def test_stochasticity_zero_is_the_flow_bit_for_bit(process, solver):
    process = PROCESSES[process]
    flow = run(process, kind="flow", solver=solver).x
    np.testing.assert_array_equal(run(process, stochasticity=0, solver=solver).x, flow)
    np.testing.assert_array_equal(run(process, stochasticity=0, kind="flow", solver=solver).x, flow)


@pytest.mark.parametrize(
    ("process", "solver"), [("constant", "euler"), ("linear", "sea"), ("edm", MULTISTEP), ("flow", MULTISTEP)]
)
def test_traced_values_are_the_sde_and_the_flow_too(process, solver):
    process = PROCESSES[process]
    end = jax.jit(lambda value: run(process, stochasticity=value, solver=solver, engine="scan").x)
    assert_close(end(1.0), run(process, solver=solver, engine="scan").x, loosen=50)
    if solver != "sea":
        assert_close(end(0.0), run(process, kind="flow", solver=solver, engine="scan").x, loosen=50)


@needs_x64
def test_the_default_gives_the_numbers_it_gave_before_there_was_a_choice():
    assert_close(run(ts=sj.log_grid(4.0, 0.05, 40)).x[0], np.asarray(BEFORE["sde"]), loosen=50)
    assert_close(run(ts=sj.log_grid(4.0, 0.05, 40), kind="flow").x[0], np.asarray(BEFORE["flow"]), loosen=50)


@pytest.mark.parametrize("solver", ["euler", MULTISTEP])
def test_new_values_compile_nothing(solver):
    traced = []

    def observe(t, x):
        traced.append(t)
        return t

    run(stochasticity=3.0, solver=solver, observe=observe)
    once = len(traced)
    for value in (0.5, 2, np.float32(1.5), jnp.asarray(4.0, FLOAT), np.int64(3)):
        run(stochasticity=value, solver=solver, observe=observe)
    assert len(traced) == once > 0


@pytest.mark.parametrize("process", PROCESSES)
def test_one_step_of_euler_is_the_formula(replace_noise, process):
    process, w = PROCESSES[process], jr.normal(jr.key(4), (2, 3))
    replace_noise(lambda key, index, step, shape: (w + 0 * step, w + 0 * step))
    field, ts, x0 = sj.EmpiricalField(PATTERNS, process), jnp.asarray([0.6, 0.55], FLOAT), jr.normal(jr.key(0), (2, 3))
    a, b, s = process.damping(0.6), process.beta(0.6), field.score(0.6, x0)
    wanted = x0 + 0.05 * (a * x0 + 2.5 * b * s) + jnp.sqrt(4 * b) * w
    for engine in ("diffrax", "scan"):
        end = run(field=field, ts=ts, x0=x0, shape=None, engine=engine, stochasticity=4.0, observe=lambda t, x: x).x
        assert_close(end, wanted, loosen=20)


@pytest.mark.float32
@pytest.mark.parametrize(("process", "solver"), [("flow", "euler"), ("linear", "sea"), ("edm", MULTISTEP)])
def test_engines_follow_the_same_path(process, solver):
    options = {"process": PROCESSES[process], "solver": solver, "stochasticity": 6.0, "observe": lambda t, x: (t, x)}
    assert_close(run(engine="diffrax", **options), run(engine="scan", **options), loosen=50)


@pytest.mark.parametrize("solver", ["euler", MULTISTEP])
def test_trajectory_depends_on_its_key_whatever_the_batch(solver):
    field = sj.EmpiricalField(PATTERNS, sj.EDM())
    key, options = jr.key(1), {"shape": (2, 3), "solver": solver, "stochasticity": 5.0}
    all_of_them = sj.simulate_ensemble(field, TS, num=6, key=key, **options).x
    some = sj.simulate_ensemble(field, TS, num=3, chunk=2, members=jnp.asarray([1, 2, 4]), key=key, **options).x
    assert_close(some, all_of_them[jnp.asarray([1, 2, 4])], loosen=50)
    one = sj.simulate(field, TS, key=jr.fold_in(key, 4), **options).x
    assert_close(one, all_of_them[4], loosen=50)


def test_several_stochasticities_side_by_side():
    ends = jax.vmap(lambda value: run(stochasticity=value, solver=MULTISTEP).x)(jnp.asarray([0.5, 3.0], FLOAT))
    for end, value in zip(ends, (0.5, 3.0), strict=True):
        assert_close(end, run(stochasticity=value, solver=MULTISTEP).x, loosen=50)


@pytest.mark.parametrize("value", [0.0, 1.0, 7.0])
def test_multistep_ends_in_the_denoised_state_at_zero_noise(value):
    field = sj.MixtureField(PATTERNS, sj.EDM(), width=0.3)
    grid = sj.karras_grid(5.0, 0.1, 40)
    states = run(field=field, ts=grid, stochasticity=value, solver=MULTISTEP, observe=lambda t, x: x)
    assert_close(states.x, field.denoise(grid[-2], states.observed[-2]), loosen=20)


def test_multistep_differentiates_in_reverse_mode_down_to_zero_noise():
    def end(x0, value):
        field = sj.MixtureField(PATTERNS, sj.EDM(), width=0.3)
        grid = sj.karras_grid(5.0, 0.1, 30)
        return jnp.sum(run(field=field, ts=grid, x0=x0, shape=None, stochasticity=value, solver=MULTISTEP).x ** 2)

    x0, value = jr.normal(jr.key(0), (2, 3)), jnp.asarray(2.0, FLOAT)
    slopes = jax.grad(end, (0, 1))(x0, value)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    if X64:
        difference = (end(x0, value + 1e-5) - end(x0, value - 1e-5)) / 2e-5
        np.testing.assert_allclose(slopes[1], difference, rtol=1e-5, atol=1e-8)


VALUES = [0.0, 8.0, *(pytest.param(value, marks=pytest.mark.slow) for value in (1.0, 4.0, 64.0))]
FINE, PATHS = 1024, 256
WHITE = sj.GaussianField(jnp.full((PATHS,), 0.4, FLOAT), sj.VP.linear(0.2, 1.6, 2.0), mean=0.3)


@pytest.fixture
def end(replace_noise):
    """End points of paths driven by the same noise on every grid."""
    fine = np.random.default_rng(0).normal(size=(FINE, PATHS)) * np.sqrt(1.5 / FINE)

    def end(num_steps, solver, value, engine="scan"):
        w = jnp.asarray(fine.reshape(num_steps, -1, PATHS).sum(axis=1), FLOAT)
        replace_noise(lambda key, index, step, shape: (w[index] + 0 * step, 0 * w[index]))
        ts = jnp.linspace(2.0, 0.5, num_steps + 1, dtype=FLOAT)
        x0 = 1 + jr.normal(jr.key(0), (PATHS,))
        options = {"solver": solver, "engine": engine, "observe": lambda t, x: t, "stochasticity": value}
        return sj.simulate(WHITE, ts, x0=x0, key=jr.key(0), **options).x

    return end


@needs_x64
@pytest.mark.parametrize(("solver", "engine"), [("euler", "diffrax"), (MULTISTEP, "scan")])
def test_strong_order_is_one_on_the_same_brownian_path(end, solver, engine):
    exact = end(FINE, "euler", 3.0) * 2 - end(FINE // 2, "euler", 3.0)  # its error of first order taken out
    order = strong_order(lambda n: end(n, solver, 3.0, engine), (16, 32, 64, 128), exact)
    assert 0.85 < order < 1.25


def moments(solver, num_steps, value, x0):
    """Mean and standard deviation at the end from the affine map that a linear field's steps are: no sampling."""
    field = sj.GaussianField(jnp.asarray([0.4], FLOAT), sj.VP.linear(0.2, 1.6, 2.0), mean=0.3)
    ts = jnp.linspace(2.0, 0.5, num_steps + 1, dtype=FLOAT)
    steps = jnp.sqrt(ts[:-1] - ts[1:])

    def end(noise):
        with pytest.MonkeyPatch.context() as patched:
            for module in (_dpm, _engines):
                patched.setattr(
                    module,
                    "interval_noise",
                    lambda key, index, step, shape: (noise[index][None] * steps[index], noise[index][None]),
                )
            options = {"solver": solver, "engine": "scan", "stochasticity": value, "observe": lambda t, x: t}
            return sj.simulate(field, ts, x0=x0, key=jr.key(0), **options).x[0]

    quiet = jnp.zeros(num_steps, FLOAT)
    return jnp.append(jax.grad(end)(quiet), end(quiet))


@needs_x64
@pytest.mark.parametrize(("solver", "order", "value"), [("euler", 1, 3.0), (MULTISTEP, 2, 3.0), (MULTISTEP, 2, 8.0)])
def test_weak_order_of_mean_and_variance(solver, order, value):
    field = sj.GaussianField(jnp.asarray([0.4], FLOAT), sj.VP.linear(0.2, 1.6, 2.0), mean=0.3)
    x0, levels = jnp.asarray([1.7], FLOAT), (64, 128, 256, 512)
    mean, variance = exact_moments(field.process, 0.4, 0.3, 1.7, 2.0, 0.5, value)
    ends = [np.asarray(moments(solver, n, value, x0)) for n in levels]
    of_mean = [abs(end[-1] - mean) for end in ends]
    of_variance = [abs(np.sum(end[:-1] ** 2) - variance) for end in ends]
    for errors in (of_mean, of_variance):
        assert order - 0.2 < convergence_order([1 / n for n in levels], errors) < order + 0.35


def exact_moments(process, spectrum, mu, x0, start, end, value):
    # Of the Ornstein-Uhlenbeck process that a Gaussian mode is: with V the variance of the marginal, the distance from
    # the mean decays as sqrt(V) exp(-value int beta / 2V), and what it lost of V is added by the noise.
    t = np.linspace(end, start, 20001)
    alpha, sigma, beta = (np.asarray(jax.vmap(f)(jnp.asarray(t))) for f in (process.alpha, process.sigma, process.beta))
    v = alpha**2 * spectrum + sigma**2
    lost = value * np.trapezoid(beta / (2 * v), t)
    kept = np.exp(-lost) * np.sqrt(v[0] / v[-1])
    return alpha[0] * mu + kept * (x0 - alpha[-1] * mu), v[0] * (1 - np.exp(-2 * lost))


@pytest.mark.optimised
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("process", ["constant", "edm"])
def test_every_mode_of_a_gaussian_field_keeps_its_variance(process, value):
    process = PROCESSES[process]
    field = sj.GaussianField(GAUSSIAN.spectrum, process, mean=0.3)
    alpha, sigma = process.alpha(4.0), process.sigma(4.0)
    num, shape = 2000, GAUSSIAN.spectrum.shape
    white = jnp.fft.fft2(jr.normal(jr.key(5), (num, *shape)))
    start = jnp.fft.ifft2(white * jnp.sqrt(alpha**2 * field.spectrum + sigma**2).astype(white.dtype)).real
    x = sj.simulate_ensemble(
        field,
        sj.log_grid(4.0, 0.01, 300),
        key=jr.key(2),
        num=num,
        x0=start + alpha * 0.3,
        solver=MULTISTEP,
        stochasticity=value,
    ).x
    power = np.abs(np.fft.fft2(np.asarray(x) - float(process.alpha(0.01)) * 0.3)) ** 2 / np.prod(shape)
    wanted = process.alpha(0.01) ** 2 * field.spectrum + process.sigma(0.01) ** 2
    assert within_standard_errors(power.mean(axis=0), wanted, power.std(axis=0) / np.sqrt(num))


@pytest.mark.optimised
@pytest.mark.parametrize("value", VALUES)
def test_two_clouds_keep_their_moments_and_histogram(value):
    num, width, end = 4000, 0.2, 1e-3
    field = sj.MixtureField(np.asarray([[1.0], [-1.0]]), sj.VP(), width=width, log_prior=np.log([0.3, 0.7]))
    pick = jnp.where(jr.bernoulli(jr.key(1), 0.3, (num, 1)), 1, -1).astype(FLOAT)
    alpha, sigma = (np.asarray([f(t) for t in (6.0, end)]) for f in (field.process.alpha, field.process.sigma))
    spread = np.sqrt(alpha**2 * width**2 + sigma**2)
    x0 = alpha[0] * pick + spread[0] * jr.normal(jr.key(2), (num, 1))
    options = {"solver": MULTISTEP, "stochasticity": value, "x0": x0}
    x = np.asarray(sj.simulate_ensemble(field, sj.log_grid(6.0, end, 450), key=jr.key(3), num=num, **options).x)[:, 0]
    up = x > 0
    assert within_standard_errors(up.mean(), 0.3, np.sqrt(0.21 / num))
    for side, sign in ((x[up], 1), (x[~up], -1)):
        assert within_standard_errors(side.mean(), sign * alpha[1], spread[1] / np.sqrt(side.size))
        assert within_standard_errors(side.std() / spread[1], 1.0, 1 / np.sqrt(2 * side.size))
        edges = sign * alpha[1] + spread[1] * np.asarray([-1.0, 0.0, 1.0])
        shares = np.mean(side[:, None] < edges, axis=0)
        wanted = np.asarray([0.158655, 0.5, 0.841345])
        assert within_standard_errors(shares, wanted, np.sqrt(wanted * (1 - wanted) / side.size))


class Independent(sj.AbstractField):
    """Gaussian sites, each with a variance of its own."""

    variances: jax.Array
    process: sj.AbstractProcess

    def denoise(self, t, x):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return alpha * self.variances * x / (alpha**2 * self.variances + sigma**2)


@needs_x64
@pytest.mark.optimised
@pytest.mark.parametrize(
    ("solver", "value", "num_steps"),
    [(MULTISTEP, 1.0, 110), (MULTISTEP, 8.0, 110), (MULTISTEP, 64.0, 448), ("euler", 8.0, 860)],
)
def test_final_variances_are_right_to_one_percent_with_the_steps_that_the_guide_asks_for(
    monkeypatch, solver, value, num_steps
):
    field, ts = Independent(variances=jnp.geomspace(0.01, 100, 9), process=sj.VP()), sj.log_grid(6.0, 1e-3, num_steps)

    def end(start, noise):
        for module in (_dpm, _engines):
            monkeypatch.setattr(module, "interval_noise", lambda key, i, h, shape: (jnp.sqrt(h) * noise[i], noise[i]))
        options = {"solver": solver, "engine": "scan", "stochasticity": value, "observe": lambda t, x: t}
        return jnp.sum(sj.simulate(field, ts, x0=start, key=jr.key(0), **options).x)

    # The map is linear and acts site by site: its derivatives carry the variance of the start and of the noise.
    factors = jax.grad(end, (0, 1))(jnp.ones(9), jnp.zeros((num_steps, 9)))
    first, last = (field.process.alpha(t) ** 2 * field.variances + field.process.sigma(t) ** 2 for t in (ts[0], ts[-1]))
    found = factors[0] ** 2 * first + jnp.sum(factors[1] ** 2, axis=0)
    assert np.max(np.abs(found / last - 1)) < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stochasticity": -1.0}, "stochasticity must not be negative, got -1"),
        ({"stochasticity": np.nan}, "stochasticity must be finite"),
        ({"stochasticity": np.ones(3)}, r"stochasticity must be one number, got shape \(3,\).*jax.vmap"),
        ({"stochasticity": 8, "kind": "flow"}, "kind 'flow' is stochasticity 0, got 8: leave out"),
        ({"stochasticity": 1, "kind": "flow"}, "kind 'flow' is stochasticity 0, got 1: leave out"),
        ({"stochasticity": 0, "solver": "sea"}, "additive noise; for kind 'flow', which is stochasticity 0, take"),
        ({"stochasticity": 2, "solver": "shark", "engine": "scan"}, "'euler', 'sea' and 'dpmpp_2m'; got 'shark'"),
    ],
)
def test_what_contradicts_itself_is_refused(without_type_checks, options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_a_traced_stochasticity_of_the_flow_is_refused():
    with pytest.raises(ValueError, match="kind 'flow' is stochasticity 0, got a traced value"):
        jax.jit(lambda value: run(kind="flow", stochasticity=value).x)(0.0)


@pytest.mark.parametrize(
    ("solver", "num_steps", "message"),
    [
        ("euler", 700, "too coarse for stochasticity=64: from t = 6 to .* above 2 steps are unstable. Take about 8.. "),
        (MULTISTEP, 350, "too coarse for stochasticity=64: from t = 6 to .* above 4 errors exceed 1%. Take about 42. "),
    ],
)
def test_long_steps_are_warned_of(solver, num_steps, message):
    options = {"field": GAUSSIAN, "shape": (4, 3), "solver": solver, "stochasticity": 64.0}
    with pytest.warns(UserWarning, match=message) as caught:
        run(ts=sj.log_grid(6.0, 1e-3, num_steps), **options)
    assert len(caught) == 1
    run(ts=sj.log_grid(6.0, 1e-3, 900), **options)  # warnings are errors here
    jax.jit(lambda key: run(ts=sj.log_grid(6.0, 1e-3, 50), **(options | {"key": key, "stochasticity": 1.0})).x)(
        jr.key(0)
    )
    run(ts=sj.karras_grid(80.0, 0.002, 200), **(options | {"field": GAUSSIAN_EDM, "stochasticity": 8.0}))


GAUSSIAN_EDM = sj.GaussianField(GAUSSIAN.spectrum, sj.EDM())
