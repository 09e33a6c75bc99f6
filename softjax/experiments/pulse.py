r"""Guidance in a short window of noise levels (App. F): Fig. 5 of the paper, and beyond it the whole response curve.

First the critical noise level $\sigma_c$ is measured on unguided trajectories of all classes; it is fixed before
anything is guided. Then every trial, a class and a start, is sampled under several conditions that differ in the
guidance weight only: none, constant, a pulse at $\sigma_c$, an equal pulse at a random level, and a row of pulses
of equal dose whose centres cover all noise levels.
"""

import time
from dataclasses import asdict
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import matplotlib.figure
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, PRNGKeyArray
from softjax.analysis import PairedDifference, paired_difference
from softjax.convert import load_network, read_description, shipped
from softjax.data import FASHION_MNIST_CLASSES
from softjax.dynamics import heun
from softjax.experiments import edm2
from softjax.experiments._ensemble import Progress, provenance
from softjax.experiments._guidance import CONDITIONS, Conditions, Sampler
from softjax.experiments._judge import load_judge
from softjax.experiments._store import TrajectoryStore
from softjax.experiments._summary import Row
from softjax.experiments.configs import EDM2Config, PulseConfig, checked
from softjax.fields import NetworkField, Pulse
from softjax.plotting import pulse_figure
from softjax.processes import karras_grid

Config = PulseConfig
_PULSES = (CONDITIONS.index("critical"), CONDITIONS.index("random"))
_NUM_STATES = 10  # noise levels at which the trajectories of the figure are shown, as in App. F.9
_PROBABILITY, _SIGMA_C, _BEST = "target probability", "sigma_c, peak of median xi_eq", "best centre at equal dose"
_SCORES = {
    "probability": "probability of the class that was asked for",
    "logit": "logit of the class that was asked for",
    "top1": "whether that class is the most probable",
}


def run(config: Config | None = None, path: Path | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Scores of every trial under every condition; resumes what is stored in `path`, memory if None.

    Dimensions: trajectory (a trial, of class `trial_class`), condition (those of `CONDITIONS`) and center (of the
    pulses of equal dose). `probability`, `logit` and `top1` have (trajectory, condition), with curve_ before their
    names (trajectory, center). The unguided trajectories stand beside `path`, in unguided.zarr. `progress` is called
    with numbers of trajectories, first of these, then of the trials. Raises `ValueError` for networks without classes
    and for a guide or judge that does not fit.
    """
    config = checked(config or Config())
    require(config.num_trials >= 2, f"num_trials must be at least 2, got {config.num_trials}.")
    require(config.num_centers >= 2, f"num_centers must be at least 2, got {config.num_centers}.")
    sampler, identity = _load(config)
    classes = _classes(config, identity["num_classes"])
    critical = _critical_level(config, classes, path, progress)
    labels = np.tile(classes, config.num_trials)
    key_trials, key_random = jr.split(jr.key(config.seed))
    conditions = Conditions(config, sampler.ts, critical["sigma"], key_random)
    store = TrajectoryStore(path, labels.size, {"PulseConfig": asdict(config)} | identity)
    if not store.ready:
        states = _states(sampler, conditions, int(labels[0]), jr.fold_in(key_trials, 0))
        static = _static(conditions, critical, labels, states).assign_attrs(provenance(config.seed))
        store.create(static.assign_attrs(class_names=_names(config, classes)), _template(sampler, config))
    start, todo = time.perf_counter(), store.todo
    for first in range(0, todo.size, config.chunk):
        batch = todo[first : first + config.chunk]
        members = np.resize(batch, config.chunk)  # every chunk has the compiled size
        _run_chunk(store, sampler, conditions, batch, members, labels, key_trials)
        if progress:
            progress(labels.size - todo.size + first + batch.size, labels.size)
    if todo.size:
        store.annotate(run_time_s=time.perf_counter() - start)
    if progress:
        progress(labels.size, labels.size)
    return store.dataset()


def figure(dataset: xr.Dataset) -> matplotlib.figure.Figure:
    """Trajectories without and with the critical pulse, the classes' scores under both pulses, the response curve."""
    return pulse_figure(dataset, _difference(dataset, "probability"))


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical against random pulse with paired intervals, overall and by class; the curve's best centre."""
    rows, differences = [], {name: _difference(dataset, name) for name in _SCORES}
    for name, text in (("probability", _PROBABILITY), ("logit", "target logit"), ("top1", "top-1 fraction")):
        means, difference = dataset[name].mean("trajectory").values, differences[name]
        also = (*zip(CONDITIONS, map(float, means), strict=True), ("p", float(difference.p_value)))
        rows.append(Row(f"{text}: critical - random", float(difference.mean), "", _pair(difference.interval), also))
    rows += _class_rows(dataset, differences)
    best, interval = _best_center(dataset)
    sigma = (float(dataset.attrs["critical_low"]), float(dataset.attrs["critical_high"]))
    return [
        *rows,
        Row(_SIGMA_C, float(dataset.attrs["critical_sigma"]), "sigma", sigma),
        Row(_BEST, best, "sigma", interval),
        Row("trials", float(dataset.sizes["trajectory"]), ""),
        Row("run time", float(dataset.attrs.get("run_time_s", np.nan)), "s"),
    ]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What the summary's rows say in words: whether the critical pulse wins, and where guidance acts most."""
    del dataset  # all is in the rows
    by_name = {row.name: row for row in rows}
    gain, sigma, best = (by_name[name] for name in (f"{_PROBABILITY}: critical - random", _SIGMA_C, _BEST))
    assert gain.interval is not None
    low, high = gain.interval
    verdict = "more than" if low > 0 else "less than" if high < 0 else "neither more nor less, within the error, than"
    also = dict(gain.also)
    return (
        f"A pulse at sigma_c = {sigma.text} raises the mean target probability from {also['none']:.3f} to "
        f"{also['critical']:.3f}, an equal one at a random level to {also['random']:.3f}: {verdict} the random one "
        f"(difference {gain.text}, p = {also['p']:.2g}). At equal dose a pulse acts most at sigma = {best.text}, "
        f"constant guidance reaches {also['constant']:.3f}."
    )


def _run_chunk(
    store: TrajectoryStore,
    sampler: Sampler,
    conditions: Conditions,
    batch: np.ndarray,
    members: np.ndarray,
    labels: np.ndarray,
    key: PRNGKeyArray,
) -> None:
    """All conditions of some trials, from equal starts."""
    trials = (jnp.asarray(labels[members], jnp.int32), jnp.asarray(members, jnp.int32), key)
    drawn = [sampler(weight, *trials) for weight in conditions.of(members)]
    curve = [sampler(weight, *trials)[1] for weight in conditions.of_curve()]
    images = np.stack([np.asarray(image) for image, _ in drawn], axis=1)
    _require_finite(images)
    values = {"final_state": images, "random_center": np.asarray(conditions.random_centers(members))}
    for name in _SCORES:
        values[name] = np.stack([getattr(scores, name) for _, scores in drawn], axis=1)
        values[f"curve_{name}"] = np.stack([getattr(scores, name) for scores in curve], axis=1)
    for row, index in enumerate(batch):
        store.write(int(index), {name: value[row] for name, value in values.items()})


def _require_finite(images: np.ndarray) -> None:
    """Refuses images that guidance has driven to infinity."""
    if not np.all(np.isfinite(images)):
        raise FloatingPointError("guided images became infinite; take a smaller strength or more steps.")


def _load(config: Config) -> tuple[Sampler, dict]:
    """The networks, and what identifies them in a store."""
    folders = {
        "weights": config.weights or shipped("edm2-fashion"),
        "guide": config.guide or shipped("edm2-fashion-guide"),
        "scorer": config.scorer or shipped("classifier-grey"),
    }
    field, about = load_network(folders["weights"]), read_description(folders["weights"])
    network = about["config"]
    require(
        field.process.has_edm_clock() and network.get("label_dim", 0) > 0,
        f"{folders['weights']} holds no class-conditional EDM network.",
    )
    shape = (network["img_resolution"],) * 2 + (network["img_channels"],)
    by_guide = config.guidance == "autoguidance"
    guide = load_network(folders["guide"]) if by_guide else field
    require(
        not by_guide or read_description(folders["guide"])["config"].get("label_dim") == network["label_dim"],
        f"the guide {folders['guide']} must know the same {network['label_dim']} classes.",
    )
    guide = NetworkField(guide.network, field.process, guide.prediction)
    grid = config.noise
    ts = karras_grid(grid.sigma_max, grid.sigma_min, grid.num_steps, grid.rho)
    judge = load_judge(folders["scorer"], shape, network["label_dim"])
    used = folders if by_guide else {name: folder for name, folder in folders.items() if name != "guide"}
    identity = {name: read_description(folder)["sha256"] for name, folder in used.items()}
    identity["num_classes"] = network["label_dim"]
    return Sampler(field, guide, judge, ts, shape, by_guide), identity


def _classes(config: Config, num_classes: int) -> np.ndarray:
    """The classes that are drawn."""
    known = np.asarray(config.classes or range(min(num_classes, 10)))
    require(np.unique(known).size == known.size, f"classes must differ, got {config.classes}.")
    edm2.require_classes("classes", known, num_classes)
    return known


def _names(config: Config, classes: np.ndarray) -> str:
    """What the classes are called, divided by |."""
    known = FASHION_MNIST_CLASSES if config.weights is None else ()
    return "|".join(known[label] if known else f"class {label}" for label in classes)


def _critical_level(
    config: Config, classes: np.ndarray, path: Path | None, progress: Progress | None
) -> dict[str, float]:
    """Peak of the median equilibrium length over unguided trajectories of all classes, with its interval (App. F.3)."""
    unguided = EDM2Config(
        weights=config.weights,
        num_trajectories=config.num_unguided * classes.size,
        labels=tuple(classes.tolist()),
        seed=(config.seed + 1) % 2**32,  # other starts than the trials'
        noise=config.noise,
        probe=config.probe,
    )
    beside = None if path is None else path.with_name("unguided.zarr")
    data = edm2.run(unguided, beside, progress)
    row = edm2.summary(data)[0]
    assert row.interval is not None
    if np.isfinite(row.value):
        return {"sigma": row.value, "low": row.interval[0], "high": row.interval[1]}
    # Without an interior peak the level of the longest median stands in, with no interval.
    median = np.median(data["equilibrium_length"].values, axis=0)
    return {"sigma": float(data["time"].values[np.argmax(median)]), "low": np.nan, "high": np.nan}


@eqx.filter_jit
def _path(sampler: Sampler, weight: Pulse, label: Array, key: PRNGKeyArray) -> Array:
    """States (times, h, w, channels) of one trial on the positive noise levels."""
    field = sampler.guided(weight, label)
    return heun(field, sampler.ts, key=key, shape=sampler.shape, observe=lambda t, x: x).observed


def _states(sampler: Sampler, conditions: Conditions, label: int, key: PRNGKeyArray) -> tuple[np.ndarray, np.ndarray]:
    """Ten levels, evenly spaced in ln sigma, and states (2, levels, h, w, channels) without and with the pulse."""
    ts = np.asarray(sampler.ts)[:-1]
    index = np.argmin(np.abs(np.log(np.geomspace(ts[0], ts[-1], _NUM_STATES)[:, None] / ts)), axis=1)
    none, _, critical, _ = conditions.of(np.arange(1))
    paths = [_path(sampler, weight, jnp.asarray(label), key) for weight in (none, critical)]
    return ts[index], np.stack(paths)[:, index]


def _static(
    conditions: Conditions,
    critical: dict[str, float],
    labels: np.ndarray,
    states: tuple[np.ndarray, np.ndarray],
) -> xr.Dataset:
    """What is known before the trials."""
    pixels = ("y", "x", "channel")
    strengths = [float(weight.strength) for weight in conditions.of_curve()]
    attributes = {f"critical_{name}": value for name, value in critical.items()}
    attributes |= {"width": conditions.config.width, "strength": conditions.config.strength, "dose": conditions.dose}
    return xr.Dataset(
        {
            "trial_class": (("number",), labels, {"units": "1"}),
            "center": (("center",), conditions.centers, {"units": "data", "long_name": "centre of the pulse"}),
            "curve_strength": (("center",), np.asarray(strengths), {"units": "1", "coordinate": 1}),
            "condition": (("condition",), np.arange(len(CONDITIONS)), {"units": "1", "meaning": ", ".join(CONDITIONS)}),
            "snapshot_sigma": (("snapshot",), states[0], {"units": "data", "coordinate": 1}),
            "snapshot_state": (("guided", "snapshot", *pixels), states[1], {"units": "data"}),
        },
        attrs=attributes,
    )


def _template(sampler: Sampler, config: Config) -> xr.Dataset:
    """One trial's variables, no values."""
    dtype, count, centers = sampler.ts.dtype, len(CONDITIONS), config.num_centers
    variables: dict = {
        "final_state": (
            ("condition", "y", "x", "channel"),
            np.zeros((count, *sampler.shape), dtype),
            {"units": "data"},
        ),
        "random_center": ((), np.zeros((), dtype), {"units": "data", "long_name": "centre of the random pulse"}),
    }
    for name, text in _SCORES.items():
        about = {"units": "1", "long_name": text}
        variables[name] = (("condition",), np.zeros(count, dtype), about)
        variables[f"curve_{name}"] = (("center",), np.zeros(centers, dtype), about)
    return xr.Dataset(variables)


def _difference(dataset: xr.Dataset, name: str) -> PairedDifference:
    """Critical against random pulse, groups in the order of the classes."""
    first, second = (_by_class(dataset, dataset[name].values[:, index]) for index in _PULSES)
    return paired_difference(jnp.asarray(first), jnp.asarray(second), key=jr.key(0))


def _by_class(dataset: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Values (trials, ...) as (classes, trials of each, ...): trials run through the classes in turn."""
    count = len(np.unique(dataset["trial_class"].values))
    whole = values[: values.shape[0] // count * count]
    return np.swapaxes(whole.reshape(-1, count, *values.shape[1:]), 0, 1)


def _class_rows(dataset: xr.Dataset, differences: dict[str, PairedDifference]) -> list[Row]:
    """One row for each class and score."""
    names, rows = str(dataset.attrs["class_names"]).split("|"), []
    for name, difference in differences.items():
        means = _by_class(dataset, dataset[name].values).mean(1)
        for group, row in enumerate(means):
            also = tuple(zip(CONDITIONS, map(float, row), strict=True))
            value, interval = float(difference.group_mean[group]), _pair(difference.group_interval[group])
            rows.append(Row(f"{name}: {names[group]}", value, "", interval, also))
    return rows


def _best_center(dataset: xr.Dataset) -> tuple[float, tuple[float, float]]:
    """Centre of the most useful pulse, by mean probability, and its bootstrap interval over trials."""
    curves, centers = dataset["curve_probability"].values, dataset["center"].values
    draws = np.random.default_rng(0).integers(curves.shape[0], size=(1000, curves.shape[0]))
    best = np.asarray([centers[np.argmax(curves[rows].mean(0))] for rows in draws])
    low, high = np.quantile(best, [0.025, 0.975])
    return float(centers[np.argmax(curves.mean(0))]), (float(low), float(high))


def _pair(interval: Array) -> tuple[float, float]:
    return float(interval[0]), float(interval[1])
