import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close, tolerance

import softjax as sj


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (10,)])
def test_a_convolution_leaks_nothing(shape):
    kernel = jr.normal(jr.key(0), shape)  # not even: cosines turn into sines too

    def f(x):
        return jnp.fft.ifftn(jnp.fft.fftn(kernel) * jnp.fft.fftn(x)).real

    modes = sj.fourier_modes(shape, min(shape) // 2, "isotropic")
    leak = sj.mode_leakage(f, jr.normal(jr.key(1), shape), modes)
    assert np.max(leak.leakage) < tolerance()
    assert np.max(leak.direction_leakage) < 10 * tolerance()


@pytest.mark.float32
@pytest.mark.parametrize(("shape", "kind"), [((6, 5), "isotropic"), ((8, 6), "axes"), ((9,), "axes")])
def test_leakage_is_that_of_the_dense_jacobian(shape, kind):
    field = sj.PatchField(sj.PatchDictionary(jr.normal(jr.key(1), (4, *(3,) * len(shape)))), sj.VP())

    def f(x):
        return sj.reverse_drift(field, 1.5, x)

    x, modes = jr.normal(jr.key(0), shape), sj.fourier_modes(shape, min(shape) // 2, kind)
    leak = jax.jit(lambda x: sj.mode_leakage(f, x, modes))(x)
    jacobian = np.asarray(jax.jit(jax.jacfwd(f))(x), float).reshape(x.size, x.size)
    v = np.asarray(modes.directions, float).reshape(-1, x.size)
    residual, share = [], []
    for direction, n in zip(v, np.asarray(modes.wavevectors), strict=True):
        response = jacobian @ direction
        pair = v[np.all(np.asarray(modes.wavevectors) == n, axis=1)]
        rest = response - pair.T @ (pair @ response)
        residual.append(np.linalg.norm(rest))
        share.append(np.linalg.norm(rest) / np.linalg.norm(response))
    assert np.min(share) > 1e-3
    assert_close(leak.direction_residual, np.asarray(residual), loosen=10)
    assert_close(leak.direction_leakage, np.asarray(share), loosen=10)
    shells = np.asarray(modes.shells)
    means = [np.mean(np.asarray(share)[shells == n]) for n in range(modes.num_shells)]
    assert_close(leak.leakage, np.asarray(means), loosen=10)


def test_extremes():
    modes = sj.fourier_modes((8,), max_shell=1)
    shift = jnp.cos(jnp.pi * jnp.arange(8, dtype=FLOAT))  # moves every mode to the other end of the zone
    assert_close(sj.mode_leakage(lambda x: shift * x, jnp.ones(8, FLOAT), modes).leakage, np.ones(2))
    nothing = sj.mode_leakage(lambda x: 0 * x, jnp.ones(8, FLOAT), modes)
    assert_close(nothing.leakage, np.zeros(2))


@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused():
    modes = sj.fourier_modes((5, 6), max_shell=2)
    with pytest.raises(ValueError, match=r"x must be one configuration of shape \(5, 6\), got \(6, 5\)"):
        sj.mode_leakage(lambda x: x, jnp.ones((6, 5), FLOAT), modes)
    with pytest.raises(ValueError, match="f must return the shape"):
        sj.mode_leakage(jnp.sum, jnp.ones((5, 6), FLOAT), modes)
