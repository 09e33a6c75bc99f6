import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), FLOAT)
T = 0.6
MEAN, VARIANCE = 0.7, 2.5  # of independent Gaussian sites
PROCESSES = {"constant": sj.VP(beta=0.8), "cosine": sj.VP.cosine(), "edm": sj.EDM()}


def exact(process, t, x):
    """What a perfect network of each kind returns for the Gaussian data."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    marginal = alpha**2 * VARIANCE + sigma**2
    score = (alpha * MEAN - x) / marginal
    denoised = (alpha * VARIANCE * x + sigma**2 * MEAN) / marginal
    noise = -sigma * score
    return {"score": score, "denoiser": denoised, "noise": noise, "velocity": alpha * noise - sigma * denoised}


class Perfect(eqx.Module):
    """A network that knows the data."""

    process: sj.AbstractProcess
    prediction: str = eqx.field(static=True)

    def __call__(self, t, x):
        return exact(self.process, t, x)[self.prediction]


@pytest.mark.parametrize("prediction", ["noise", "denoiser", "score", "velocity"])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
def test_every_prediction_gives_the_exact_field(prediction, process):
    field = sj.NetworkField(Perfect(process, prediction), process, prediction)
    wanted = exact(process, T, X)
    assert_close(field.denoise(T, X), wanted["denoiser"], loosen=4)
    assert_close(field.score(T, X), wanted["score"], loosen=4)


def test_noise_is_the_default():
    assert_close(
        sj.NetworkField(Perfect(sj.VP(), "noise"), sj.VP()).score(T, X), exact(sj.VP(), T, X)["score"], loosen=4
    )


def scaled(scale, t, x, label=-1):
    """Returns the label it saw, times a parameter."""
    return scale * jnp.asarray(label, x.dtype) * jnp.ones_like(x)


def test_labels_reach_the_network_and_none_does_where_none_is_given():
    network = jax.tree_util.Partial(scaled, jnp.asarray(2.0, FLOAT))
    assert_close(sj.NetworkField(network, sj.VP(), "denoiser").denoise(T, X), -2 * np.ones((4, 5)))
    for label in (0, 3):
        assert_close(sj.NetworkField(network, sj.VP(), "denoiser", label).denoise(T, X), 2.0 * label * np.ones((4, 5)))


def test_a_batch_of_labels_is_vmap():
    network = jax.tree_util.Partial(scaled, jnp.asarray(2.0, FLOAT))
    result = jax.vmap(lambda label: sj.NetworkField(network, sj.VP(), "denoiser", label).denoise(T, X))(jnp.arange(3))
    assert_close(result, np.ones((3, 4, 5)) * np.asarray([0.0, 2.0, 4.0])[:, None, None])


def test_a_field_takes_another_label_or_none_and_is_otherwise_the_same():
    field = sj.NetworkField(jax.tree_util.Partial(scaled, jnp.asarray(2.0, FLOAT)), sj.EDM(0.5), "denoiser")
    labelled = field.with_label(3)
    assert labelled.network is field.network
    assert labelled.process is field.process
    assert labelled.prediction == field.prediction
    assert_close(labelled.denoise(T, X), 6 * np.ones((4, 5)))
    assert_close(labelled.with_label(None).denoise(T, X), field.denoise(T, X))
    each = jax.vmap(lambda label: field.with_label(label).denoise(T, X)[0, 0])(jnp.arange(3))
    assert_close(each, np.asarray([0.0, 2.0, 4.0]))


def test_new_parameters_and_labels_do_not_retrace():
    traces = []

    @eqx.filter_jit
    def denoise(field):
        traces.append(field)
        return field.denoise(T, X)

    for scale, label in [(2.0, 1), (3.0, 4)]:
        network = jax.tree_util.Partial(scaled, jnp.asarray(scale, FLOAT))
        field = sj.NetworkField(network, sj.VP(), "denoiser", jnp.asarray(label))
        assert_close(denoise(field), scale * label * np.ones((4, 5)))
    assert len(traces) == 1


def test_parameters_have_gradients_through_the_field():
    def loss(scale):
        field = sj.NetworkField(jax.tree_util.Partial(scaled, scale), sj.VP(), "denoiser", 3)
        return jnp.sum(field.denoise(T, X))

    assert_close(jax.grad(loss)(jnp.asarray(2.0, FLOAT)), np.asarray(60.0))


@pytest.mark.parametrize("network", [lambda t, x: x[1:], lambda t, x: jnp.sum(x)])
def test_networks_of_another_shape_are_refused(network):
    with pytest.raises(ValueError, match=r"network must return the shape.*\(4, 5\); got \((3, 5)?\)"):
        sj.NetworkField(network, sj.VP()).score(T, X)


@pytest.mark.usefixtures("without_type_checks")
def test_unknown_predictions_are_refused():
    with pytest.raises(
        ValueError, match="prediction must be one of 'noise', 'denoiser', 'score', 'velocity', 'flow'; got 'x0'"
    ):
        sj.NetworkField(Perfect(sj.VP(), "noise"), sj.VP(), "x0")  # pyright: ignore[reportArgumentType]
