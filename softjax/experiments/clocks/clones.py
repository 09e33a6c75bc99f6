"""What clones of a trained denoiser agree on: the sites of their ends, and the class that a classifier sees."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array, Configuration, PRNGKeyArray, Times
from softjax.convert import read_description, shipped
from softjax.data import FASHION_MNIST_CLASSES
from softjax.dynamics import cloning_agreement
from softjax.experiments._shared.judge import Judge, load_judge
from softjax.experiments._shared.networks import variant_name
from softjax.experiments._shared.target import Target
from softjax.experiments._shared.trajectories import ReverseTrajectory, brightness
from softjax.experiments.clocks.table import agreement_of_clones
from softjax.fields import AbstractField
from softjax.observables import binarize

_LEVELS = (20.0, 0.1)  # noise-to-signal ratios between which trajectories are cloned


def cloned(unit: ReverseTrajectory, target: Target, num: int, num_times: int, key: PRNGKeyArray) -> xr.Dataset:
    """The agreement of `num` pairs of clones over `cloning_time`, site by site and in class.

    Classes are those that the shipped classifier sees in what the network draws without a label; there are none where
    it does not fit the images, or where the network always needs one.
    """
    ts = coarse_grid(target)
    at = spread_indices(unit, ts, num_times)
    sites = _agreement(unit, ts, at, key, num, _Sites(unit.channels))
    found, judge = agreement_of_clones(ts[jnp.asarray(at)], *sites), _judge(unit, target)
    if judge is None:
        return found
    field = unit.field if unit.labels is None else unit.field.with_label(None)  # pyright: ignore[reportAttributeAccessIssue]
    seen = _ClassSeen(field, judge, ts[-1], target.spins)
    same = cloning_agreement(field, ts, at, key=key, num=num, shape=unit.shape, classify=seen)
    agreement, over = np.asarray(same.agreement), ("cloning_time",)
    return found.assign(
        class_agreement=(over, agreement, {"units": "1", "long_name": "clones of one class"}),
        class_agreement_error=(over, _binomial_error(agreement, num), {"units": "1"}),
    )


def coarse_grid(target: Target) -> Times:
    """The times of clones and tangents."""
    return target.grid(64 if target.field.process.has_edm_clock() else 100, 0.0, 0.0)


def spread_indices(unit: ReverseTrajectory, ts: Times, num: int) -> list[int]:
    """Grid indices at noise-to-signal ratios that are evenly spread in their logarithm."""
    levels = np.log(np.asarray(jax.vmap(unit.field.process.noise_to_signal)(ts)))
    highest, lowest = np.log(_LEVELS)
    wanted = np.linspace(highest, lowest, num)
    nearest = np.abs(levels[None] - wanted[:, None]).argmin(axis=1)
    return np.unique(np.clip(nearest, 1, len(levels) - 2)).tolist()


def _agreement(
    unit: ReverseTrajectory, ts: Times, at: list[int], key: PRNGKeyArray, num: int, classify: Callable[..., Array]
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of `num` pairs of clones and its standard error; of two or more for each of the first classes."""
    if unit.labels is None:
        found = cloning_agreement(unit.field, ts, at, key=key, num=num, shape=unit.shape, classify=classify)
        return np.asarray(found.agreement), np.asarray(found.standard_error)
    classes = np.unique(np.asarray(unit.labels))[: max(num // 2, 1)]
    each = [
        cloning_agreement(
            unit.field.with_label(jnp.asarray(label)),  # pyright: ignore[reportAttributeAccessIssue]
            ts,
            at,
            key=jr.fold_in(key, label),
            num=max(num // len(classes), 2),
            shape=unit.shape,
            classify=classify,
        )
        for label in classes
    ]
    agreement = np.stack([np.asarray(one.agreement) for one in each])
    error = np.stack([np.asarray(one.standard_error) for one in each])
    return agreement.mean(axis=0), np.sqrt((error**2).sum(axis=0)) / len(each)


def _binomial_error(share: np.ndarray, num: int) -> np.ndarray:
    """Standard error of a share of `num` draws, which is not 0 where all are alike (Agresti and Coull 1998)."""
    likely = (share * num + 2) / (num + 4)
    return np.sqrt(likely * (1 - likely) / (num + 4))


class _Sites(eqx.Module):
    """The class of each site: whether it is brighter than middle grey."""

    channels: int = eqx.field(static=True)

    def __call__(self, x: Configuration) -> Array:
        return brightness(x, self.channels) > 0


class _ClassSeen(eqx.Module):
    """The class that a classifier sees in an end, freed of the noise of the last time."""

    field: AbstractField
    judge: Judge
    last: Array
    spins: bool = eqx.field(static=True)

    def __call__(self, x: Configuration) -> Array:
        image = self.field.denoise(self.last, x)
        image = (binarize(image) if self.spins else image).reshape(*image.shape[:2], 1)
        return jnp.argmax(self.judge(image))


def _judge(unit: ReverseTrajectory, target: Target) -> Judge | None:
    """The shipped classifier, if the images are those that it knows and the network can do without a class."""
    if not knows_its_data(target):
        return None
    assert target.folder is not None
    training = read_description(target.folder)["about"].get("training", {})
    if unit.labels is not None and not training.get("label_dropout"):
        return None
    try:
        folder = shipped(f"classifier-{variant_name(not target.spins)}")
        return load_judge(folder, (*unit.shape[:2], 1), len(FASHION_MNIST_CLASSES))
    except ValueError:
        return None


def knows_its_data(target: Target) -> bool:
    """Whether it is a network of softjax's own, which were trained on Fashion-MNIST."""
    about = {} if target.folder is None else read_description(target.folder).get("about", {})
    return "Fashion-MNIST" in str(about.get("data", "")) and (target.channels or 1) == 1
