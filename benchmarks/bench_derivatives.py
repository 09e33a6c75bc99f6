"""Are exact Jacobian-vector products worth it, against central differences of the same function?

J is the Jacobian of the reverse drift (of a bare torch module, of itself) at one state: noise on domains of two signs.
Steps are in units of sigma(t), for directions of unit norm. Errors are against exact products in double precision at
the very same state, with the very same weights.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import Program, compiled

import softjax as sj
from softjax.convert import load_network, shipped

STEPS = np.logspace(-8, 1, 19)
PAPER = 1e-2
KEEP = 45  # points of a curve along a trajectory

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own


class Subject(NamedTuple):
    """A function of a tree of arrays and a state, the state, and the noise there."""

    function: Callable[[Any, jax.Array], jax.Array]
    arrays: Any
    x: np.ndarray
    sigma: float
    field: sj.AbstractField | None
    t: float


def domains(side: int, channels: int = 0, key: int = 0) -> np.ndarray:
    """Smooth noise, its signs."""
    noise = np.fft.fft2(np.random.default_rng(key).normal(size=(side, side)))
    k2 = np.add.outer(np.fft.fftfreq(side) ** 2, np.fft.fftfreq(side) ** 2)
    signs = np.where(np.fft.ifft2(noise * np.exp(-200 * k2)).real >= 0, 1.0, -1.0)
    return np.stack([signs] * channels, -1) if channels else signs


def of_field(field: sj.AbstractField, clean: np.ndarray, t: float) -> Subject:
    arrays, static = eqx.partition(field, eqx.is_array)
    alpha, sigma = float(field.process.alpha(t)), float(field.process.sigma(t))
    x = alpha * clean + sigma * np.random.default_rng(1).normal(size=clean.shape)

    def function(arrays: Any, x: jax.Array) -> jax.Array:
        return sj.reverse_drift(eqx.combine(arrays, static), t, x)

    return Subject(function, arrays, x.astype(np.float32), sigma, field, t)


def torch_unet() -> Subject:
    """Of diffusers, random, without attention."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        **{"sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 8},
        **{"block_out_channels": (32, 64), "down_block_types": ("DownBlock2D",) * 2, "add_attention": False},
        up_block_types=("UpBlock2D",) * 2,
    )
    unet.requires_grad_(False).eval()
    network = sj.interop.from_torch(unet, shape=(32, 32, 3), channels="first", output="sample")
    arrays, static = eqx.partition(network, eqx.is_array)
    x = domains(32, 3) + np.random.default_rng(1).normal(size=(32, 32, 3))
    return Subject(lambda a, x: eqx.combine(a, static)(500.0, x), arrays, x.astype(np.float32), 1.0, None, 500.0)


@lru_cache
def subject(name: str) -> Subject:
    if name == "patch field":
        return of_field(sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP()), domains(64), 1.0)
    if name == "LocalField":
        images = np.stack([domains(28, key=key) for key in range(2)])
        return of_field(sj.LocalField(images.astype(np.float32), 5, sj.VP(), key=jr.key(0)), domains(28, key=99), 1.0)
    if name == "U-Net":
        return of_field(load_network(shipped("fashion-binary")), domains(28), 1.0)
    if name == "EDM2":
        return of_field(load_network(shipped("edm2-fashion"), 3), 0.87 * domains(32, 1), 1.0)
    return torch_unet()


SUBJECTS = ("patch field", "LocalField", "U-Net", "EDM2", "torch module")


def skip_if_long(size: Callable, name: str, shells: int = 0) -> None:
    """Networks that compile long, and many directions, at small size."""
    if (name in SUBJECTS[3:] or shells > 2) and size(True, False, False):
        pytest.skip("not at small size")


def directions(x: np.ndarray, max_shell: int) -> sj.FourierModes:
    return sj.fourier_modes(x.shape[:2], max_shell)


def in_all_channels(modes: sj.FourierModes, x: np.ndarray) -> np.ndarray:
    """(directions, *shape), of unit norm."""
    v = np.asarray(modes.directions, np.float32)
    return v if x.ndim == 2 else np.stack([v] * x.shape[-1], -1) / np.float32(np.sqrt(x.shape[-1]))


def differences(function: Callable, arrays: Any, x: jax.Array, v: jax.Array, step: jax.Array) -> jax.Array:
    """All directions and both signs in one batch."""
    shifted = jax.vmap(lambda move: function(arrays, x + move))(jnp.concatenate([step * v, -step * v]))
    return (shifted[: len(v)] - shifted[len(v) :]) / (2 * step)


def jvps(function: Callable, arrays: Any, x: jax.Array, v: jax.Array) -> jax.Array:
    return jax.vmap(lambda v: jax.jvp(lambda x: function(arrays, x), (x,), (v,))[1])(v)


def linearised(function: Callable, arrays: Any, x: jax.Array, v: jax.Array) -> jax.Array:
    return jax.vmap(jax.linearize(lambda x: function(arrays, x), x)[1])(v)


def transposed(function: Callable, arrays: Any, x: jax.Array, v: jax.Array) -> jax.Array:
    """J^T v."""
    pull = jax.vjp(lambda x: function(arrays, x), x)[1]
    return jax.vmap(lambda v: pull(v)[0])(v)


def wide(tree: Any) -> Any:
    """In double precision, where that is enabled."""
    return jax.tree.map(lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def apart(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", SUBJECTS)
def bench_error_against_step(benchmark, record, size, name):
    """Of J v along the constant and one wave of shell 1."""
    skip_if_long(size, name)
    function, arrays, x, sigma, *_ = subject(name)
    v = in_all_channels(directions(x, 1), x)[:2]
    with jax.enable_x64(True):
        inputs = wide(arrays), jnp.asarray(x, jnp.float64), jnp.asarray(v, jnp.float64)
        exact = np.asarray(compiled(lambda *inputs: linearised(function, *inputs), *inputs).run())
        double = errors_of_steps(function, inputs, sigma, exact)
    inputs = arrays, jnp.asarray(x), jnp.asarray(v)
    single = compiled(lambda *inputs: (linearised(function, *inputs), transposed(function, *inputs)), *inputs)
    jv, transpose = single.run()
    record(
        series="step",
        subject=name,
        steps=STEPS,
        float32=errors_of_steps(function, inputs, sigma, exact),
        float64=double,
        exact_float32=apart(jv, exact),
        asymmetry=apart(transpose, jv),
        sigma=sigma,
    )
    benchmark.pedantic(single.run, rounds=1)


def errors_of_steps(function: Callable, inputs: Any, sigma: float, exact: np.ndarray) -> list[float]:
    steps = jnp.asarray(sigma * STEPS, inputs[1].dtype)
    program = jax.jit(lambda *inputs: differences(function, *inputs)).lower(*inputs, steps[0]).compile()
    return [apart(program(*inputs, step), exact) for step in steps]


CASES = [(name, shells) for name in SUBJECTS[:3] for shells in (0, 2, 14)]
CASES += [(name, shells) for name in SUBJECTS[3:] for shells in (0, 6)]
MANY = 6  # shells from which on all ways are tried


@pytest.mark.parametrize(("name", "shells"), CASES)
def bench_cost_of_directions(measure, record, size, name, shells):
    """1, 9 and 57 directions (networks that compile long: 1 and 25): both numbers of each, by every way, in turn."""
    skip_if_long(size, name, shells)
    function, arrays, x, sigma, field, t = subject(name)
    modes = directions(x, shells)
    inputs = arrays, jnp.asarray(x), jnp.asarray(in_all_channels(modes, x))
    programs = {way: measured(function, inputs, product) for way, product in products(name, shells, sigma).items()}
    programs["one evaluation"] = evaluation(name)
    if isinstance(field, sj.PatchField | sj.LocalField):
        programs["ModeProbe"] = compiled(lambda probe, x: probe(t, x), sj.ModeProbe(field, modes), inputs[1])
    found = measure(size(1, 20 if name == "patch field" else 3, 30), *programs.values())
    record(
        series="cost",
        subject=name,
        directions=len(modes.directions),
        seconds=dict(zip(programs, found, strict=True)),
        compile_s={way: program.compile_s for way, program in programs.items()},
        temporary_mb={way: (program.temporary_bytes or 0) / 1e6 for way, program in programs.items()},
    )


@lru_cache
def evaluation(name: str) -> Program:
    function, arrays, x, *_ = subject(name)
    return compiled(function, arrays, jnp.asarray(x))


def products(name: str, shells: int, sigma: float) -> dict[str, Callable]:
    """J v by way; reverse mode and products one by one where directions are many and programs quick to compile."""
    step = jnp.float32(PAPER * sigma)
    found = {"linearize": linearised, "differences": partial(differences, step=step)}
    if shells > MANY:
        found["reverse"] = transposed
        if name != "U-Net":
            found["jvp"] = jvps
    return found


def measured(function: Callable, inputs: Any, product: Callable) -> Program:
    """Rayleigh quotient and magnitude of each direction."""

    def run(arrays: Any, x: jax.Array, v: jax.Array) -> Any:
        jv, axes = product(function, arrays, x, v), tuple(range(1, v.ndim))
        return jnp.sum(v * jv, axes), jnp.sqrt(jnp.sum(jv**2, axes))

    return compiled(run, *inputs)


def patch_path(size: Callable) -> tuple[sj.AbstractField, np.ndarray, np.ndarray, float]:
    """The default patch experiment, every third time: field, times, states (trajectories, times, ...), and the lowest
    time of the search for a peak."""
    field, ts = (
        sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP()),
        sj.log_grid(6.0, 1e-3, size(20, 400, 400)),
    )
    options = {"key": jr.key(1), "engine": "scan", "observe": lambda t, x: x}
    run = sj.simulate_ensemble(field, ts, shape=(64, 64), num=size(1, 2, 8), **options)
    lowest = 0.1 * float(sj.theory.dictionary_critical_time(field.dictionary, field.process, (64, 64)))
    return field, np.asarray(ts)[::3], np.asarray(run.observed)[:, ::3], lowest


def edm2_path(size: Callable) -> tuple[sj.AbstractField, np.ndarray, np.ndarray, float]:
    """The small EDM2 along its deterministic sampler."""
    field, ts = load_network(shipped("edm2-fashion"), 3), sj.karras_grid(num_steps=size(4, 32, 32))
    run = sj.heun_ensemble(field, ts, key=jr.key(1), num=size(1, 2, 8), shape=(32, 32, 1), observe=lambda t, x: x)
    states = np.asarray(run.observed)
    return field, np.asarray(ts)[: states.shape[1]], states, 0.1


@pytest.mark.parametrize(("name", "path", "shells"), [("patch field", patch_path, 6), ("EDM2", edm2_path, 3)])
def bench_along_trajectories(benchmark, record, size, name, path, shells):
    """What differences get wrong of responses, equilibrium lengths and the critical point, on the same states."""
    skip_if_long(size, name)
    field, ts, states, lowest = path(size)
    modes = directions(states[0, 0], shells)
    arrays, static = eqx.partition(field, eqx.is_array)

    def responses(arrays: Any, ts: jax.Array, xs: jax.Array, directions: Any, step: float | None) -> jax.Array:
        """Magnitudes, (trajectories, times, directions)."""
        field = eqx.combine(arrays, static)

        def one(t: jax.Array, x: jax.Array) -> jax.Array:
            how: dict[str, Any] = {"channels": x.ndim - 2}
            if step is not None:
                how |= {"method": "finite_difference", "step": step * field.process.sigma(t)}
            return sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, directions, **how).direction_magnitude

        return jax.lax.map(lambda x: jax.lax.map(lambda pair: one(*pair), (ts, x)), xs)

    run = jax.jit(responses, static_argnums=4)
    with jax.enable_x64(True):
        double = wide(modes)
        exact = np.asarray(run(wide(arrays), jnp.asarray(ts, float), jnp.asarray(states, float), double, None))
    reference = lengths_of(exact, ts, modes, lowest)
    for step in (None, 1e-3, PAPER, 1e-1) if name == "patch field" else (None, PAPER):
        found = np.asarray(run(arrays, jnp.asarray(ts), jnp.asarray(states), modes, step), float)
        lengths = lengths_of(found, ts, modes, lowest)
        record(
            series="trajectory",
            subject=name,
            step=step,
            trajectories=len(states),
            directions=exact.shape[-1],
            lowest=lowest,
            **compared(ts, exact, found, reference, lengths, lowest),
        )
    benchmark.pedantic(lambda: None, rounds=1)


def lengths_of(magnitudes: np.ndarray, ts: np.ndarray, modes: sj.FourierModes, lowest: float) -> tuple[Any, float]:
    """Equilibrium lengths (trajectories, times), and where their median peaks, NaN if at an end; double precision."""
    shells = np.stack([magnitudes[..., modes.shells == n].mean(-1) for n in range(modes.num_shells)], -1)
    with jax.enable_x64(True):
        wide_ts, wavenumbers, means = (jnp.asarray(np.asarray(a, float)) for a in (ts, modes.wavenumbers, shells))
        lengths = sj.equilibrium_correlation_length(wavenumbers, means).length
        peak = sj.critical_point(wide_ts, lengths, key=jr.key(0), num_bootstrap=1, window=(lowest, np.inf))
        return np.asarray(lengths), np.nan if int(peak.reason_code) else float(peak.location)


def compared(ts, exact, found, reference, lengths, lowest) -> dict[str, Any]:
    """The largest errors; curves are the largest in each of some spans of time."""
    relative = np.abs(found - exact) / exact
    apart = np.abs(lengths[0] - reference[0])
    searched = ts >= lowest
    spans = np.array_split(np.arange(len(ts)), min(KEEP, len(ts)))
    return {
        "worst_response": float(relative.max()),
        "worst_response_at": float(ts[relative.max(axis=(0, 2)).argmax()]),
        "worst_length": float(apart.max()),
        "worst_length_at": float(ts[apart.max(axis=0).argmax()]),
        "worst_length_searched": float(apart[:, searched].max()),
        "longest": float(reference[0][:, searched].max()),
        "critical": lengths[1],
        "critical_exact": reference[1],
        "times": [float(ts[span].mean()) for span in spans],
        "response_error": [float(relative[:, span].max()) for span in spans],
        "length_error": [float(apart[:, span].max()) for span in spans],
    }
