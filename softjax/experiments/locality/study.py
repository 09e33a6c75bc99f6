"""How well what local scores, and others, make of the same noise agrees with the network, beside chance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from softjax.convert import load_module, shipped
from softjax.experiments._shared.judge import Judge
from softjax.experiments._shared.networks import checksum, variant_name
from softjax.experiments._shared.score_gap import score_distance
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row
from softjax.experiments.locality.chance import CHANCES, Agreement, Estimate, agreement, jackknife
from softjax.experiments.locality.config import Config
from softjax.experiments.locality.models import (
    BEST,
    GLOBAL,
    LOCAL,
    NETWORK,
    PCA,
    WIENER,
    BestModel,
    Model,
    classes,
    data,
    folder,
    names,
    setting,
    unit,
)
from softjax.observables import binarize


def axes(config: Config) -> dict[str, Any]:
    """The models, and the classes of a conditional network."""
    labels = classes(config)
    return {"model": names(config), **({"label": labels} if labels else {})}


def known(config: Config, unit: Model | BestModel) -> xr.Dataset:
    """Times, or noise levels, of the noisy images; which network, how images are drawn."""
    edm = _process(unit).has_edm_clock()
    clock = {"long_name": "noise level", "units": "data"} if edm else {"long_name": "diffusion time", "units": "1"}
    about = {"network": folder(config).name, "weights_sha256": checksum(folder(config)), "sampler": config.sampler}
    about |= {"num_steps": config.time.num_steps, "clock": "sigma" if edm else "t"}
    return xr.Dataset(coords={"time": (("time",), np.asarray(unit.task.times), clock)}, attrs=about)


def derive(config: Config, unit: Any, dataset: xr.Dataset) -> xr.Dataset:
    """Correlations r over pixels of the network's images with those of each model, for all pairs of noise.

    * `sample_r` (model, image, other): of images from noise; `sample_mean_r` (image): with the mean image of the class;
      `sample_label` (image): the class that was asked for, or that the shipped classifier sees in the network's image;
    * `denoised_r` (model, time, noisy, other_noisy), `denoised_mean_r` (time, noisy), `noisy_label`: the same for
      denoised test images, whose class is known;
    * `score_distance` (model, time, noisy): sigma^2/N times the squared distance of the scores; `score_gap` (time,
      noisy): that of the best local score minus that of the global one;
    * `best_patch_size` (time, class).
    """
    labels, ts = classes(config), unit.task.times
    samples, denoised = (_by_image(dataset[name]) for name in ("sample", "denoised"))
    models = [str(name) for name in dataset["model"].values]
    network, best = models.index(NETWORK), models.index(BEST)
    each = [setting(config, label) for label in labels or (None,)]
    noisy_label = np.concatenate([s.test.labels[: s.task.states.shape[1]] for s in each])
    number = samples.shape[1] // max(len(labels), 1)
    sample_label = np.repeat(labels, number) if labels else _seen(config, samples[network])
    means = _mean_images(config)
    distances = np.stack(
        [score_distance(_process(unit), ts, jnp.asarray(denoised[network]), jnp.asarray(other)) for other in denoised]
    )
    denoised_r = np.stack([_pairs(denoised[network], other) for other in denoised])
    sizes = np.asarray(config.patch_sizes)[_best(denoised_r[1 : 1 + len(config.patch_sizes)], max(len(labels), 1))]
    variables = {
        "sample_r": (
            ("model", "image", "other"),
            np.stack([_pairs(samples[network], other) for other in samples]),
            "1",
        ),
        "sample_mean_r": (("image",), _with(samples[network], means[sample_label]), "1"),
        "sample_label": (("image",), sample_label, "1"),
        "denoised_r": (("model", "time", "noisy", "other_noisy"), denoised_r, "1"),
        "denoised_mean_r": (("time", "noisy"), _with(denoised[network], means[noisy_label]), "1"),
        "noisy_label": (("noisy",), noisy_label, "1"),
        "score_distance": (("model", "time", "noisy"), distances, "1"),
        "score_gap": (("time", "noisy"), distances[best] - distances[models.index(GLOBAL)], "1"),
        "best_patch_size": (("time", "class"), sizes, "sites"),
    }
    return xr.Dataset({name: (dims, values, {"units": units}) for name, (dims, values, units) in variables.items()})


def _process(unit: Model | BestModel) -> Any:
    return unit.network.process if isinstance(unit, BestModel) else unit.field.process


def _by_image(images: xr.DataArray) -> np.ndarray:
    """(model, [time,] image, y, x): classes one after the other."""
    images = images if "label" in images.dims else images.expand_dims("label")
    last = "state" if "state" in images.dims else "number"
    ordered = images.transpose("model", ..., "label", last, "y", "x")
    values = ordered.values
    return values.reshape(*values.shape[:-4], -1, *values.shape[-2:])


def _pairs(network: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlations of every image (..., image, y, x) of the network with every one of the other model."""
    a, b = (_normalised(x) for x in (network, other))
    return np.einsum("...iyx,...jyx->...ij", a, b)


def _with(network: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Correlations of each image (..., image, y, x) of the network with one of (image, y, x)."""
    return np.sum(_normalised(network) * _normalised(images), axis=(-2, -1))


def _normalised(images: np.ndarray) -> np.ndarray:
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    return centred / np.sqrt(np.sum(centred**2, axis=(-2, -1), keepdims=True))


def _best(denoised_r: np.ndarray, num_classes: int) -> np.ndarray:
    """Which local score (local, time, noisy, noisy) agrees best on average over a class's states: (time, class)."""
    own = np.diagonal(denoised_r, axis1=-2, axis2=-1)
    return own.reshape(*own.shape[:2], num_classes, -1).mean(axis=-1).argmax(axis=0)


def _seen(config: Config, images: np.ndarray) -> np.ndarray:
    """The classes that the shipped classifier sees in images."""
    grey = config.grey or images.shape[-1] > 28
    judge = Judge(load_module(shipped(f"classifier-{variant_name(grey)}")))
    shown = jnp.asarray(images) if grey else binarize(jnp.asarray(images))
    return np.asarray(jnp.argmax(jax.jit(jax.vmap(judge))(shown[..., None]), axis=1))


def _mean_images(config: Config) -> np.ndarray:
    """The mean training image of every class; that of all where a class has none."""
    train = data(config)[0]
    whole = train.images.mean(axis=0)
    members = [train.images[train.labels == label] for label in range(10)]
    return np.stack([images.mean(axis=0) if len(images) else whole for images in members])


def agreements(dataset: xr.Dataset, power: int = 1) -> dict[str, Agreement]:
    """Agreement of every model's samples with the network's, in r or, with `power` 2, in r squared."""
    labels, means = dataset["sample_label"].values, dataset["sample_mean_r"].values ** power
    pairs = dataset["sample_r"] ** power
    return {str(name): agreement(pairs.sel(model=name).values, labels, means) for name in dataset["model"].values[1:]}


def along(dataset: xr.Dataset, model: str) -> list[Agreement]:
    """Agreement of a model's denoised test images with the network's, time by time."""
    labels, means = dataset["noisy_label"].values, dataset["denoised_mean_r"].values
    pairs = dataset["denoised_r"].sel(model=model).transpose("time", "noisy", "other_noisy").values
    return [agreement(pair, labels, mean) for pair, mean in zip(pairs, means, strict=True)]


def summary(dataset: xr.Dataset) -> list[Row]:
    """r, its square, and what r has beyond chance (other noise of the same label), each beside all chance levels."""
    plain, squared = agreements(dataset), agreements(dataset, 2)
    return [
        *(_row(f"r, {name}", found.own, found.chance) for name, found in plain.items()),
        *(_row(f"r2, {name}", found.own, found.chance) for name, found in squared.items()),
        *(_excess_row(f"excess r, {name}", found) for name, found in plain.items()),
    ]


def _excess_row(name: str, found: Agreement) -> Row:
    """Beyond chance with the same label; where no label has two images, beyond other noise."""
    same = found.excess["label"]
    if np.isfinite(same.value):
        return _row(name, same, found.excess)
    return _row(name, found.excess["other"], found.excess, "other noise")


def _row(name: str, own: Estimate, beside: dict[str, Estimate], reason: str = "") -> Row:
    low, high = (round(end, 3) for end in own.interval)
    interval = (low, high) if np.isfinite(low) else None
    also = tuple((chance, round(beside[chance].value, 3)) for chance in CHANCES)
    return Row(name, round(own.value, 3), "1", interval, also, reason)


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What the models know of the noise beyond chance, in words; and where the local score is the nearer one."""
    by_name, plain = {row.name: row for row in rows}, agreements(dataset)
    single = max(
        (name for name in plain if name.startswith(LOCAL)), key=lambda name: by_name[f"excess r, {name}"].value
    )

    def excess(name: str) -> str:
        return by_name[f"excess r, {name}"].text.replace("  ", " ")

    known = np.isfinite(plain[BEST].chance["label"].value)
    chance = "of other noise with the same label" if known else "of other noise"
    sampler = "DDIM, cosine schedule" if dataset.attrs["sampler"] == "ddim" else "Euler's flow"
    return (
        f"{dataset.sizes['image']} images of {dataset.attrs['network']} from equal noise ({sampler}, "
        f"{dataset.attrs['num_steps']} steps), by what r has beyond that {chance}: the best local score at each time "
        f"{excess(BEST)}, one side ({single}) {excess(single)}, PCA-local {excess(PCA)}, Wiener filter "
        f"{excess(WIENER)}, global score {excess(GLOBAL)}. {_beyond_the_mean(plain)} {_gap_in_words(dataset)}"
    )


def _beyond_the_mean(found: dict[str, Agreement]) -> str:
    """Which models know more of an image than the mean of its class tells, in words."""
    more = [name for name, one in found.items() if one.excess["mean"].interval[0] > 0]
    by_mean = {name: one.excess["mean"] for name, one in found.items() if name in (more or found)}
    top, most = max(by_mean.items(), key=lambda item: item[1].value)
    who = ", ".join(more) if more else "no model"
    low, high = most.interval
    beyond = f"at most {top}, {most.value:.3f} [{low:.3f}, {high:.3f}]"
    return f"Beyond the r that the mean image of the class has: {who} ({beyond})."


def gaps(dataset: xr.Dataset) -> list[Estimate]:
    """The local-minus-global score gap, time by time."""
    gap = dataset["score_gap"].transpose("time", "noisy").values
    return [jackknife(lambda kept, at=at: at[kept], at.size) for at in gap]


def _gap_in_words(dataset: xr.Dataset) -> str:
    ts, clock, found = dataset["time"].values, dataset.attrs["clock"], gaps(dataset)
    nearer = {
        "local": [t for t, gap in zip(ts, found, strict=True) if gap.interval[1] < 0],
        "global": [t for t, gap in zip(ts, found, strict=True) if gap.interval[0] > 0],
    }
    words = [
        f"nearer the {which} score at {len(at)} of {ts.size} times ({clock} = {max(at):.3g} to {min(at):.3g})"
        for which, at in nearer.items()
        if at
    ]
    if not words:
        return "On noisy test images neither the best local nor the global score is nearer the network's."
    return f"On noisy test images its score is {', and '.join(words)}."


STUDY = Study(
    "locality",
    unit,
    summary,
    findings,
    known=known,
    derive=derive,
    weights=lambda config: {"weights_sha256": checksum(folder(config))},
    axes=axes,
    members=lambda config: None,
    pack=lambda config: 1,
    saves_memory="Take fewer --num-patches, --num-images, --num-states and --num-samples.",
)
