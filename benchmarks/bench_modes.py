"""What do exact mode responses cost, against the paper's central differences of the same fast score?"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from timing import compiled

import softjax as sj

SIDE = 64


def setting(num_directions: int) -> tuple[sj.PatchField, sj.FourierModes, jax.Array]:
    field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())
    modes = sj.fourier_modes((SIDE, SIDE), max_shell=6)
    # 14 is the paper's count: the cosines of shells 0 to 6 along two axes, the constant one twice
    index = jnp.asarray([0, 0, *range(1, 25, 2)]) if num_directions == 14 else jnp.arange(num_directions)
    modes = eqx.tree_at(
        lambda m: (m.directions, m.shells, m.wavevectors),
        modes,
        (modes.directions[index], modes.shells[index], modes.wavevectors[index]),
    )
    return field, modes, index


def central_differences(field: sj.PatchField, modes: sj.FourierModes, t: jax.Array, x: jax.Array) -> sj.ModeResponse:
    step = 1e-2 * field.process.sigma(t)
    return sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes, method="finite_difference", step=step)


@pytest.mark.parametrize(("batch", "directions"), [(1, 14), (8, 14), (8, 25)])
def bench_probe_against_central_differences(versus, batch, directions):
    field, modes, _ = setting(directions)
    probe = sj.ModeProbe(field, modes)
    t, x = jnp.asarray(3.0), jr.normal(jr.key(1), (batch, SIDE, SIDE))
    ours = compiled(lambda probe, t, x: jax.vmap(probe, (None, 0))(t, x), probe, t, x)
    peer = compiled(lambda m, t, x: jax.vmap(lambda x: central_differences(field, m, t, x))(x), modes, t, x)
    # in single precision the differences are good to about 1e-4 here
    np.testing.assert_allclose(ours.run().direction_rayleigh, peer.run().direction_rayleigh, atol=1e-3)
    versus("mode probe", ours, peer, rounds=200, batch=batch, directions=directions, lattice=(SIDE, SIDE))


@pytest.mark.parametrize("directions", [14])
def bench_generic_jvp_against_central_differences(versus, directions):
    field, modes, _ = setting(directions)
    t, x = jnp.asarray(3.0), jr.normal(jr.key(1), (SIDE, SIDE))
    ours = compiled(lambda m, t, x: sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, m), modes, t, x)
    peer = compiled(lambda m, t, x: central_differences(field, m, t, x), modes, t, x)
    versus("mode_response of any drift", ours, peer, rounds=200, batch=1, directions=directions, lattice=(SIDE, SIDE))
