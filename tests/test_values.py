"""Values as users have them: every number that a public name takes, in all forms; what can't be used, by name.

`CASES` holds one good call of each public function, class and method, with the kind of each argument. A public name
that is in neither table fails `test_every_public_name_is_in_the_matrix`, and so does an argument without a kind.
"""

# Arguments of other types than the annotations say are what is tested here.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalOperand=false, reportIncompatibleMethodOverride=false

import ast
import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT

import softjax as sj

pytestmark = pytest.mark.usefixtures("without_type_checks")

SHAPE = (4, 6)
STATE = np.random.default_rng(0).integers(-3, 4, SHAPE).astype(float)
IMAGES = np.random.default_rng(1).integers(-2, 3, (3, *SHAPE)).astype(float)
RGB = np.random.default_rng(2).integers(0, 256, (*SHAPE, 3)).astype(float)
CURVES = np.random.default_rng(3).integers(1, 9, (3, 5)).astype(float)
TS = np.asarray([5.0, 4.0, 3.0, 2.0, 1.0])
SPECTRUM = np.ones(SHAPE)
KEY = jr.key(0)
VP, EDM, FLOW = sj.VP(), sj.EDM(), sj.RectifiedFlow()
TABLE = np.asarray([0.9, 0.5, 0.1])
TABLED = sj.DiscreteVP(TABLE)
DICTIONARY = sj.PatchDictionary.two_pattern(3)
PATCH, EMPIRICAL = sj.PatchField(DICTIONARY, VP), sj.EmpiricalField(IMAGES, VP)
GAUSSIAN = sj.GaussianField(SPECTRUM, VP)
COVARIANCE = sj.CovarianceField.from_samples(IMAGES, VP)
CLASSES = sj.CovarianceField.from_samples(IMAGES, VP, labels=[0, 0, 0])
POSITIONED = sj.PositionedLocalField(IMAGES, VP)
LOCAL, MIXTURE = sj.LocalField(IMAGES, 3, VP), sj.MixtureField(IMAGES, VP)
GUIDED = sj.GuidedField(EMPIRICAL, GAUSSIAN, 2.0)
RESCALED = sj.RescaledField(GAUSSIAN, EDM)
NETWORK = sj.NetworkField(lambda t, x: x / (1 + t), VP)
LABELLED = sj.NetworkField(lambda t, x, label: x * label.astype(x.dtype), VP, "denoiser", 1)
BALL = sj.MixtureField(IMAGES, EDM)
MODES = sj.fourier_modes(SHAPE, 1)
PULSE = sj.pulse(2.0, 1.0, 3.0, "smooth")
COLOURED = sj.EmpiricalField(np.stack([RGB, -RGB]), VP, channels=3)
PROBE = sj.ModeProbe(PATCH, MODES)
ZONE = sj.ZoneProbe(PATCH, SHAPE)


def drift(x):
    return -x + 0.1 * x**3


def colour_drift(x):
    return -(x**2)


def plus(x):
    return x.mean() > 0


class Case(NamedTuple):
    """A call and, by argument, its kind and a good value."""

    call: Any
    arguments: dict[str, tuple[str, Any]]


def case(call: Any, **arguments: Any) -> Case:
    return Case(call, arguments)


def channel(**arguments):
    return sj.channel_drift(**arguments)[1]


R, S, N, C, K, I = "real", "scalar", "number", "count", "key", "integers"  # noqa: E741
O, F, P, L = "option", "flag", "object", "shape"  # noqa: E741
TIME = {"t": (S, 2.0)}
STEP = {**TIME, "x": (R, STATE)}
AMONG = {"channels": (C, 3), "channel": (O, "block")}
CURVE = {"ts": (R, TS), "key": (K, KEY), "num_bootstrap": (C, 8), "confidence": (N, 0.9)}


def probed_unit(**arguments):
    """What `probe` hands to the engine: its own work, without that of the trajectories."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("softjax.experiments._shared.microscope.run", lambda sweep, *a, **k: sweep)
        patched.setattr("softjax.experiments._shared.trajectories.bytes_of_one", lambda *a: 0)
        sweep = sj.probe(**arguments)
    (unit,) = sweep.units
    return [unit.ts, unit.labels, jr.key_data(unit.paths), unit.modes.directions, jnp.asarray(sweep.members)]


CASES: dict[str, Case] = {
    # processes
    "VP": case(lambda **k: sj.VP(**k).alpha(1.0), beta=(S, 2.0)),
    "VP.linear": case(lambda **k: sj.VP.linear(**k).alpha(0.5), beta_min=(S, 1.0), beta_max=(S, 2.0), t_max=(S, 1.0)),
    "VP.cosine": case(lambda **k: sj.VP.cosine(**k).alpha(0.5), offset=(N, 0.25)),
    "EDM": case(lambda **k: sj.EDM(**k).sigma_data, sigma_data=(N, 1.0)),
    "RectifiedFlow": case(lambda **k: sj.RectifiedFlow(**k).alpha(0.5)),
    "DiscreteVP": case(lambda **k: sj.DiscreteVP(**k).alpha(0.5), alphas_cumprod=(R, TABLE), clock=(O, "unit")),
    "log_grid": case(sj.log_grid, t_max=(N, 3.0), t_min=(N, 1.0), num_steps=(C, 4)),
    "karras_grid": case(sj.karras_grid, sigma_max=(N, 9.0), sigma_min=(N, 1.0), num_steps=(C, 4), rho=(N, 7.0)),
    # spectral
    "fourier_modes": case(
        lambda **k: sj.fourier_modes(**k).directions,
        shape=(L, SHAPE),
        max_shell=(C, 2),
        kind=(O, "axes"),
        channels=(C, 0),
    ),
    "FourierModes.shell_mean": case(MODES.shell_mean, values=(R, np.arange(len(MODES.shells), dtype=float))),
    "radial_average": case(sj.radial_average, c=(R, STATE), channels=(C, 6)),
    "spectral_content": case(sj.spectral_content, v=("complex", STATE), channels=(C, 6)),
    "structure_factor": case(sj.structure_factor, x=(R, STATE), channels=(C, 6)),
    # observables
    "binarize": case(sj.binarize, x=(R, STATE)),
    "correlation_function": case(sj.correlation_function, x=(R, RGB), connected=(F, True), channels=(C, 3)),
    "correlation_length": case(
        sj.correlation_length, x=(R, RGB), estimator=(O, "second_moment"), connected=(F, True), channels=(C, 3)
    ),
    "luminance": case(sj.luminance, rgb=(R, RGB), standard=(O, "rec601")),
    "magnetisation": case(sj.magnetisation, x=(R, STATE)),
    "noise_floor": case(
        sj.noise_floor,
        x=(R, RGB),
        estimator=(O, "second_moment"),
        connected=(F, True),
        channels=(C, 3),
        key=(K, KEY),
        num=(C, 2),
    ),
    "plane_correlation": case(sj.plane_correlation, x=(R, RGB), axis=(C, 0), connected=(F, True), channels=(C, 3)),
    "plane_correlation_length": case(
        lambda **k: sj.plane_correlation_length(**k).length, correlations=(R, IMAGES[:, :, 0]), window=("pair", (0, 1))
    ),
    "second_moment_length": case(sj.second_moment_length, structure_factors=(R, IMAGES**2 + 1), channels=(C, 0)),
    # fields
    "PatchDictionary": case(
        lambda **k: sj.PatchDictionary(**k).squared_norms,
        patterns=(R, np.stack([np.ones((3, 3)), -np.ones((3, 3))])),
        log_prior=(R, np.log([0.5, 0.5])),
        mirrors=(P, (1, 0)),
    ),
    "PatchDictionary.ising": case(
        lambda **k: sj.PatchDictionary.ising(**k).patterns,
        patch_size=(C, 3),
        num_random=(C, 2),
        p_global=(N, 0.5),
        ndim=(C, 2),
        key=(K, KEY),
    ),
    "PatchDictionary.two_pattern": case(
        lambda **k: sj.PatchDictionary.two_pattern(**k).patterns, patch_size=(C, 3), ndim=(C, 2)
    ),
    "PatchDictionary.pad": case(lambda **k: DICTIONARY.pad(**k).patterns, patch_size=(C, 5)),
    "PatchField": case(
        lambda **k: sj.PatchField(**k).denoise(1.0, STATE),
        dictionary=(P, DICTIONARY),
        process=(P, VP),
        boundary=(O, "periodic"),
        route=(O, "einsum"),
    ),
    "EmpiricalField": case(
        lambda **k: sj.EmpiricalField(**k).denoise(1.0, STATE),
        patterns=(R, IMAGES),
        process=(P, VP),
        log_prior=(R, np.log([0.25, 0.25, 0.5])),
        chunk=(C, 2),
        channels=(C, 0),
    ),
    "GaussianField": case(
        lambda **k: sj.GaussianField(**k).denoise(1.0, STATE), spectrum=(R, SPECTRUM), process=(P, VP), mean=(S, 1.0)
    ),
    "GaussianField.from_samples": case(
        lambda **k: sj.GaussianField.from_samples(**k).spectrum, samples=(R, IMAGES), process=(P, VP), mean=(S, 1.0)
    ),
    "GaussianField.principal_shares": case(GAUSSIAN.principal_shares, directions=(R, IMAGES)),
    "CovarianceField": case(
        lambda **k: sj.CovarianceField(**k).denoise(1.0, STATE),
        vectors=(R, np.eye(24).reshape(2, 12, *SHAPE)),
        variances=(R, np.arange(24.0).reshape(2, 12)),
        process=(P, VP),
        mean=(R, STATE),
        residual_variance=(S, 2.0),
        label=(C, 1),
        channels=(C, 6),
    ),
    "CovarianceField.from_covariance": case(
        lambda **k: sj.CovarianceField.from_covariance(**k).denoise(1.0, STATE),
        covariance=(R, np.diag(np.arange(24.0)).reshape(*SHAPE, *SHAPE)),
        process=(P, VP),
        mean=(R, STATE),
        rank=(C, 5),
        channels=(C, 0),
    ),
    "CovarianceField.from_samples": case(
        lambda **k: sj.CovarianceField.from_samples(**k).with_label(0).denoise(1.0, STATE),
        samples=(R, IMAGES),
        process=(P, VP),
        mean=(S, 1.0),
        rank=(C, 1),
        shrinkage=(N, 0.25),
        labels=(I, [0, 0, 0]),
        channels=(C, 6),
    ),
    "CovarianceField.with_label": case(lambda **k: CLASSES.with_label(**k).denoise(1.0, STATE), label=(I, 0)),
    "CovarianceField.principal_shares": case(COVARIANCE.principal_shares, directions=(R, IMAGES)),
    "MixtureField": case(
        lambda **k: sj.MixtureField(**k).denoise(1.0, STATE),
        means=(R, IMAGES),
        process=(P, VP),
        width=(S, 1.0),
        log_prior=(R, np.log([0.25, 0.25, 0.5])),
        channels=(C, 0),
    ),
    "MixtureField.posterior": case(MIXTURE.posterior, **STEP),
    "LocalField": case(
        lambda **k: sj.LocalField(**k).denoise(1.0, STATE),
        images=(R, IMAGES),
        patch_size=(C, 3),
        process=(P, VP),
        boundary=(O, "zeros"),
        num_patches=(C, 40),
        chunk=(C, 16),
        key=(K, KEY),
        channels=(C, 0),
    ),
    "PositionedLocalField": case(
        lambda **k: sj.PositionedLocalField(**k).denoise(1.0, STATE),
        images=(R, IMAGES),
        process=(P, VP),
        sees=(P, COVARIANCE),
        threshold=(S, 0.5),
        chunk=(C, 2),
    ),
    "PositionedLocalField.neighbourhoods": case(POSITIONED.neighbourhoods, t=(S, 1.0)),
    "GuidedField": case(
        lambda **k: sj.GuidedField(**k).denoise(1.0, STATE), field=(P, EMPIRICAL), guide=(P, GAUSSIAN), weight=(S, 2.0)
    ),
    "RescaledField": case(lambda **k: sj.RescaledField(**k).denoise(1.0, STATE), field=(P, GAUSSIAN), process=(P, EDM)),
    "NetworkField": case(
        lambda **k: sj.NetworkField(**k).denoise(1.0, STATE),
        network=(P, lambda t, x, label: x * label.astype(x.dtype)),
        process=(P, VP),
        prediction=(O, "flow"),
        label=(I, 2),
        channels=(C, 6),
    ),
    "NetworkField.with_label": case(lambda **k: LABELLED.with_label(**k).denoise(1.0, STATE), label=(I, 2)),
    "Pulse": case(
        lambda **k: sj.Pulse(**k)(jnp.asarray(1.0)),
        center=(S, 2.0),
        width=("extended", 1.0),
        strength=(S, 3.0),
        edges=(O, "sharp"),
    ),
    "Pulse.__call__": case(PULSE.__call__, sigma=(R, TS)),
    "Pulse.shape": case(PULSE.shape, sigma=(R, TS)),
    "Pulse.with_dose": case(lambda **k: PULSE.with_dose(**k).strength, dose=(S, 2.0), ts=(R, TS)),
    "pulse": case(
        lambda **k: sj.pulse(**k)(jnp.asarray(1.0)),
        center=(S, 2.0),
        width=("extended", 1.0),
        strength=(S, 3.0),
        edges=(O, "sharp"),
    ),
    # dynamics
    "reverse_drift": case(sj.reverse_drift, field=(P, PATCH), **STEP),
    "flow_drift": case(sj.flow_drift, field=(P, PATCH), **STEP),
    "stochastic_drift": case(sj.stochastic_drift, field=(P, PATCH), **STEP, stochasticity=(S, 2.0)),
    "simulate": case(
        lambda **k: sj.simulate(**k, observe=plus_of).x,
        field=(P, GAUSSIAN),
        ts=(R, TS),
        key=(K, KEY),
        x0=(R, STATE),
        kind=(O, "sde"),
        solver=(O, "euler"),
        engine=(O, "scan"),
        stochasticity=(S, 2.0),
    ),
    "simulate_ensemble": case(
        lambda **k: sj.simulate_ensemble(**k, observe=plus_of).x,
        field=(P, GAUSSIAN),
        ts=(R, TS),
        key=(K, KEY),
        num=(C, 2),
        shape=(L, SHAPE),
        kind=(O, "sde"),
        solver=(O, "euler"),
        engine=(O, "scan"),
        chunk=(C, 1),
        members=(I, [2, 5]),
        stochasticity=(S, 2.0),
    ),
    "heun": case(
        lambda **k: sj.heun(**k).x,
        field=(P, BALL),
        ts=(R, TS),
        key=(K, KEY),
        x0=(R, STATE),
        churn=(P, sj.Churn(1.0)),
    ),
    "heun_ensemble": case(
        lambda **k: sj.heun_ensemble(**k).x,
        field=(P, BALL),
        ts=(R, TS),
        key=(K, KEY),
        num=(C, 2),
        shape=(L, SHAPE),
        chunk=(C, 1),
        members=(I, [2, 5]),
    ),
    "Churn": case(
        lambda **k: jnp.asarray(sj.Churn(**k).strength),
        strength=("extended", 3.0),
        t_min=(N, 0.5),
        t_max=("extended", 9.0),
        noise_scale=(N, 1.0),
    ),
    "cloning_agreement": case(
        lambda **k: sj.cloning_agreement(**k, classify=plus).agreement,
        field=(P, GAUSSIAN),
        ts=(R, TS),
        at=(L, (1, 2)),
        key=(K, KEY),
        num=(C, 2),
        shape=(L, SHAPE),
        solver=(O, "euler"),
        chunk=(C, 1),
    ),
    # jacobian
    "mode_response": case(
        lambda **k: sj.mode_response(**k).rayleigh,
        f=(P, drift),
        x=(R, RGB),
        modes=(P, MODES),
        method=(O, "finite_difference"),
        step=(S, 0.5),
        batch_size=(C, 2),
        **AMONG,
    ),
    "ModeProbe": case(lambda **k: sj.ModeProbe(**k)(1.0, RGB).rayleigh, field=(P, COLOURED), modes=(P, MODES), **AMONG),
    "ModeProbe.__call__": case(lambda **k: PROBE(**k).rayleigh, **STEP),
    "ZoneProbe": case(lambda **k: sj.ZoneProbe(**k)(1.0, STATE).rayleigh, field=(P, PATCH), shape=(L, SHAPE)),
    "ZoneProbe.__call__": case(lambda **k: ZONE(**k).rayleigh, **STEP),
    "mode_leakage": case(lambda **k: sj.mode_leakage(**k).leakage, f=(P, drift), x=(R, RGB), modes=(P, MODES), **AMONG),
    "channel_drift": case(channel, f=(P, colour_drift), x=(R, RGB), channel=(C, 1)),
    "dispersion": case(
        sj.dispersion, f=(P, drift), x=(R, RGB), key=(K, KEY), num_probes=(C, 2), batch_size=(C, 2), **AMONG
    ),
    "local_dispersion": case(sj.local_dispersion, f=(P, drift), x=(R, RGB), radius=(C, 1), batch_size=(C, 2), **AMONG),
    "local_kernel": case(sj.local_kernel, f=(P, drift), x=(R, RGB), radius=(C, 1), batch_size=(C, 2), **AMONG),
    "effective_radius": case(
        sj.effective_radius,
        f=(P, drift),
        x=(R, RGB),
        key=(K, KEY),
        num_probes=(C, 2),
        boundary=(O, "open"),
        batch_size=(C, 2),
        **AMONG,
    ),
    "leading_modes": case(
        lambda **k: sj.leading_modes(**k).values,
        f=(P, drift),
        x=(R, STATE),
        num=(C, 2),
        key=(K, KEY),
        symmetric=(F, True),
        num_matvecs=(C, 24),
        num_starts=(C, 1),
    ),
    "lyapunov": case(
        lambda **k: sj.lyapunov(**k).growth,
        field=(P, GAUSSIAN),
        ts=(R, TS),
        key=(K, KEY),
        num=(C, 3),
        shape=(L, SHAPE),
        kind=(O, "sde"),
        stochasticity=(S, 2.0),
        start=(R, IMAGES),
        iterations=(C, 1),
        shells=(P, MODES),
        num_probes=(C, 2),
        batch_size=(C, 2),
        channels=(C, 0),
        channel=(O, "equal"),
    ),
    "probe": case(
        probed_unit,
        field=(P, LABELLED),
        ts=(R, TS),
        key=(K, KEY),
        shape=(L, SHAPE),
        num=(C, 3),
        channels=(C, 0),
        labels=(I, [2, 5]),
        sampler=(O, "sde"),
        length=(O, "sign"),
        max_shell=(C, 2),
        num_zone_times=(C, 1),
        num_states=(C, 1),
        num_modes=(C, 1),
        null_field=(P, GAUSSIAN),
        solver=(O, "euler"),
    ),
    # analysis
    "critical_point": case(
        lambda **k: sj.critical_point(**k).interval,
        lengths=(R, CURVES),
        window=("pair", (1.0, 5.0)),
        bandwidth=(N, 0.1),
        **CURVE,
    ),
    "zero_crossing": case(
        lambda **k: sj.zero_crossing(**k).interval, rates=(R, CURVES - 5), bandwidth=(N, 0.1), **CURVE
    ),
    "onset": case(
        lambda **k: sj.onset(**k).interval, lengths=(R, CURVES), threshold=(N, 3.0), bandwidth=(N, 0.1), **CURVE
    ),
    "equilibrium_correlation_length": case(
        lambda **k: sj.equilibrium_correlation_length(**k).length,
        wavenumbers=(R, np.arange(5.0)),
        magnitudes=(R, np.asarray([1.0, 2.0, 5.0, 11.0, 17.0])),
        num_shells=(C, 3),
    ),
    "excess": case(
        lambda **k: sj.excess(**k).length_interval,
        magnitudes=(R, CURVES[:, :, None] * np.arange(1.0, 5.0)),
        null=(R, CURVES[0][:, None] * np.arange(1.0, 5.0) ** 2),
        wavenumbers=(R, np.arange(4.0)),
        num_shells=(C, 2),
        window=("pair", (1.0, 5.0)),
        bandwidth=(N, 0.1),
        **CURVE,
    ),
    "jackknife": case(
        lambda **k: sj.jackknife(**k).standard_error,
        function=(P, drift),
        samples=(R, np.concatenate([CURVES, CURVES[::-1] + 1])),
        num_blocks=(C, 3),
    ),
    "finite_size": case(
        lambda **k: sj.finite_size(**k).binder.standard_error,
        magnetisation=(R, CURVES),
        first_mode=(R, CURVES + 1),
        side=(C, 4),
        ndim=(C, 2),
        num_blocks=(C, 3),
    ),
    "paired_difference": case(
        lambda **k: sj.paired_difference(**k).interval,
        first=(R, CURVES),
        second=(R, CURVES[::-1]),
        key=(K, KEY),
        num_resamples=(C, 8),
        confidence=(N, 0.9),
    ),
    "smooth": case(sj.smooth, ts=(R, TS), values=(R, CURVES), bandwidth=(N, 0.5)),
    "log_derivative": case(sj.log_derivative, ts=(R, TS), values=(R, CURVES), bandwidth=(N, 0.5)),
}


def plus_of(t, x):
    return x.mean() > t


METHODS = ("alpha", "sigma", "beta", "damping", "drift_weight", "prior_scale", "noise_to_signal", "log_snr")
for process in (VP, EDM):
    for method in METHODS:
        CASES[f"{type(process).__name__}.{method}"] = case(getattr(process, method), t=(S, 2.0))
for process, t in ((FLOW, 0.5), (TABLED, 1.0)):
    for method in METHODS:
        CASES[f"{type(process).__name__}.{method}"] = case(getattr(process, method), t=(S, t))
for process in (VP, EDM, FLOW, TABLED):
    CASES[f"{type(process).__name__}.from_noise_to_signal"] = case(
        process.from_noise_to_signal, ratio=("extended", 1.0)
    )
    CASES[f"{type(process).__name__}.from_log_snr"] = case(process.from_log_snr, log_snr=("extended", 1.0))
for field in (PATCH, EMPIRICAL, GAUSSIAN, COVARIANCE, LOCAL, POSITIONED, MIXTURE, GUIDED, RESCALED, NETWORK):
    for method in ("denoise", "score"):
        CASES[f"{type(field).__name__}.{method}"] = case(getattr(field, method), **STEP)
for field in (PATCH, EMPIRICAL, LOCAL):
    CASES[f"{type(field).__name__}.evidence"] = case(field.evidence, x=(R, STATE))

MADE_HERE = {
    *("CriticalPoint", "EquilibriumLength", "PairedDifference", "CloningAgreement", "Trajectory", "Eigenpairs"),
    "PlaneLength",
    *("Excess", "Dispersion", "EffectiveRadius", "ModeLeakage", "ModeResponse", "FourierModes", "PathGrowth"),
    *("FiniteSize", "Jackknife", "ZoneResponse"),
}
"""Results, which softjax makes and users read."""
ABSTRACT = {"AbstractEvidenceField", "AbstractField", "AbstractProcess"}


def numbers(value):
    """The same numbers in other forms: those that are equal to `value` as they stand, integers where it is integral."""
    array = np.asarray(value, float)
    forms = {"float64": array, "float array": jnp.asarray(array, FLOAT), "list": array.tolist()}
    if np.all(array == np.rint(array)):
        forms |= {"integers": array.astype(int), "jax integers": jnp.asarray(array.astype(int))}
        if np.all(np.abs(array) < 100):
            forms["int8"] = array.astype(np.int8)
        if np.all((array >= 0) & (array < 256)):
            forms["bytes"] = array.astype(np.uint8)
    if array.shape == ():
        forms |= {"Python float": float(array), "NumPy scalar": np.float64(array)}
        if array == np.rint(array):
            forms |= {"Python int": int(array), "NumPy integer": np.int64(array)}
    return forms


def good_forms(kind, value):
    if kind in ("real", "complex", "scalar", "number", "extended"):
        return numbers(value)
    if kind == "count":
        return {"NumPy integer": np.int64(value), "bytes": np.uint8(value), "jax integer": jnp.asarray(value)}
    if kind == "integers":
        return {"array": np.asarray(value), "jax array": jnp.asarray(value), "bytes": np.asarray(value, np.uint8)}
    if kind == "shape":
        return {"list": list(value), "array": np.asarray(value), "NumPy integers": tuple(map(np.int64, value))}
    if kind == "pair":
        return {"list": list(value), "array": np.asarray(value), "integers": tuple(map(int, value))}
    if kind == "key":
        return {"typed": jr.key(0)}
    return {"NumPy": np.bool_(value)} if kind == "flag" else {}


def bad_forms(kind, value):
    array = np.asarray(value) if kind not in ("object", "key", "option") else None
    if kind in ("real", "scalar", "number", "extended", "complex"):
        forms = {
            "text": "text",
            "None": None,
            "NaN": np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array),
        }
        if kind in ("real", "scalar", "number"):
            forms["infinite"] = np.where(np.arange(array.size).reshape(array.shape) == 0, np.inf, array)
        return forms if kind == "complex" else forms | {"complex": array + 1j}
    if kind == "count":
        return {
            "float": float(value),
            "half": value + 0.5,
            "True": True,
            "None": None,
            "text": "2",
            "complex": 2j,
            "NaN": np.nan,
        }
    if kind == "integers":
        return {"float": np.asarray(value, float), "text": "text", "complex": np.asarray(value) + 1j, "flag": array > 0}
    if kind == "shape":
        return {"count": 8, "floats": np.asarray(value, float), "text": "text", "NaN": np.nan, "None": (None, 2)}
    if kind == "pair":
        return {"number": 2.0, "text": ("a", "b"), "complex": (1j, 2.0), "NaN": (np.nan, 2.0)}
    if kind == "key":
        return {
            "integer": 0,
            "batch": jr.split(jr.key(0)),
            "old batch": jr.split(jr.PRNGKey(0)),
            "text": "text",
            "float": 0.5,
        }
    if kind == "flag":
        return {"integer": 1, "text": "yes"}
    if kind == "option":
        return {"unknown": "no such option", "number": 3, "NaN": np.nan}
    return {"text": "text", "number": 3.0, "class": int}


def optional(name, argument):
    """Whether None is a value of the argument."""
    found = sj
    for part in name.split("."):
        found = getattr(found, part, None)
    parameter = None if found is None else inspect.signature(found).parameters.get(argument)
    return parameter is not None and parameter.default is None


def run(name, **changed):
    arguments = {argument: value for argument, (_, value) in CASES[name].arguments.items()}
    return CASES[name].call(**arguments | changed)


GOOD = [
    pytest.param(name, argument, id=f"{name}-{argument}")
    for name, one in CASES.items()
    for argument, (kind, value) in one.arguments.items()
    if good_forms(kind, value)
]
BAD = [
    pytest.param(name, argument, id=f"{name}-{argument}")
    for name, one in CASES.items()
    for argument in one.arguments
    if not (name == "channel_drift" and argument == "channel")
]


@functools.cache
def as_listed(name):
    return jax.tree.leaves(run(name))


@pytest.mark.float32
@pytest.mark.parametrize(("name", "argument"), GOOD)
def test_the_same_values_in_another_form_give_the_same_result(name, argument):
    kind, value = CASES[name].arguments[argument]
    wanted = as_listed(name)
    for form, other in good_forms(kind, value).items():
        for got, want in zip(jax.tree.leaves(run(name, **{argument: other})), wanted, strict=True):
            scale = np.max(np.abs(want), initial=1e-3)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * scale, err_msg=f"{argument} as {form}")
            assert np.issubdtype(np.asarray(want).dtype, np.integer) or np.asarray(got).dtype.itemsize >= 1


@pytest.mark.parametrize(("name", "argument"), BAD)
def test_what_can_not_be_used_is_refused_by_name(name, argument):
    kind, value = CASES[name].arguments[argument]
    for form, other in bad_forms(kind, value).items():
        if other is None and optional(name, argument):
            continue
        with pytest.raises((ValueError, TypeError)) as refusal:
            run(name, **{argument: other})
        assert argument in str(refusal.value), f"{argument} as {form}: {refusal.value}"


def stub_names():
    stub = Path(__file__).parents[1] / "softjax" / "__init__.pyi"
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = [alias.asname for node in imports for alias in node.names if alias.asname]
    return [name for name in names if not inspect.ismodule(getattr(sj, name)) and name != "__version__"]


def public_methods(name):
    members = inspect.getmembers(getattr(sj, name), inspect.isroutine)
    own = [
        m for m, f in members if (getattr(f, "__module__", None) or "").startswith("softjax") and not m.startswith("_")
    ]
    return [f"{name}.{method}" for method in own]


@pytest.mark.parametrize("name", stub_names())
def test_every_public_name_is_in_the_matrix(name):
    assert name in CASES or name in MADE_HERE | ABSTRACT, f"{name} is a new public name: add it to CASES"


@pytest.mark.parametrize("name", [n for n in stub_names() if inspect.isclass(getattr(sj, n)) and n not in ABSTRACT])
def test_every_public_method_is_in_the_matrix(name):
    left_out = ("has_edm_clock", "raised", "posterior_mean", "slopes", "__init__")
    missing = [m for m in public_methods(name) if m not in CASES and m.split(".")[1] not in left_out]
    assert not missing


@pytest.mark.parametrize("name", CASES)
def test_every_argument_has_a_kind(name):
    found = sj
    for part in name.split("."):
        found = getattr(found, part)
    arguments = [p for p in inspect.signature(found).parameters if p not in ("self", "cls")]  # pyright: ignore[reportArgumentType]
    left_out = {"observe", "classify", "progress", "path"}  # functions and folders
    left_out |= {"x0", "shape", "churn"}  # what excludes another argument
    assert set(arguments) - set(CASES[name].arguments) <= left_out


@pytest.mark.float32
def test_an_old_key_and_a_typed_one_of_the_same_bits_draw_alike():
    old = sj.simulate(GAUSSIAN, TS, key=jr.PRNGKey(3), shape=SHAPE).x
    np.testing.assert_array_equal(old, sj.simulate(GAUSSIAN, TS, key=jr.key(3), shape=SHAPE).x)


class Lean(sj.AbstractField):
    """A user's field in the barest form, jitted, with another name for the state and an option of its own."""

    process: sj.AbstractProcess

    @eqx.filter_jit
    def denoise(self, t, y, gain=1.0):
        return gain * y / (1 + t)


@pytest.mark.float32
def test_a_users_field_takes_values_as_users_have_them():
    field = Lean(VP)
    wanted = field.denoise(2.0, jnp.asarray(STATE, FLOAT))
    for x in (STATE, STATE.astype(int), STATE.astype(np.int8), STATE.tolist(), STATE.astype(np.float16)):
        np.testing.assert_allclose(field.denoise(2, x), wanted, rtol=1e-6)
        np.testing.assert_allclose(field.score(2, x), field.score(2.0, STATE), rtol=1e-5)
    np.testing.assert_allclose(field.denoise(2, STATE, gain=3.0), 3 * wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="x must be finite"):
        field.denoise(2, np.full(SHAPE, np.inf))


@pytest.mark.float32
@pytest.mark.parametrize(
    "field", [PATCH, EMPIRICAL, GAUSSIAN, COVARIANCE, LOCAL, MIXTURE, NETWORK], ids=lambda f: type(f).__name__
)
def test_a_state_and_a_field_are_computed_in_the_wider_precision(field):
    single = jnp.asarray(STATE, jnp.float32)
    precisions = {leaf.dtype for leaf in jax.tree.leaves(field) if eqx.is_inexact_array(leaf) and not leaf.weak_type}
    widest = max([*precisions, jnp.dtype(jnp.float32)], key=lambda d: d.itemsize)
    for x in (single, single.astype(jnp.float16)):
        denoised = field.denoise(2.0, x)
        assert denoised.dtype == field.score(2.0, x).dtype == widest
        end = sj.simulate(field, TS, key=KEY, x0=x)
        assert end.x.dtype == end.ts.dtype == widest
        np.testing.assert_allclose(denoised, field.denoise(2.0, STATE), rtol=1e-4, atol=1e-5)


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (8, 1, 1)])
def test_sides_of_one_site_change_nothing(shape):
    line = np.asarray([3.0, 1, -2, 4, 1, 0, -1, 2])
    x = line.reshape(shape)
    for estimate in (sj.radial_average, sj.correlation_length, lambda x: sj.correlation_length(x, "second_moment")):
        np.testing.assert_allclose(estimate(x), estimate(line), rtol=1e-6)
    samples = np.stack([x, 2 * x, x + 1]) ** 2
    np.testing.assert_allclose(
        sj.second_moment_length(samples), sj.second_moment_length(samples.reshape(3, 8)), rtol=1e-6
    )
    modes, on_line = sj.fourier_modes(shape, 3), sj.fourier_modes((8,), 3)
    np.testing.assert_allclose(modes.directions.reshape(on_line.directions.shape), on_line.directions, atol=1e-6)
    np.testing.assert_allclose(modes.wavenumbers, on_line.wavenumbers, rtol=1e-6)


@pytest.mark.float32
def test_a_black_box_is_probed_by_finite_differences():
    def black_box(x):
        x = np.asarray(x)  # fails for a tracer
        return np.tanh(x) - 0.5 * np.roll(x, 1, 0)

    got = sj.mode_response(black_box, STATE, MODES, "finite_difference", step=1e-2)
    exact = sj.mode_response(lambda x: jnp.tanh(x) - 0.5 * jnp.roll(x, 1, 0), STATE, MODES)
    np.testing.assert_allclose(got.direction_rayleigh, exact.direction_rayleigh, atol=2e-3)


def test_a_traced_nan_is_no_spin():
    assert np.isnan(jax.jit(sj.binarize)(jnp.asarray([np.nan, 1.0]))[0])


def test_jit_of_a_bound_method_says_which_jit_to_use():
    with pytest.raises(TypeError, match=r"equinox\.filter_jit"):
        jax.jit(PATCH.score)(1.0, STATE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda t, x: None, "network must return one array"),
        (lambda t, x: (x,), "network must return one array"),
        (lambda t, x: x[0], "network must return the shape"),
        (lambda t, x: jax.lax.complex(x, x), "network returns must be real|network must return real"),
    ],
)
def test_networks_that_return_no_image_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        sj.NetworkField(bad, VP).score(1.0, STATE)


def test_observe_must_return_arrays():
    with pytest.raises(ValueError, match="observe must return arrays"):
        sj.simulate(GAUSSIAN, TS, key=KEY, shape=SHAPE, observe=lambda t, x: "text")


def test_networks_in_training_mode_are_refused():
    class Dropping(nnx.Module):
        def __init__(self):
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, t, x):
            return self.dropout(x)

    network = Dropping()
    with pytest.raises(ValueError, match=r"call network\.eval\(\) first"):
        sj.NetworkField(network, VP)
    network.eval()
    assert sj.NetworkField(network, VP).denoise(1.0, STATE).shape == SHAPE
    with pytest.raises(ValueError, match="inference_mode"):
        sj.NetworkField(eqx.nn.Dropout(0.5), VP)


@pytest.mark.float32
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sj.log_grid(1.0, 1e-60 if jnp.float32 == FLOAT else 5e-324, 4), "t_min|too wide|too fine"),
        (lambda: sj.log_grid(1.0, 1 - 1e-15, 100), "too fine"),
        (lambda: sj.mode_response(drift, STATE, MODES, "finite_difference", step=0), "step must be positive"),
        (lambda: sj.dispersion(drift, STATE, key=KEY, batch_size=0), "batch_size must be at least 1"),
        (lambda: sj.effective_radius(drift, STATE, key=KEY, batch_size=0), "batch_size must be at least 1"),
        (lambda: sj.critical_point(TS, CURVES, key=KEY, num_bootstrap=0), "num_bootstrap must be at least 1"),
        (lambda: sj.paired_difference(CURVES, CURVES, key=KEY, num_resamples=0), "num_resamples must be at least 1"),
        (lambda: sj.GaussianField(-SPECTRUM, VP), "spectrum must not be negative"),
        (lambda: sj.GaussianField(np.full(SHAPE, np.inf), VP), "spectrum must be finite"),
        (lambda: sj.simulate(GAUSSIAN, [2.0, -1.0], key=KEY, shape=SHAPE), "ts must not be negative"),
        (lambda: sj.simulate(GAUSSIAN, TS, key=KEY, shape=8), r"shape must be a sequence of integers such as \(8, 8\)"),
        (lambda: sj.simulate(GAUSSIAN, TS, key=KEY, shape=SHAPE, solver=dfx.Heun), r"an instance, Heun\(...\)"),
        (lambda: sj.magnetisation(np.ma.masked_equal(STATE, STATE[0, 0])), "x has masked entries"),
        (lambda: sj.log_grid(10**400, 1.0, 3), "t_max is too large"),
    ],
)
def test_degenerate_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
