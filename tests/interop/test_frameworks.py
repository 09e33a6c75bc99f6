"""Networks of other JAX frameworks as fields: at most three lines of user code, and errors that say which."""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

SHAPE, T = (6, 5), 0.6
X = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), FLOAT)


class LinenNetwork(linen.Module):
    """Takes (x, t) with batch and channels last, as most of them do."""

    @linen.compact
    def __call__(self, x, t):
        h = linen.Conv(4, (3, 3), padding="CIRCULAR", param_dtype=FLOAT)(x)
        h = jnp.tanh(h + linen.Dense(4, param_dtype=FLOAT)(t[:, None])[:, None, None])
        return linen.Conv(1, (3, 3), padding="CIRCULAR", param_dtype=FLOAT)(h)


class NNXNetwork(nnx.Module):
    """The same, in softjax's own convention."""

    def __init__(self, rngs):
        self.first = nnx.Conv(1, 4, (3, 3), padding="CIRCULAR", param_dtype=FLOAT, rngs=rngs)
        self.last = nnx.Conv(4, 1, (3, 3), padding="CIRCULAR", param_dtype=FLOAT, rngs=rngs)

    def __call__(self, t, x):
        return self.last(jnp.tanh(self.first(x[..., None]) + t))[..., 0]


class EquinoxNetwork(eqx.Module):
    """Takes (t, x) with channels first and no batch, as Equinox's own do."""

    first: eqx.nn.Conv2d
    last: eqx.nn.Conv2d

    def __init__(self, key):
        keys = jr.split(key)
        self.first = eqx.nn.Conv2d(1, 4, 3, padding="SAME", padding_mode="CIRCULAR", dtype=FLOAT, key=keys[0])
        self.last = eqx.nn.Conv2d(4, 1, 3, padding="SAME", padding_mode="CIRCULAR", dtype=FLOAT, key=keys[1])

    def __call__(self, t, x):
        return self.last(jnp.tanh(self.first(x) + t))


def linen_case():
    network = LinenNetwork()
    variables = network.init(jr.key(0), jnp.zeros((1, *SHAPE, 1), FLOAT), jnp.ones(1, FLOAT))

    def batches(variables, x, t):
        return jnp.asarray(network.apply(variables, x[..., None], t))[..., 0]

    adapted = jax.tree_util.Partial(lambda variables, t, x: batches(variables, x[None], t[None])[0], variables)
    return adapted, batches(variables, X[None], jnp.full(1, T, FLOAT))[0]


def nnx_case():
    network = NNXNetwork(nnx.Rngs(0))
    return network, network(jnp.asarray(T, FLOAT), X)


def equinox_case():
    network = EquinoxNetwork(jr.key(0))
    adapted = jax.tree_util.Partial(lambda network, t, x: network(t, x[None])[0], network)
    return adapted, network(jnp.asarray(T, FLOAT), X[None])[0]


CASES = {"linen": linen_case, "nnx": nnx_case, "equinox": equinox_case}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_network_of_another_framework_is_a_field(case):
    network, own = case()
    field = sj.NetworkField(network, sj.VP(), "denoiser")
    assert_close(field.denoise(T, X), own, loosen=4)
    modes = sj.fourier_modes(SHAPE, 1)
    exact, differences = (
        sj.mode_response(lambda x: sj.reverse_drift(field, T, x), X, modes, method, 1e-3).magnitude
        for method in ("jvp", "finite_difference")
    )
    np.testing.assert_allclose(exact, differences, rtol=0.02)


def test_plain_functions_and_lambdas_are_welcome():
    assert_close(sj.NetworkField(lambda t, x: t * x, sj.VP(), "denoiser").denoise(T, X), T * X)


CALLED = r"called as network\(t, x\) on one configuration, here of shape \(6, 5\)\..*lambda t, x: network\(x\[None\]"


def batched(x, t):
    """Takes batches only, in the order of most torch code."""
    batch, *_ = x.shape
    return x * t[:, None, None].reshape(batch, 1, 1)


@pytest.mark.parametrize(
    "network",
    [batched, lambda t, x: (x, t), lambda t, x: x[None], lambda x: x, lambda t, x: x.mean(axis=7)],
    ids=["another order", "a tuple", "a batch", "too few arguments", "its own error"],
)
def test_networks_of_another_convention_hear_how_they_are_called(network):
    with pytest.raises((ValueError, TypeError, IndexError), match=CALLED):
        sj.NetworkField(network, sj.VP()).score(T, X)


def test_the_note_of_a_labelled_network_names_the_label():
    with pytest.raises(TypeError, match=r"called as network\(t, x, label\)"):
        sj.NetworkField(lambda t, x: x, sj.VP(), "noise", 3).score(T, X)


def test_a_bare_linen_module_is_told_of_apply_and_bind():
    network = LinenNetwork()
    with pytest.raises(ValueError, match=r"Linen module.*LinenNetwork.*network\.apply.*network\.bind"):
        sj.NetworkField(network, sj.VP())


def test_a_torch_module_is_told_of_the_adapter():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"torch module, Linear: give softjax\.interop\.from_torch"):
        sj.NetworkField(torch.nn.Linear(2, 2), sj.VP())
