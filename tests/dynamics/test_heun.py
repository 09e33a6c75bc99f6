import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, X64, assert_close, convergence_order

import softjax as sj
from softjax import Churn, heun_ensemble

SPECTRUM = sj.spectral.free_field_spectrum((6, 5), mass=0.5, stiffness=2.0)
FIELD = sj.GaussianField(SPECTRUM, sj.EDM(), mean=0.4)
PATTERNS = sj.EmpiricalField(np.random.default_rng(0).normal(size=(7, 4, 3)), sj.EDM())
GRID = sj.karras_grid(num_steps=8)
CHURN = Churn(6.0, 0.05, 50.0, 1.007)


def exact_end(ts, x0):
    """Every Fourier mode keeps its quantile: its distance from the mean scales with its standard deviation."""
    before, after = (np.sqrt(np.asarray(SPECTRUM) + float(t) ** 2) for t in (ts[0], ts[-1]))
    return 0.4 + np.fft.ifft2(np.fft.fft2(np.asarray(x0) - 0.4) * after / before).real


@pytest.mark.float32
def test_heun_is_of_second_order_on_an_exact_denoiser():
    x0 = 10 * jr.normal(jr.key(0), (6, 5))
    levels = (40, 80, 160, 320, 640) if X64 else (8, 16, 32, 64)  # above rounding
    errors = []
    for n in levels:
        ts = sj.karras_grid(10.0, 0.1, n + 1)[:-1]
        x = sj.heun(FIELD, ts, x0=x0, key=jr.key(1)).x
        errors.append(float(np.max(np.abs(np.asarray(x) - exact_end(ts, x0)))))
    assert abs(convergence_order([1 / n for n in levels], errors) - 2) < 0.15


def test_karras_grid_has_the_published_levels():
    levels = np.asarray(sj.karras_grid(num_steps=32))[[8, 16, 24]]
    np.testing.assert_allclose(levels, [16.5914, 2.17386, 0.122566], rtol=4e-6)


@pytest.mark.float32
@pytest.mark.parametrize("field", [FIELD, PATTERNS], ids=["gaussian", "empirical"])
def test_heun_is_diffrax_heun_on_the_flow_away_from_zero_noise(field):
    ts, shape = sj.karras_grid(num_steps=12)[:-1], (6, 5) if field is FIELD else (4, 3)
    options = {"shape": shape, "key": jr.key(2), "observe": lambda t, x: (t, x)}
    ours = sj.heun(field, ts, **options)
    theirs = sj.simulate(field, ts, kind="flow", solver=dfx.Heun(), **options)
    assert_close((ours.x, ours.observed), (theirs.x, theirs.observed), loosen=4)


@pytest.mark.float32
def test_the_last_step_into_zero_returns_the_denoised_state():
    trajectory = sj.heun(PATTERNS, GRID, shape=(4, 3), key=jr.key(0), observe=lambda t, x: x)
    assert_close(trajectory.x, PATTERNS.denoise(GRID[-2], trajectory.observed[-1]))


class Counted(sj.AbstractField):
    """A denoiser that writes down the noise level of each evaluation."""

    process: sj.AbstractProcess
    levels: tuple = eqx.field(static=True)

    def denoise(self, t, x):
        jax.debug.callback(lambda t: self.levels[0].append(float(t)), t)
        return 0.5 * x


class Levels(list):
    """Hashable, so that it may stand in a static field."""

    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize("churn", [None, CHURN], ids=["plain", "churn"])
def test_32_steps_evaluate_the_denoiser_63_times_and_never_at_zero_noise(churn):
    levels = Levels()
    field = Counted(process=sj.EDM(), levels=(levels,))
    sj.heun(field, sj.karras_grid(num_steps=32), shape=(3,), key=jr.key(0), churn=churn)
    jax.effects_barrier()
    assert len(levels) == 63
    assert min(levels) == pytest.approx(0.002)


def test_a_traced_grid_and_a_known_one_give_the_same_path():
    def end(ts):
        return sj.heun(PATTERNS, ts, shape=(4, 3), key=jr.key(3)).x

    grids = [GRID[1:], GRID[:-1]]
    known, traced = [end(ts) for ts in grids], jax.jit(end)
    assert_close([traced(ts) for ts in grids], known)
    # The grids of a batch may end at zero or not.
    assert_close(jax.vmap(end)(jnp.stack(grids)), jnp.stack(known), loosen=4)


@pytest.mark.parametrize(("ts", "num"), [(GRID, 8), (GRID[:-1], 8), (GRID[2:], 6)])
def test_every_grid_point_of_positive_noise_is_observed_once(ts, num):
    trajectory = sj.heun(FIELD, ts, shape=(6, 5), key=jr.key(0), observe=lambda t, x: {"t": t, "x": x})
    np.testing.assert_array_equal(trajectory.observed["t"], ts[:num])
    np.testing.assert_array_equal(trajectory.ts, ts)
    assert trajectory.observed["x"].shape == (num, 6, 5)


@pytest.mark.float32
@pytest.mark.parametrize(("num", "chunk", "churn"), [(4, None, None), (5, 2, CHURN)])
def test_members_are_single_trajectories_of_folded_keys_whatever_the_batch(num, chunk, churn):
    options = {"shape": (4, 3), "observe": lambda t, x: jnp.mean(x), "churn": churn}
    trajectories = heun_ensemble(PATTERNS, GRID, key=jr.key(7), num=num, chunk=chunk, **options)
    for i in (0, num - 1):
        one = sj.heun(PATTERNS, GRID, key=jr.fold_in(jr.key(7), i), **options)
        assert_close((trajectories.x[i], trajectories.observed[i]), (one.x, one.observed), loosen=20)
    later = heun_ensemble(PATTERNS, GRID, key=jr.key(7), num=1, members=jnp.asarray([num - 1]), **options)
    assert_close(later.x[0], trajectories.x[-1], loosen=20)


def test_the_start_is_that_of_simulate_and_the_rest_takes_nothing_from_the_key_without_churn():
    ts, start = GRID[:-1], {"observe": lambda t, x: x, "shape": (4, 3)}
    x0 = sj.heun(PATTERNS, ts, key=jr.key(5), **start).observed[0]
    assert_close(x0, sj.simulate(PATTERNS, ts, key=jr.key(5), **start).observed[0])
    ends = [sj.heun(PATTERNS, ts, x0=x0, key=jr.key(i)).x for i in range(2)]
    np.testing.assert_array_equal(ends[0], ends[1])
    noisy = [sj.heun(PATTERNS, ts, x0=x0, key=jr.key(i), churn=CHURN).x for i in range(2)]
    assert np.all(np.abs(noisy[0] - noisy[1]) > 1e-3 * np.abs(ends[0]))


def test_churn_raises_the_noise_by_what_it_says():
    x = jnp.zeros(100_000)
    noise = jr.normal(jr.key(0), x.shape)
    t, raised = Churn(2.0, noise_scale=1.5).raised(jnp.asarray(3.0), x, noise, 8)
    assert_close(t, 3.0 * 1.25)
    assert_close(raised, 1.5 * np.sqrt(3.75**2 - 9.0) * np.asarray(noise))
    assert_close(Churn(1e3).raised(jnp.asarray(3.0), x, noise, 8)[0], 3.0 * np.sqrt(2))  # at most sqrt(2) - 1
    for outside in (0.01, 60.0):
        t, same = CHURN.raised(jnp.asarray(outside, FLOAT), x, noise, 8)
        assert float(t) == pytest.approx(outside)
        np.testing.assert_array_equal(same, x)


def test_churn_keeps_the_distribution_of_an_exact_denoiser():
    field = sj.GaussianField(jnp.full(4000, 0.25), sj.EDM(), mean=0.3)
    x = sj.heun(field, sj.karras_grid(num_steps=64), shape=(4000,), key=jr.key(0), churn=Churn(20.0)).x
    assert abs(np.mean(x) - 0.3) < 4 * 0.5 / np.sqrt(4000)
    assert abs(np.std(x) / 0.5 - 1) < 4 / np.sqrt(2 * 4000) + 0.01  # and the bias of 64 steps
    plain = sj.heun(field, sj.karras_grid(num_steps=64), shape=(4000,), key=jr.key(0)).x
    assert abs(np.corrcoef(x, plain)[0, 1]) < 0.5  # the noise was renewed on the way


def test_a_strength_of_zero_is_no_churn():
    ends = [sj.heun(PATTERNS, GRID, shape=(4, 3), key=jr.key(0), churn=churn).x for churn in (None, Churn(0.0))]
    assert_close(ends[0], ends[1])


def test_new_levels_keys_and_data_do_not_trace_again():
    counted = []

    def observe(t, x):
        counted.append(t)
        return x

    for i in range(3):
        field = sj.GaussianField((1 + i) * SPECTRUM, sj.EDM(), mean=jnp.asarray(0.1 * i))
        sj.heun(field, (1 + 0.1 * i) * GRID, shape=(6, 5), key=jr.key(i), observe=observe)
    assert len(counted) == 1


@pytest.mark.float32
def test_forward_mode_with_respect_to_the_start_is_the_difference_of_two_paths():
    x0, v = jr.normal(jr.key(0), (2, 6, 5))

    def end(x0):
        return sj.heun(FIELD, GRID, x0=x0, key=jr.key(0)).x

    # The map of a linear denoiser is affine.
    assert_close(jax.jvp(end, (x0,), (v,))[1], end(x0 + v) - end(x0), loosen=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": sj.GaussianField(SPECTRUM, sj.VP())}, r"got VP.*simulate\(field, ts, kind='flow', solver=diffrax"),
        ({"shape": None}, "give either shape or x0, and not both"),
        ({"shape": (6, 4)}, r"one configuration of shape \(6, 5\), got \(6, 4\).*jax.vmap"),
        ({"ts": GRID[::-1]}, "must decrease strictly"),
        ({"ts": GRID - 1.0}, "ts must not be negative, got -1"),
        ({"shape": None, "x0": jnp.full((6, 5), np.nan)}, "x0 must be finite"),
    ],
)
def test_heun_refuses(options, message):
    options = {"field": FIELD, "ts": GRID, "shape": (6, 5), "key": jr.key(0)} | options
    with pytest.raises(ValueError, match=message):
        sj.heun(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must be at least 1, got 0"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"members": jnp.arange(3)}, r"members must have shape \(2,\)"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_heun_ensemble_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        heun_ensemble(FIELD, GRID, **{"num": 2, "shape": (6, 5), "key": jr.key(0), **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "must not be negative, got -1.0 and 1.0"),
        ({"strength": 1.0, "noise_scale": -1.0}, "must not be negative"),
        ({"strength": 1.0, "t_min": 2.0, "t_max": 1.0}, "0 <= t_min <= t_max, got t_min = 2.0 and t_max = 1.0"),
    ],
)
def test_churn_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Churn(**options)


def test_a_trajectory_that_blows_up_is_reported():
    with pytest.raises(FloatingPointError, match="the final state is not finite"):
        sj.heun(sj.NetworkField(lambda t, x: jnp.exp(9e9 + x), sj.EDM(), "denoiser"), GRID, shape=(6, 5), key=jr.key(0))
