import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, needs_x64, within_standard_errors

import softjax as sj
from softjax.spectral import free_field_spectrum

SHAPE = (6, 6)
KEY = jr.key(3)
ALL_MODES = sj.fourier_modes(SHAPE, 3, "isotropic")
SHELLS = sj.fourier_modes(SHAPE, 2, "isotropic")
SPECTRUM = free_field_spectrum(SHAPE, 0.5, 2.0)
GRIDS = {
    "vp": (sj.VP.linear(0.2, 2.0, 4.0), sj.log_grid(3.0, 0.1, 30)),
    "edm": (sj.EDM(), sj.log_grid(20.0, 0.8, 30)),
}
DYNAMICS = {"flow": {"kind": "flow"}, "sde": {}, "langevin": {"stochasticity": 3.0}}
EVERY = pytest.mark.parametrize(("grid", "dynamics"), [("vp", "sde"), ("vp", "langevin"), ("edm", "flow")])


def patch(process):
    return sj.PatchField(sj.PatchDictionary(jr.normal(jr.key(0), (3, 3, 3))), process)


def weight_of_score(process, t, dynamics):
    share = {"flow": 0.5, "sde": 1.0, "langevin": 2.0}[dynamics]
    return share * process.beta(t)


def gaussian_rates(process, ts, dynamics, spectrum):
    """Growth rate of every mode of variance `spectrum` at every time, (times, modes)."""

    def rates(t):
        total = process.alpha(t) ** 2 * spectrum + process.sigma(t) ** 2
        return process.damping(t) - weight_of_score(process, t, dynamics) / total

    return np.asarray(jax.vmap(rates)(ts))


def spectrum_of(modes):
    return SPECTRUM[tuple(np.asarray(modes.wavevectors).T % 6)]


def path_of(field, ts, dynamics):
    return sj.simulate(
        field, ts, key=KEY, shape=SHAPE, engine="scan", observe=lambda t, x: x, **DYNAMICS[dynamics]
    ).observed


def dense_steps(field, ts, dynamics):
    """Jacobian of every step along the path, (steps, sites, sites), from the equation alone."""
    process = field.process

    def step(x, t, t_next):
        drift = process.damping(t) * x + weight_of_score(process, t, dynamics) * field.score(t, x)
        return x + (t - t_next) * drift

    jacobians = jax.jit(jax.vmap(jax.jacfwd(step)))(path_of(field, ts, dynamics)[:-1], ts[:-1], ts[1:])
    return np.asarray(jacobians).reshape(-1, 36, 36)


def maps_to_the_end(jacobians):
    """Product of the Jacobians from every time to the end, (times, sites, sites)."""
    maps = [np.eye(36)]
    for jacobian in jacobians[::-1]:
        maps.append(maps[-1] @ jacobian)
    return np.stack(maps[::-1])


@EVERY
@pytest.mark.float32
def test_the_path_is_that_of_simulate_bit_for_bit(grid, dynamics):
    process, ts = GRIDS[grid]
    got = sj.lyapunov(patch(process), ts, key=KEY, num=1, shape=SHAPE, iterations=1, **DYNAMICS[dynamics])
    np.testing.assert_array_equal(got.x, path_of(patch(process), ts, dynamics)[-1])
    plain = sj.simulate(patch(process), ts, key=KEY, shape=SHAPE, engine="scan", **DYNAMICS[dynamics])
    np.testing.assert_array_equal(got.x, plain.x)


@EVERY
@needs_x64
def test_plane_waves_of_a_gaussian_field_grow_as_the_discrete_map_says(grid, dynamics):
    process, ts = GRIDS[grid]
    field, h = sj.GaussianField(SPECTRUM, process), -np.diff(ts)[:, None]
    modes = ALL_MODES
    growth = np.log(np.abs(1 + h * gaussian_rates(process, ts[:-1], dynamics, spectrum_of(modes))))
    got = sj.lyapunov(
        field,
        ts,
        key=KEY,
        num=len(modes.shells),
        shape=SHAPE,
        start=modes.directions,
        shells=modes,
        num_probes=2,
        **DYNAMICS[dynamics],
    )
    np.testing.assert_allclose(got.growth[1:], np.cumsum(growth, axis=0), atol=1e-10)
    np.testing.assert_allclose(got.exponents, growth.sum(0) / (ts[0] - ts[-1]), rtol=1e-10, atol=1e-10)
    span = process.log_snr(ts[-1]) - process.log_snr(ts[0])
    np.testing.assert_allclose(got.exponents_per_log_snr, growth.sum(0) / span, rtol=1e-10, atol=1e-10)
    # Probes of modulus 1 are exact for convolutions, however few.
    to_the_end = np.concatenate([np.cumsum(growth[::-1], axis=0)[::-1], np.zeros((1, growth.shape[1]))])
    np.testing.assert_allclose(got.amplification, modes.shell_mean(jnp.asarray(np.exp(2 * to_the_end).T)).T, rtol=1e-10)
    np.testing.assert_allclose(got.amplification_error, 0, atol=1e-10)
    np.testing.assert_allclose(got.whole_amplification[0], np.mean(np.exp(2 * whole_growth(process, ts, dynamics))))


def whole_growth(process, ts, dynamics):
    rates = gaussian_rates(process, ts[:-1], dynamics, SPECTRUM.ravel())
    return np.log(np.abs(1 - np.diff(ts)[:, None] * rates)).sum(0)


@needs_x64
@pytest.mark.parametrize("grid", GRIDS)
def test_the_search_finds_the_directions_that_grow_the_most(grid):
    process, ts = GRIDS[grid]
    field, h = sj.GaussianField(SPECTRUM, process), -np.diff(ts)[:, None]
    growth = np.log(np.abs(1 + h * gaussian_rates(process, ts[:-1], "flow", SPECTRUM.ravel()))).sum(0)
    got = sj.lyapunov(field, ts, key=KEY, num=5, shape=SHAPE, kind="flow", iterations=80)
    np.testing.assert_allclose(got.growth[-1], np.sort(growth)[::-1][:5], atol=1e-10)
    np.testing.assert_allclose(got.change, 0, atol=1e-10)
    content = jax.vmap(sj.spectral_content)(got.starts)
    np.testing.assert_allclose(content[0, 0], 1, atol=1e-10)  # the mean, then the four of the next shell
    np.testing.assert_allclose(content[1:, 1], 1, atol=1e-10)


@needs_x64
@pytest.mark.optimised
@pytest.mark.parametrize("grid", GRIDS)
def test_small_steps_give_the_integral_of_the_growth_rates(grid):
    process, ts = GRIDS[grid]
    fine = jnp.interp(jnp.linspace(0, 1, 4001), jnp.linspace(0, 1, len(ts)), ts)
    modes = SHELLS
    got = sj.lyapunov(
        sj.GaussianField(SPECTRUM, process),
        fine,
        key=KEY,
        num=len(modes.shells),
        shape=SHAPE,
        kind="flow",
        start=modes.directions,
    )
    # The flow carries the standard deviation of each mode along.
    deviation = [np.sqrt(process.alpha(t) ** 2 * spectrum_of(modes) + process.sigma(t) ** 2) for t in (ts[0], ts[-1])]
    np.testing.assert_allclose(got.growth[-1], np.log(deviation[1] / deviation[0]), atol=5e-3)


@needs_x64
@pytest.mark.optimised
def test_the_uniform_mode_of_two_patterns_grows_at_the_rate_of_the_theory():
    process = sj.VP()
    field = sj.PatchField(sj.PatchDictionary.two_pattern(3), process)
    ts = sj.log_grid(3.0, 0.3, 2000)
    uniform = jnp.full((1, *SHAPE), 1 / 6, FLOAT)
    got = sj.lyapunov(field, ts, key=KEY, num=1, x0=jnp.zeros(SHAPE, FLOAT), kind="flow", start=uniform)
    rates = np.asarray(jax.vmap(lambda t: sj.theory.flow_growth_rate(process, t, 9))(ts))
    np.testing.assert_array_equal(got.x, 0)
    np.testing.assert_allclose(got.growth[1:, 0], np.cumsum(np.log1p(-np.diff(ts) * rates[:-1])), rtol=1e-10)
    np.testing.assert_allclose(got.growth[-1, 0], -np.trapezoid(rates, ts), rtol=0.02)
    one = sj.lyapunov(field, ts, key=KEY, num=1, x0=jnp.zeros(SHAPE, FLOAT), kind="flow", iterations=2)
    np.testing.assert_allclose(one.growth[-1], got.growth[-1], rtol=1e-10)  # none grows faster


@needs_x64
def test_all_waves_of_two_patterns_grow_as_the_dictionary_spectrum_says():
    process, ts = sj.EDM(), sj.log_grid(20.0, 2.0, 60)  # whose probed drift is the flow's
    dictionary = sj.PatchDictionary.two_pattern(3)
    got = sj.lyapunov(
        sj.PatchField(dictionary, process),
        ts,
        key=KEY,
        num=36,
        x0=jnp.zeros(SHAPE, FLOAT),
        kind="flow",
        iterations=100,
    )
    rates = jax.vmap(lambda t: sj.theory.dictionary_spectrum(dictionary, process, t, SHAPE))(ts[:-1])
    factors = np.prod(1 - np.diff(ts)[:, None, None] * np.asarray(rates), axis=0)
    np.testing.assert_allclose(np.sum(got.growth[-1]), np.sum(np.log(np.abs(factors))), rtol=1e-10)
    np.testing.assert_allclose(np.sort(got.growth[-1]), np.sort(np.log(np.abs(factors)).ravel()), atol=1e-8)


@EVERY
@needs_x64
def test_all_exponents_add_up_to_the_determinants(grid, dynamics):
    process, ts = GRIDS[grid]
    field = patch(process)
    got = sj.lyapunov(field, ts, key=KEY, num=36, shape=SHAPE, iterations=1, batch_size=10, **DYNAMICS[dynamics])
    determinants = np.linalg.slogdet(dense_steps(field, ts, dynamics))[1]
    np.testing.assert_allclose(np.sum(got.growth[1:], axis=1), np.cumsum(determinants), rtol=1e-9, atol=1e-9)


@needs_x64
@pytest.mark.optimised
def test_small_steps_give_the_integral_of_the_trace():
    process, ts = GRIDS["edm"]
    ts = jnp.interp(jnp.linspace(0, 1, 1201), jnp.linspace(0, 1, len(ts)), ts)
    field = patch(process)
    got = sj.lyapunov(field, ts, key=KEY, num=36, shape=SHAPE, kind="flow", start=ALL_SITES)
    steps = dense_steps(field, ts, "flow")
    traces = np.trace(steps - np.eye(36), axis1=1, axis2=2).sum()  # the left sum of the integral
    np.testing.assert_allclose(np.sum(got.growth[-1]), traces, rtol=0.02)


ALL_SITES = jnp.eye(36, dtype=FLOAT).reshape(36, *SHAPE)


@EVERY
@needs_x64
@pytest.mark.slow
@pytest.mark.optimised
def test_amplification_is_that_of_the_dense_product(grid, dynamics):
    process, ts = GRIDS[grid]
    field = patch(process)
    options = {"key": KEY, "shape": SHAPE, **DYNAMICS[dynamics]}
    got = sj.lyapunov(field, ts, num=4, iterations=60, shells=SHELLS, num_probes=300, batch_size=100, **options)
    maps = maps_to_the_end(dense_steps(field, ts, dynamics))
    images = maps @ np.asarray(SHELLS.directions).reshape(-1, 36).T
    wanted = np.asarray(SHELLS.shell_mean(np.sum(images**2, axis=1).T)).T
    assert within_standard_errors(got.amplification[:-1], wanted[:-1], got.amplification_error[:-1], 4.5)
    np.testing.assert_allclose(got.amplification[-1], 1, rtol=1e-12)
    whole = np.mean(maps**2, axis=(1, 2)) * 36
    np.testing.assert_allclose(got.whole_amplification, whole, rtol=0.15)
    assert np.median(got.amplification_error / got.amplification) < 0.1
    singular = np.linalg.svd(maps[0], compute_uv=False)
    np.testing.assert_allclose(got.growth[-1], np.log(singular[:4]), atol=1e-4)
    ends = maps[0] @ np.asarray(got.starts).reshape(4, 36).T
    aligned = np.sum(ends / np.linalg.norm(ends, axis=0) * np.asarray(got.ends).reshape(4, 36).T, axis=0)
    np.testing.assert_allclose(np.abs(aligned), 1, rtol=1e-6)


@needs_x64
@pytest.mark.slow
def test_members_are_a_vmap_over_keys():
    process, ts = GRIDS["vp"]
    field = patch(process)

    def member(key):
        return sj.lyapunov(field, ts, key=key, num=2, shape=SHAPE, iterations=2, shells=SHELLS)

    members = eqx.filter_jit(jax.vmap(member))(jr.split(KEY, 3))
    alone = member(jr.split(KEY, 3)[1])
    assert members.exponents.shape == members.exponents_per_log_snr.shape == (3, 2)
    assert_close(members.exponents[1], alone.exponents, loosen=100)
    assert_close(members.amplification[1], alone.amplification, loosen=100)


class Coloured(sj.AbstractField):
    """Channels that are mixed, site by site: every step is the same matrix at all sites."""

    process: sj.AbstractProcess
    channels = 3

    def denoise(self, t, x):
        return jnp.stack([0.3 * x[..., 0], 0.2 * x[..., 0] + 0.5 * x[..., 1], 0.1 * x[..., 2]], axis=-1)


@needs_x64
@pytest.mark.parametrize("channel", ["equal", 1, "block"])
def test_channels(channel):
    field, ts = Coloured(sj.EDM()), sj.karras_grid(20.0, 0.5, 12)
    got = sj.lyapunov(
        field, ts, key=KEY, num=2, shape=(*SHAPE, 3), kind="flow", shells=SHELLS, num_probes=300, channel=channel
    )
    mix = np.asarray([[0.3, 0, 0], [0.2, 0.5, 0], [0, 0, 0.1]]) - np.eye(3)
    whole = np.eye(3)
    for t, t_next in zip(ts[:-1], ts[1:], strict=True):
        whole = (np.eye(3) + (t - t_next) / t * mix) @ whole
    directions = {"equal": np.ones((3, 1)) / 3**0.5, 1: np.eye(3)[:, 1:2], "block": np.eye(3)}[channel]
    wanted = np.mean(np.sum((whole @ directions) ** 2, axis=0))
    assert got.starts.shape == (2, *SHAPE, 3)
    if channel == 1:  # reaches no other channel: each probe is exact
        np.testing.assert_allclose(got.amplification[0], wanted, rtol=1e-10)
    else:
        assert within_standard_errors(got.amplification[0], wanted, got.amplification_error[0])


def test_a_grid_may_end_without_noise():
    field = sj.GaussianField(SPECTRUM, sj.EDM())
    got = sj.lyapunov(field, sj.karras_grid(20.0, 0.05, 20), key=KEY, num=2, shape=SHAPE, kind="flow")
    assert got.ts[-1] == 0
    assert np.all(np.isfinite(got.growth))
    np.testing.assert_array_equal(got.exponents_per_log_snr, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num": 0}, "num must be at least 1"),
        ({"num": 37}, "num must be at most the components of x"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"num_probes": 1}, "num_probes must be at least 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"start": ALL_SITES}, "start must be one"),
        ({"start": np.ones((2, *SHAPE))}, "must be linearly independent"),
        ({"start": np.zeros((2, *SHAPE))}, "must hold no zero tangent"),
        ({"shells": sj.fourier_modes((6, 8), 2)}, "x must be one configuration"),
        ({"channels": 3}, "channels=3 does not fit GaussianField"),
        ({"stochasticity": -1.0}, "stochasticity must not be negative"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    process, ts = GRIDS["vp"]
    with pytest.raises(ValueError, match=message):
        sj.lyapunov(sj.GaussianField(SPECTRUM, process), ts, **{"key": KEY, "num": 2, "shape": SHAPE, **wrong})


def test_one_line_shows_it():
    process, ts = GRIDS["vp"]
    got = sj.lyapunov(patch(process), ts, key=KEY, num=2, shape=SHAPE, iterations=1, shells=SHELLS)
    shown = repr(got)
    assert shown.startswith("PathGrowth(31 times from 3 to 0.1, 2 exponents ")
    assert "3 shells amplified by" in shown
    assert "\n" not in shown
