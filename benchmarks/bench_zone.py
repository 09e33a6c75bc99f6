"""What does the growth rate of every wavevector cost, and how exact is it?

All wavevectors of the lattice are timed, none extrapolated: 64 x 64 at the default size. Errors are of the growth rate
(the real part), the largest over the zone, in units of the magnitude of the response at that wavevector (growth rates
change sign), against Jacobian-vector products of every mode in double precision. The states are noise before the
transition, and one inside it, where domains form and random probes scatter most.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from timing import Program, compiled

import softjax as sj

EARLY, INSIDE = 4.0, 1.3
STEP = 0.1  # the most accurate of the steps 0.01, 0.1, 0.3, 1 and 3 in single precision


def ising() -> sj.PatchField:
    return sj.PatchField(sj.PatchDictionary.ising(5, key=jr.key(0)), sj.VP())


def states(side: int, num: int = 1) -> jax.Array:
    """Inside the transition, (num, side, side)."""
    ts = sj.log_grid(6.0, INSIDE, 100)
    return sj.simulate_ensemble(ising(), ts, key=jr.key(1), num=num, shape=(side, side), engine="scan").x


def drift(field: sj.PatchField, t: jax.Array) -> Callable[[jax.Array], jax.Array]:
    return lambda x: sj.reverse_drift(field, t, x)


def hartley_directions(side: int) -> np.ndarray:
    """cos(k.r) + sin(k.r), of unit norm, for every k: a real orthonormal basis of the zone, (side^2, side, side)."""
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), axis=-1)
    phase = 2 * np.pi / side * np.einsum("ija,kla->klij", sites, sites)
    return ((np.cos(phase) + np.sin(phase)) / side).reshape(-1, side, side)


def over_phases(values: jax.Array, side: int) -> jax.Array:
    """The mean of k and -k, whose two Hartley waves are a quarter of a period apart: the mean over all phases."""
    zone = values.reshape(side, side)
    return 0.5 * (zone + jnp.roll(zone[::-1, ::-1], 1, (0, 1)))


def by_products(field: sj.PatchField, t: jax.Array, x: jax.Array, directions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rayleigh quotients and squared magnitudes, one Jacobian-vector product for each wavevector."""
    jacobian = jax.linearize(drift(field, t), x)[1]

    def respond(v: jax.Array) -> tuple[jax.Array, jax.Array]:
        jv = jacobian(v)
        return jnp.vdot(v, jv), jnp.vdot(jv, jv)

    found = jax.lax.map(respond, directions, batch_size=64)
    return tuple(over_phases(values, x.shape[0]) for values in found)  # pyright: ignore[reportReturnType]


def by_differences(field: sj.PatchField, t: jax.Array, x: jax.Array, directions: jax.Array) -> jax.Array:
    f = drift(field, t)

    def rayleigh(v: jax.Array) -> jax.Array:
        return jnp.vdot(v, f(x + STEP * v) - f(x - STEP * v)) / (2 * STEP)

    return over_phases(jax.lax.map(rayleigh, directions, batch_size=64), x.shape[0])


_DOUBLE = jax.jit(by_products)


def exact(t: float, x: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Growth rates and root mean square magnitudes of the zone, in double precision."""
    patterns, log_prior = (np.asarray(a, float) for a in (ising().dictionary.patterns, ising().dictionary.log_prior))
    with jax.enable_x64(True):
        field = sj.PatchField(sj.PatchDictionary(patterns, jax.nn.log_softmax(log_prior)), sj.VP())
        directions = jnp.asarray(hartley_directions(x.shape[0]))
        rates, squares = _DOUBLE(field, jnp.asarray(t), jnp.asarray(np.asarray(x, float)), directions)
        return np.asarray(rates), np.sqrt(squares)


def ways(side: int, num_probes: tuple[int, ...]) -> tuple[dict[str, tuple[int, Callable]], tuple[Any, ...]]:
    """The number of products and the function of each way; and what all are given before time and state."""
    colours = (-(-side // (side // 5))) ** 2
    found: dict[str, tuple[int, Callable]] = {
        "ZoneProbe": (0, lambda field, zone, v, t, x: zone(t, x)),
        "local_dispersion": (colours, lambda field, zone, v, t, x: sj.local_dispersion(drift(field, t), x, 2)),
        "mode by mode, exact": (side**2, lambda field, zone, v, t, x: by_products(field, t, x, v)[0]),
        "mode by mode, differences": (2 * side**2, lambda field, zone, v, t, x: by_differences(field, t, x, v)),
    }
    for num in num_probes:
        probes = partial(sj.dispersion, key=jr.key(2), num_probes=num)
        found[f"dispersion, {num} probes"] = num, partial(_by_probes, probes)
    field = ising()
    return found, (field, sj.ZoneProbe(field, (side, side)), jnp.asarray(hartley_directions(side), jnp.float32))


def _by_probes(probes: Callable, field: sj.PatchField, zone: Any, v: Any, t: jax.Array, x: jax.Array) -> jax.Array:
    return probes(drift(field, t), x).rates


def errors_of(found: Any, rates: np.ndarray, magnitudes: np.ndarray) -> dict[str, float]:
    """The largest error of the zone; of a `ZoneResponse` also those of its magnitude and leakage."""
    if not isinstance(found, sj.ZoneResponse):
        return {"growth rate": float(np.max(np.abs(np.real(np.asarray(found)) - rates) / magnitudes))}
    kept = np.hypot(rates, np.imag(np.asarray(found.rates, complex)))
    leakage = np.sqrt(np.maximum(1 - (kept / magnitudes) ** 2, 0))
    return {
        **errors_of(found.rates, rates, magnitudes),
        "magnitude": float(np.max(np.abs(np.asarray(found.magnitude) / magnitudes - 1))),
        "leakage": float(np.max(np.abs(np.asarray(found.leakage) - leakage))),
    }


def bench_ways_to_the_whole_zone(measure, record, size):
    """One state: seconds, and errors on noise and inside the transition."""
    side, num_probes = size(16, 64, 64), size((16,), (16, 256, 4096), (16, 256, 4096))
    found, given = ways(side, num_probes)
    cases = {"noise": (EARLY, jr.normal(jr.key(1), (side, side))), "domains": (INSIDE, states(side)[0])}
    last = jnp.asarray(INSIDE), cases["domains"][1]
    programs = {name: compiled(way, *given, *last) for name, (_, way) in found.items()}
    errors: dict[str, dict[str, dict[str, float]]] = {name: {} for name in found}
    for case, (t, x) in cases.items():
        wanted = exact(t, x)
        for name, program in programs.items():
            assert program.call is not None
            errors[name][case] = errors_of(program.call(*given, jnp.asarray(t), x), *wanted)
        assert max(errors["ZoneProbe"][case].values()) < 1e-3, errors["ZoneProbe"]
    seconds = measure(size(2, 7, 7), *programs.values())
    for (name, (products, _)), program, spread in zip(found.items(), programs.values(), seconds, strict=True):
        record(
            series="way",
            what=name,
            side=side,
            products=products,
            seconds=spread,
            compile_s=program.compile_s,
            temporary_bytes=program.temporary_bytes,
            errors=errors[name],
        )


def bench_whole_zone_against_25_directions(measure, record, size):
    """A batch of states: the whole zone against the modes that a trajectory is probed with by default."""
    side, batch = 64, size(2, 8, 8)
    shape, t, xs = (side, side), jnp.asarray(INSIDE), states(side, batch)
    modes = sj.fourier_modes(shape, 6)
    probes = sj.ZoneProbe(ising(), shape), sj.ModeProbe(ising(), modes)

    def program(probe: Any) -> Program:
        return compiled(lambda probe, t, xs: jax.vmap(lambda x: probe(t, x))(xs), probe, t, xs)

    zone, directions = map(program, probes)
    response = zone.run().rayleigh
    for n in (5, 6):  # one cosine and its sine
        both = directions.run().direction_rayleigh[:, 2 * n - 1 : 2 * n + 1].mean(axis=1)
        np.testing.assert_allclose(response[:, *map(int, modes.wavevectors[2 * n])], both, rtol=1e-4)
    ours, theirs = measure(size(5, 100, 300), zone, directions)
    record(
        series="against directions",
        batch=batch,
        wavevectors=side**2,
        directions=len(modes.directions),
        seconds=ours,
        peer_seconds=theirs,
        share=ours.median / theirs.median,
    )
