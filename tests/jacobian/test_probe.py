import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.spectral import free_field_spectrum

SHAPE = (6, 7)
MODES = sj.fourier_modes(SHAPE, max_shell=3)
TIMES = (0.3, 1.7)
PRIOR = jnp.log(jnp.asarray([0.1, 0.2, 0.7]))
PROCESSES = {"vp": sj.VP.linear(0.2, 2.0, 4.0), "edm": sj.EDM()}


class Custom(sj.AbstractField):
    """A user's denoiser, without evidence."""

    process: sj.AbstractProcess

    def denoise(self, t, x):
        return jnp.tanh(jnp.roll(x, 1, axis=0) * x / self.process.sigma(t))


FIELDS = {
    "patch": lambda process: sj.PatchField(sj.PatchDictionary(jr.normal(jr.key(0), (3, 3, 5)), PRIOR), process),
    "mirrored patch": lambda process: sj.PatchField(
        sj.PatchDictionary.ising(patch_size=3, num_random=2, p_global=0.6, key=jr.key(1)), process
    ),
    "large patch": lambda process: sj.PatchField(
        sj.PatchDictionary(jr.rademacher(jr.key(0), (40, 5, 5), FLOAT)), process
    ),
    "empirical": lambda process: sj.EmpiricalField(jr.normal(jr.key(0), (3, *SHAPE)), process, PRIOR),
    "streamed empirical": lambda process: sj.EmpiricalField(jr.normal(jr.key(0), (3, *SHAPE)), process, PRIOR, chunk=2),
    "gaussian": lambda process: sj.GaussianField(free_field_spectrum(SHAPE, 0.5, 2.0), process, mean=0.2),
    "custom": Custom,
}


@pytest.mark.float32
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("name", FIELDS)
def test_probe_is_the_mode_response_of_the_reverse_drift(name, process):
    @jax.jit
    def both(t, x):
        return sj.ModeProbe(field, MODES)(t, x), sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, MODES)

    field = FIELDS[name](process)
    for t in TIMES:
        assert_close(*both(t, jr.normal(jr.key(2), SHAPE)), loosen=10)  # two orders of summation over the sites


@pytest.mark.parametrize(
    "modes",
    [sj.fourier_modes(SHAPE, 0), sj.fourier_modes(SHAPE, 2, "isotropic"), sj.fourier_modes((6, 1, 7), 3, channels=0)],
    ids=["the mean alone", "waves along both axes", "an axis of one site"],
)
def test_probe_of_a_patch_field_is_the_mode_response_for_any_modes(modes):
    shape = modes.directions.shape[1:]
    patterns = jr.normal(jr.key(0), (3, *(min(side, 3) for side in shape)))
    field, x = sj.PatchField(sj.PatchDictionary(patterns, PRIOR), PROCESSES["vp"]), jr.normal(jr.key(2), shape)
    probe = sj.ModeProbe(field, modes)
    oblique = bool(jnp.any(jnp.sum(modes.wavevectors != 0, axis=1) > 1))
    assert (probe.waves is None) == oblique
    both = jax.jit(lambda t, x: (probe(t, x), sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes)))
    assert_close(*both(0.7, x), loosen=10)


@pytest.mark.parametrize("name", ["patch", "empirical", "gaussian"])
def test_probe_passes_through_jit_and_vmap(name):
    probe = sj.ModeProbe(FIELDS[name](sj.VP()), MODES)
    ts, xs = jnp.asarray([0.3, 1.0, 3.0], FLOAT), jr.normal(jr.key(2), (3, *SHAPE))
    batched = eqx.filter_jit(lambda probe, ts, xs: jax.vmap(probe)(ts, xs))(probe, ts, xs)
    alone = jax.jit(lambda t, x: probe(t, x))
    singles = [alone(t, x) for t, x in zip(ts, xs, strict=True)]
    assert_close(batched, jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles), loosen=10)


def test_probe_observes_a_trajectory():
    field = FIELDS["mirrored patch"](sj.VP())
    ts = sj.log_grid(3.0, 0.5, 5)

    def observe(t, x):
        return x, probe(t, x)

    probe = sj.ModeProbe(field, MODES)
    states, responses = sj.simulate(field, ts, shape=SHAPE, key=jr.key(0), observe=observe).observed
    assert_close(responses, jax.jit(jax.vmap(lambda t, x: probe(t, x)))(ts, states), loosen=10)


class Traces:
    """What was traced; hashable, so that it may stand in a static field."""

    def __init__(self):
        self.seen = []


class Counted(sj.AbstractEvidenceField):
    """An empirical field that counts traces."""

    inner: sj.EmpiricalField
    process: sj.AbstractProcess
    traces: Traces = eqx.field(static=True)

    def evidence(self, x):
        self.traces.seen.append("evidence")
        return self.inner.evidence(x)

    def posterior_mean(self, t, evidence):
        self.traces.seen.append("posterior_mean")
        return self.inner.posterior_mean(t, evidence)

    def denoise(self, t, x):
        return self.posterior_mean(t, self.evidence(x))


def test_new_times_states_and_data_do_not_trace_again():
    traces = Traces()

    @eqx.filter_jit
    def respond(probe, t, x):
        return probe(t, x)

    def probe(scale):
        inner = sj.EmpiricalField(scale * jr.normal(jr.key(0), (3, *SHAPE)), sj.VP(), PRIOR)
        return sj.ModeProbe(Counted(inner=inner, process=inner.process, traces=traces), MODES)

    for i in range(3):
        one = probe(1.0 + i)
        traces.seen.clear()
        respond(one, jnp.asarray(0.5 + i, FLOAT), jr.normal(jr.key(i), SHAPE))
        assert traces.seen == (["evidence", "posterior_mean"] if i == 0 else [])


def test_evidence_of_the_directions_is_computed_before_the_probe_runs():
    inner = FIELDS["empirical"](sj.VP())
    traces = Traces()
    probe = sj.ModeProbe(Counted(inner=inner, process=inner.process, traces=traces), MODES)
    assert traces.seen == ["evidence"]
    assert_close(probe.direction_evidence, jax.vmap(inner.evidence)(MODES.directions), loosen=10)


@pytest.mark.parametrize("name", ["patch", "gaussian"])
def test_wrong_shapes_are_refused(name):
    probe = sj.ModeProbe(FIELDS[name](sj.VP()), MODES)
    with pytest.raises(ValueError, match=r"x must be one configuration of shape \(6, 7\), got \(2, 6, 7\).*jax.vmap"):
        probe(0.5, jnp.ones((2, *SHAPE), FLOAT))


def test_modes_of_another_lattice_are_refused():
    with pytest.raises(ValueError, match=r"one configuration of shape \(6, 7\), got \(5, 5\)"):
        sj.ModeProbe(FIELDS["empirical"](sj.VP()), sj.fourier_modes((5, 5), max_shell=1))
    with pytest.raises(ValueError, match="must fit on the lattice"):
        sj.ModeProbe(FIELDS["patch"](sj.VP()), sj.fourier_modes((6, 4), max_shell=1, channels=0))
