"""What does the whole Brillouin zone cost, against central differences mode by mode of the same fast score?

All 4096 directions of a 64 x 64 lattice are timed, none extrapolated. Accuracy is the largest error of the growth rate
over all wavevectors, against the exact value in double precision; the random probes' is their scatter, which the
inhomogeneous state causes and more probes reduce.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import compiled

import softjax as sj

SIDE, T = 64, 3.0


def field() -> sj.PatchField:
    return sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())


def state() -> jax.Array:
    return jr.normal(jr.key(1), (SIDE, SIDE), jnp.float32)


def drift(x: jax.Array) -> jax.Array:
    return sj.reverse_drift(field(), T, x)


def hartley_directions() -> jax.Array:
    """cos(k.r) + sin(k.r), of unit norm, for every k: a real orthonormal basis of the zone, (4096, 64, 64)."""
    sites = np.stack(np.meshgrid(*[np.arange(SIDE)] * 2, indexing="ij"), axis=-1)
    phase = 2 * np.pi / SIDE * np.einsum("ija,kla->klij", sites, sites)
    return jnp.asarray((np.cos(phase) + np.sin(phase)) / SIDE, jnp.float32).reshape(-1, SIDE, SIDE)


def central_differences(x: jax.Array, directions: jax.Array, step: float) -> jax.Array:
    """Growth rate at every wavevector: the mean Rayleigh quotient of k and -k, which span the Fourier pair."""

    def rayleigh(v: jax.Array) -> jax.Array:
        return jnp.vdot(v, drift(x + step * v) - drift(x - step * v)) / (2 * step)

    rates = jax.lax.map(rayleigh, directions, batch_size=64).reshape(SIDE, SIDE)
    return 0.5 * (rates + jnp.roll(rates[::-1, ::-1], 1, (0, 1)))


def exact_growth_rates() -> np.ndarray:
    patterns, log_prior, x = (
        np.asarray(a, float) for a in (field().dictionary.patterns, field().dictionary.log_prior, state())
    )
    with jax.enable_x64(True):
        double = sj.PatchField(sj.PatchDictionary(patterns, jax.nn.log_softmax(log_prior)), sj.VP())
        growth = sj.local_dispersion(lambda x: sj.reverse_drift(double, T, x), jnp.asarray(x), 2).real
        return np.asarray(growth)


@pytest.mark.parametrize("what", ["local_dispersion", "dispersion, 16 probes"])
def bench_whole_zone_against_central_differences(versus, what):
    exact = exact_growth_rates()
    if what == "local_dispersion":
        ours = compiled(lambda x: sj.local_dispersion(drift, x, 2), state())
        mine = np.asarray(ours.run())
    else:
        ours = compiled(lambda x: sj.dispersion(drift, x, key=jr.key(2)), state())
        mine = np.asarray(ours.run()[0])
    # 0.1 is the most accurate of the steps 0.01, 0.1, 0.3, 1 and 3 in single precision; it moves a site by 0.1/64
    peer = compiled(lambda x, v: central_differences(x, v, 0.1), state(), hartley_directions())
    error, peer_error = (float(np.max(np.abs(np.real(rates) - exact))) for rates in (mine, np.asarray(peer.run())))
    sizes = {
        "lattice": (SIDE, SIDE),
        "wavevectors": SIDE**2,
        "error": f"{error:.1e}",
        "peer_error": f"{peer_error:.1e}",
    }
    versus(what, ours, peer, rounds=5, **sizes)
