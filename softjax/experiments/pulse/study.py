"""What one trial of guidance is, a start under every condition, and what is read off many.

First the critical noise level is measured on unguided trajectories of all classes; it is fixed before anything is
guided.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._checks import require
from softjax._types import Array, Int, PRNGKeyArray
from softjax.analysis import PairedDifference, paired_difference
from softjax.convert import load_network, read_description, shipped
from softjax.data import FASHION_MNIST_CLASSES
from softjax.experiments._shared.flow import flow_trajectory
from softjax.experiments._shared.judge import Scores, load_judge
from softjax.experiments._shared.networks import LOWEST_PEAK, checksum, edm_folder, edm_network, require_classes
from softjax.experiments._shared.null import sampled_null, stored_null
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row, equilibrium_row, median_peak
from softjax.experiments._shared.trajectories import labels
from softjax.experiments.pulse.config import Config
from softjax.experiments.pulse.guidance import CONDITIONS, Conditions, Sampler, conditions, dose
from softjax.processes import karras_grid
from softjax.sweeps import Progress, Sweep, Unit, measured, run

_NUM_STATES = 10  # noise levels at which the trajectories of the figure are shown, as in App. F.9
_PROBABILITY, _SIGMA_C, _BEST = "target probability", "sigma_c, peak of median xi_eq", "best centre at equal dose"
_AGAINST_NULL = "target probability: critical - null"
_SCORES = ("probability", "logit", "top1")


class Critical(eqx.Module):
    """The critical noise level with its interval, NaN where it has none, and the null's (units of the data)."""

    sigma: float
    low: float
    high: float
    null: float


class Judged(eqx.Module):
    """The scores of one trial: under every condition, and with pulses of equal dose at every centre."""

    final_state: Array = measured(("condition", "y", "x", "channel"), "data", "images")
    random_center: Array = measured(units="data", long_name="centre of the random pulse")
    probability: Array = measured(("condition",), long_name="probability of the class that was asked for")
    logit: Array = measured(("condition",), long_name="logit of the class that was asked for")
    top1: Array = measured(("condition",), long_name="whether that class is the most probable")
    curve_probability: Array = measured(("center",), long_name="probability of the class that was asked for")
    curve_logit: Array = measured(("center",), long_name="logit of the class that was asked for")
    curve_top1: Array = measured(("center",), long_name="whether that class is the most probable")


class Trial(Unit):
    """A class and a start, which all conditions share; member i starts from `jax.random.fold_in(starts, i)`."""

    sampler: Sampler
    conditions: Conditions
    critical: Critical
    labels: Int[Array, " trials"]
    starts: PRNGKeyArray

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Judged:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        label, start = self.labels[member], jr.fold_in(self.starts, member)
        images, scores = jax.lax.map(lambda weight: self.sampler(weight, label, start), self.conditions.of(member))
        curve: Scores = jax.lax.map(lambda weight: self.sampler(weight, label, start)[1], self.conditions.curve)
        return Judged(
            images,
            self.conditions.random_center(member),
            *(scores.probability, scores.logit, scores.top1),
            *(curve.probability, curve.logit, curve.top1),
        )


def unit(config: Config, critical: Critical) -> Trial:
    """A trial; `ValueError` for networks without classes and for a guide or judge that does not fit."""
    sampler, num_classes = _sampler(config)
    key_trials, key_random = jr.split(jr.key(config.seed))
    return Trial(
        sampler,
        conditions(config, sampler.ts, critical.sigma, critical.null, key_random),
        critical,
        jnp.asarray(np.tile(_classes(config, num_classes), config.num_trials), jnp.int32),
        key_trials,
    )


def _folders(config: Config) -> dict[str, Path]:
    """Of the networks that a configuration uses."""
    folders = {
        "weights": edm_folder(config.weights),
        "scorer": Path(config.scorer).expanduser() if config.scorer else shipped("classifier-grey"),
    }
    if config.guidance == "autoguidance":
        folders["guide"] = Path(config.guide).expanduser() if config.guide else shipped("edm2-fashion-guide")
    return folders


def weights(config: Config) -> dict[str, str]:
    """Checksums of the networks."""
    return {f"{name}_sha256": checksum(folder) for name, folder in _folders(config).items()}


def _sampler(config: Config) -> tuple[Sampler, int]:
    """The networks, and how many classes they know."""
    folders, (field, network) = _folders(config), edm_network(config.weights)
    num_classes = network.get("label_dim", 0)
    require(num_classes > 0, f"{folders['weights']} holds no class-conditional EDM network.")
    shape = (network["img_resolution"],) * 2 + (network["img_channels"],)
    guide = load_network(folders["guide"]) if "guide" in folders else field
    require(
        "guide" not in folders or read_description(folders["guide"])["config"].get("label_dim") == num_classes,
        f"the guide {folders.get('guide')} must know the same {num_classes} classes.",
    )
    grid = config.noise
    ts = karras_grid(grid.sigma_max, grid.sigma_min, grid.num_steps, grid.rho)
    judge = load_judge(folders["scorer"], shape, num_classes)
    return Sampler(field, guide.with_label(None), judge, ts, shape, "guide" in folders), num_classes


def _classes(config: Config, num_classes: int) -> np.ndarray:
    """The classes that are drawn."""
    known = np.asarray(config.classes or range(min(num_classes, 10)))
    require(np.unique(known).size == known.size, f"classes must differ, got {config.classes}.")
    require_classes("classes", known, num_classes)
    return known


def _names(config: Config, classes: np.ndarray) -> str:
    """What the classes are called, divided by |."""
    known = FASHION_MNIST_CLASSES if config.weights is None else ()
    return "|".join(known[label] if known else f"class {label}" for label in classes)


def before(config: Config, path: Path | None, progress: Progress | None) -> dict[str, Critical]:
    """The critical noise level; the unguided trajectories that give it stand beside `path`, in unguided.zarr."""
    beside = None if path is None else path.with_name("unguided.zarr")
    return {"critical": _critical_level(config, beside, progress)}


def _critical_level(config: Config, path: Path | None, progress: Progress | None) -> Critical:
    """Peak of the median equilibrium length over unguided trajectories of all classes, with its interval (App. F.3).

    The null's is that of the data's covariance, or of the trajectories' own ends where the network comes without.
    """
    classes = _classes(config, _sampler(config)[1]).tolist()
    number, seed = config.num_unguided * len(classes), (config.seed + 1) % 2**32  # other starts than the trials'
    identity = {"weights_sha256": checksum(edm_folder(config.weights)), "classes": classes}
    identity |= {"noise": str(config.noise), "probe": str(config.probe)}
    unguided = Sweep(
        lambda: flow_trajectory(config.weights, number, classes, seed, config.noise, config.probe),
        key=jr.key(seed),
        members=number,
        dim="trajectory",
        known=lambda unit: labels(unit, lowest_peak_time=LOWEST_PEAK),
        identity=identity,
    )
    data, followed = run(unguided, path, progress=progress, failures="raise"), unguided.units[0]
    null = stored_null(followed, edm_folder(config.weights)) or sampled_null(followed, data["final_state"].values)
    null_sigma = _longest(data, null["null_length"].values)
    row = equilibrium_row(data)
    assert row.interval is not None
    if np.isfinite(row.value):
        return Critical(row.value, *row.interval, null_sigma)
    # Without an interior peak the level of the longest median stands in, with no interval.
    median = np.median(data["equilibrium_length"].values, axis=0)
    return Critical(float(data["time"].values[np.argmax(median)]), np.nan, np.nan, null_sigma)


def _longest(data: xr.Dataset, lengths: np.ndarray) -> float:
    """Noise level at which a curve peaks, or is largest where it has no interior peak."""
    curves = xr.DataArray(lengths[None], dims=("trajectory", "time"))
    point = median_peak(data, curves, LOWEST_PEAK)
    above = data["time"].values >= LOWEST_PEAK
    largest = data["time"].values[above][np.argmax(lengths[above])]
    return float(point.location) if np.isfinite(point.location) else float(largest)


def known(config: Config, unit: Trial) -> xr.Dataset:
    """Classes of the trials, conditions, centres and strengths of the pulses, and the critical level."""
    number, critical = len(_classes(config, _sampler(config)[1])), unit.critical
    curve, about = unit.conditions.curve, {"units": "data", "long_name": "centre of the pulse"}
    return xr.Dataset(
        coords={
            "trial_class": (("trajectory",), np.asarray(unit.labels), {"units": "1"}),
            "center": (("center",), np.asarray(curve.center), about),
            "curve_strength": (("center",), np.asarray(curve.strength), {"units": "1"}),
            "condition": (("condition",), np.asarray(CONDITIONS)),
        },
        attrs={
            "critical_sigma": float(critical.sigma),
            "critical_low": float(critical.low),
            "critical_high": float(critical.high),
            "null_sigma": float(critical.null),
            "width": config.width,
            "strength": config.strength,
            "dose": dose(config),
            "class_names": _names(config, np.asarray(unit.labels)[:number]),
        },
    )


def pictures(config: Config, unit: Trial) -> xr.Dataset:
    """States of trial 0, two of them in the critical pulse, others evenly in ln sigma; without and with the pulse."""
    ts = np.asarray(unit.sampler.ts)[:-1]
    inside = float(unit.critical.sigma) * np.exp(np.asarray([0.25, -0.25]) * config.width)
    wanted = np.concatenate([np.geomspace(ts[0], ts[-1], _NUM_STATES - 2), inside])
    index = np.unique(np.argmin(np.abs(np.log(wanted[:, None] / ts)), axis=1))
    states = np.asarray(_paths(unit))[:, index]
    return xr.Dataset(
        {"snapshot_state": (("guided", "snapshot", "y", "x", "channel"), states, {"units": "data"})},
        coords={
            "snapshot_sigma": (("snapshot",), ts[index], {"units": "data"}),
            "guided": (("guided",), np.asarray(["no guidance", "critical pulse"])),
        },
    )


@eqx.filter_jit
def _paths(unit: Trial) -> Array:
    first = jnp.zeros((), jnp.int32)
    shown = jax.tree.map(lambda leaf: leaf[jnp.asarray([0, 2])], unit.conditions.of(first))  # none, critical
    start = jr.fold_in(unit.starts, first)
    return jax.lax.map(lambda weight: unit.sampler.path(weight, unit.labels[0], start), shown)


def summary(dataset: xr.Dataset) -> list[Row]:
    """Critical against random pulse and null's, with paired intervals, overall and by class; the best centre."""
    rows, differences = [], {name: difference_of(dataset, name) for name in _SCORES}
    for name, text in (("probability", _PROBABILITY), ("logit", "target logit"), ("top1", "top-1 fraction")):
        means, difference = dataset[name].mean("trajectory").values, differences[name]
        also = (*zip(CONDITIONS, map(float, means), strict=True), ("p", float(difference.p_value)))
        rows.append(Row(f"{text}: critical - random", float(difference.mean), "", _pair(difference.interval), also))
    rows.append(_against_null(dataset))
    rows += _class_rows(dataset, differences)
    best, interval = _best_center(dataset)
    sigma = (float(dataset.attrs["critical_low"]), float(dataset.attrs["critical_high"]))
    return [
        *rows,
        Row(_SIGMA_C, float(dataset.attrs["critical_sigma"]), "sigma", sigma),
        Row("sigma of the Gaussian null", float(dataset.attrs["null_sigma"]), "sigma"),
        Row(_BEST, best, "sigma", interval),
        Row("trials", float(dataset.sizes["trajectory"]), ""),
        Row("run time", float(dataset.attrs.get("run_time_s", np.nan)), "s"),
    ]


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What the summary's rows say in words: whether the critical pulse wins, and where guidance acts most."""
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
        f"constant guidance reaches {also['constant']:.3f}. {_null_words(dataset, by_name[_AGAINST_NULL])}"
    )


def _against_null(dataset: xr.Dataset) -> Row:
    """Critical against the null's pulse, trial by trial."""
    difference = difference_of(dataset, "probability", "null")
    means = dict(zip(CONDITIONS, dataset["probability"].mean("trajectory").values, strict=True))
    also = (("null", float(means["null"])), ("p", float(difference.p_value)))
    return Row(_AGAINST_NULL, float(difference.mean), "", _pair(difference.interval), also)


def _null_words(dataset: xr.Dataset, row: Row) -> str:
    """Whether the measured level is a better place than the one that needs no trajectory at all."""
    assert row.interval is not None
    low, high = row.interval
    verdict = "does better than" if low > 0 else "does worse than" if high < 0 else "does no better than"
    return (
        f"It {verdict} an equal pulse at sigma = {dataset.attrs['null_sigma']:.3g}, which the Gaussian null of "
        f"the data predicts without any trajectory ({dict(row.also)['null']:.3f}; difference {row.text})."
    )


def difference_of(dataset: xr.Dataset, name: str, other: str = "random") -> PairedDifference:
    """Critical against another pulse, groups in the order of the classes."""
    pair = (CONDITIONS.index("critical"), CONDITIONS.index(other))
    first, second = (_by_class(dataset, dataset[name].values[:, index]) for index in pair)
    return paired_difference(jnp.asarray(first), jnp.asarray(second), key=jr.key(0))


def _by_class(dataset: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Values (trials, ...) as (classes, trials of each, ...), of the rounds through all classes that are whole."""
    number = str(dataset.attrs["class_names"]).count("|") + 1
    trials = dataset["trajectory"].values
    rounds, sizes = np.unique(trials // number, return_counts=True)
    whole = values[np.isin(trials // number, rounds[sizes == number])]
    return np.swapaxes(whole.reshape(-1, number, *values.shape[1:]), 0, 1)


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


STUDY = Study(
    "pulse",
    unit,
    summary,
    findings,
    known=known,
    pictures=pictures,
    weights=weights,
    before=before,
    members=lambda config: config.num_trials * len(_classes(config, _sampler(config)[1])),
    pack=lambda config: config.chunk,
    remedy="Take a smaller strength or more steps.",
    saves_memory="Take a smaller --chunk; 1 takes the least.",
)
