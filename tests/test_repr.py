"""What objects show of themselves: one readable line; shapes and types under `jit`; never an error."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT

import softjax as sj

KEY, VP = jr.key(0), sj.VP()
IMAGES = np.random.default_rng(0).normal(size=(3, 8, 6))
TS = sj.log_grid(4.0, 0.5, 12)
PEAK = jnp.asarray(1 + np.exp(-((np.log(np.asarray(TS)) - 0.3) ** 2)) + np.zeros((3, 1)), FLOAT)
WAVENUMBERS = jnp.arange(4, dtype=FLOAT)
MODES = sj.fourier_modes((8, 6), 3)
PATCH = sj.PatchField(sj.PatchDictionary.two_pattern(3), VP)
STATE = jnp.ones((8, 6), FLOAT)
FLOATS = f"f{8 * jnp.dtype(FLOAT).itemsize}"


def responses(lengths):
    """Magnitudes whose equilibrium lengths are these."""
    return 1 + lengths[..., None] ** 2 * WAVENUMBERS**2


def drift(x):
    return -x + 0.1 * x**3


def network(t, x):
    return x / (1 + t)


CASES = {
    "VP": (lambda: VP, "VP(beta=1)"),
    "schedule": (sj.VP.linear, "VP(LinearSchedule(beta_min=0.1, beta_max=20, t_max=1))"),
    "EDM": (sj.EDM, "EDM(sigma_data=0.5)"),
    "table": (lambda: sj.DiscreteVP([0.9, 0.5, 0.1]), "DiscreteVP(table of 3 times from 0 to 2)"),
    "dictionary": (lambda: PATCH.dictionary, "PatchDictionary(2 patterns of 3 x 3)"),
    "patch": (lambda: PATCH, "PatchField(2 patterns of 3 x 3, VP(beta=1))"),
    "empirical": (lambda: sj.EmpiricalField(IMAGES, VP), "EmpiricalField(3 patterns of 8 x 6, VP(beta=1))"),
    "mixture": (lambda: sj.MixtureField(IMAGES, VP), "MixtureField(3 clouds of 8 x 6 and width 1, VP(beta=1))"),
    "gaussian": (
        lambda: sj.GaussianField(jnp.ones((8, 6)), VP),
        "GaussianField(8 x 6 sites, mean=0, VP(beta=1))",
    ),
    "covariance": (
        lambda: sj.CovarianceField.from_samples(IMAGES, VP),
        "CovarianceField(2 components of 8 x 6, VP(beta=1))",
    ),
    "local": (
        lambda: sj.LocalField(IMAGES, 3, VP),
        "LocalField(patches of 3 x 3, 8 x 6 sites, boundary='periodic', VP(beta=1))",
    ),
    "network": (
        lambda: sj.NetworkField(eqx.nn.Linear(48, 1000, key=KEY), VP, "score", 3, channels=3),
        "NetworkField(Linear of 49000 parameters, predicts score, label=3, channels=3, VP(beta=1))",
    ),
    "rescaled": (
        lambda: sj.RescaledField(PATCH, sj.EDM()),
        "RescaledField(PatchField(2 patterns of 3 x 3, VP(beta=1)), EDM(sigma_data=0.5))",
    ),
    "pulse": (lambda: sj.pulse(2.0, 1.0, 3.0), "Pulse(center=2, width=1, strength=3, edges='sharp')"),
    "modes": (lambda: MODES, "FourierModes(12 directions in 4 shells, 8 x 6 sites)"),
    "trajectory": (
        lambda: sj.simulate(PATCH, TS, key=KEY, shape=(8, 6), observe=lambda t, x: x.mean()),
        "Trajectory(13 times from 4 to 0.5, x of shape (8, 6), observed of shape (13,))",
    ),
    "critical": (
        lambda: sj.critical_point(TS, PEAK, key=KEY, num_bootstrap=8),
        "CriticalPoint(1.351 [1.351, 1.351], peak=1.999)",
    ),
    "no peak": (
        lambda: sj.critical_point(TS, jnp.ones((3, 13)), key=KEY, num_bootstrap=8),
        "CriticalPoint(none: the curve is flat)",
    ),
    "dispersion": (
        lambda: sj.dispersion(drift, 0 * STATE, key=KEY),
        "Dispersion(8 x 6 rates, growth -1 to -1 per unit of t, standard error ",
    ),
    "radius": (lambda: sj.effective_radius(lambda x: 0 * x, STATE, key=KEY), "EffectiveRadius(0 ± 0 sites)"),
    "pairs": (
        lambda: sj.leading_modes(drift, 0 * STATE, num=2, key=KEY),
        "Eigenpairs(2 of 8 x 6 components, real parts -1 to -1 per unit of t, residuals ",
    ),
    "response": (
        lambda: sj.mode_response(lambda x: -2 * x, STATE, MODES),
        "ModeResponse(12 directions, shells: rayleigh -2 to -2, magnitude 2 to 2)",
    ),
    "leakage": (
        lambda: sj.mode_leakage(lambda x: x, STATE, MODES),
        "ModeLeakage(12 directions, leakage of the shells ",
    ),
    "length": (
        lambda: sj.equilibrium_correlation_length(jnp.arange(4.0), 1 + 4 * jnp.arange(4.0) ** 2),
        "EquilibriumLength(2 ± 0 sites)",
    ),
    "excess": (
        lambda: sj.excess(TS, responses(PEAK), responses(PEAK)[0], WAVENUMBERS, key=KEY, num_bootstrap=8),
        "Excess(peak at 1.351, the null's at 1.351, shift 0 [0, 0], explained by the null)",
    ),
    "no excess": (
        lambda: sj.excess(TS, responses(PEAK), 1 + 0 * responses(PEAK)[0], WAVENUMBERS, key=KEY, num_bootstrap=8),
        "Excess(no shift: null: the curve is flat)",
    ),
    "paired": (
        lambda: sj.paired_difference(IMAGES[0] * 0 + 1, IMAGES[0] * 0, key=KEY, num_resamples=8),
        "PairedDifference(1 [1, 1], p=",
    ),
    "images": (
        lambda: sj.data.LabelledImages(np.zeros((3, 8, 6), np.uint8), np.arange(3)),
        "LabelledImages(3 images of 8 x 6, uint8, labels 0 to 2)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_readable_line(name):
    make, wanted = CASES[name]
    shown = repr(make())
    assert shown.startswith(wanted)
    assert "\n" not in shown


def test_probes_and_guided_fields_show_their_parts():
    field = "PatchField(2 patterns of 3 x 3, VP(beta=1))"
    assert repr(sj.ModeProbe(PATCH, MODES)) == f"ModeProbe({field}, {MODES!r})"
    zone = sj.ZoneProbe(PATCH, (8, 6))
    assert repr(zone) == f"ZoneProbe({field}, 8 x 6 waves)"
    assert repr(zone(1.0, jnp.zeros((8, 6)))).startswith("ZoneResponse(8 x 6 waves, rayleigh ")
    by_products = sj.PatchField(PATCH.dictionary, VP, route="einsum")
    assert repr(by_products) == "PatchField(2 patterns of 3 x 3, route='einsum', VP(beta=1))"
    assert repr(sj.GuidedField(PATCH, PATCH, 2.0)) == f"GuidedField({field}, guide={field}, weight=2)"


@pytest.mark.float32
def test_traced_values_show_their_shapes_and_types():
    seen = []

    @jax.jit
    def look(objects):
        seen.extend(map(repr, objects))
        return 0

    point, spectrum = CASES["critical"][0](), CASES["dispersion"][0]()
    look([point, spectrum, PATCH, MODES, jax.tree.map(lambda leaf: leaf[None], point)])
    assert seen[0] == f"CriticalPoint({FLOATS}[], interval {FLOATS}[2], peak={FLOATS}[])"
    assert seen[1].startswith(f"Dispersion(8 x 6 rates, growth {FLOATS}[8,6] per unit")
    assert seen[2] == f"PatchField(2 patterns of 3 x 3, VP(beta={FLOATS}[]))"
    assert seen[3] == repr(MODES)
    assert seen[4] == f"CriticalPoint({FLOATS}[1], interval {FLOATS}[1,2], peak={FLOATS}[1])"


@pytest.mark.parametrize("name", CASES)
def test_pytrees_in_the_middle_of_a_transformation_can_be_shown(name):
    whole = CASES[name][0]()
    for leaf in (None, "text", object(), True, jax.ShapeDtypeStruct((2,), FLOAT)):
        assert repr(jax.tree.map(lambda _, leaf=leaf: leaf, whole)).startswith(type(whole).__name__)


class Own(sj.AbstractField):
    process: sj.AbstractProcess
    weights: jax.Array

    def denoise(self, t, x):
        return x


def test_a_field_of_ones_own_shows_its_parameters_and_process():
    assert repr(Own(VP, jnp.ones((2000, 1000)))) == "Own(2 million parameters, VP(beta=1))"
