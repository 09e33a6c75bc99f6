r"""What a scheduler's configuration says of the model: its process, what it predicts, and how time is given to it.

Samplers of one family share the table $\bar\alpha_n = \prod_{m\le n}(1 - \beta_m)$ of training, and call the network
with the step n. Those of EDM (Karras et al. 2022, Table 1) share $D = c_{skip} x + c_{out} F(c_{in} x; c_{noise})$ with
$c_{noise} = \tfrac14 \ln\sigma$, or 1000 times that in the networks of consistency models (Song et al. 2023).
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softjax.convert import CheckpointError
from softjax.fields._network import Prediction
from softjax.interop._entries import Entries
from softjax.processes import EDM, AbstractProcess, DiscreteVP

_TABLES = (
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler"),
    *("PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "UniPCMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler"),
)
_EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "KarrasEDMScheduler", "CMStochasticIterativeScheduler")
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "denoiser"}


class Schedule(NamedTuple):
    """What a model was trained for."""

    process: AbstractProcess
    prediction: Prediction
    preconditioning: tuple[float, float, float] | None
    """EDM's: sigma_data, the factor of ln sigma in what the network gets as time, and the sign of c_out; else None."""
    text: str


def schedule(path: Path, values: dict[str, Any], denoiser: bool) -> Schedule:
    """The schedule of a scheduler's configuration.

    Raises `CheckpointError` for an unknown scheduler, for one of consistency models unless `denoiser` says that the
    network is none, and for values that no schedule can have.
    """
    entries = Entries(path, values)
    name = entries.option("_class_name", None, (*_TABLES, *_EDM))
    if name in _EDM:
        return _edm(entries, name, denoiser)
    for entry in ("use_flow_sigmas", "use_flow_match"):
        if values.get(entry):
            entries.refuse(entry, "false: rectified flows of diffusers are not supported")
    if values.get("timestep_type", "discrete") != "discrete":
        entries.refuse("timestep_type", "'discrete'")
    prediction = entries.option("prediction_type", "epsilon", tuple(_PREDICTIONS))
    if values.get("predict_epsilon") is False:  # before diffusers 0.9
        prediction = "sample"
    table = alphas_cumprod(entries)
    try:
        process = DiscreteVP(table, clock="index")
    except ValueError as error:
        raise CheckpointError(f"{path}: its table of noise can't be used: {error}") from error
    text = f"{name} with {len(table)} steps, t is the step; the network predicts {prediction!r}"
    return Schedule(process, _PREDICTIONS[prediction], None, text)


def alphas_cumprod(entries: Entries) -> np.ndarray:
    """The table of signal variances, (steps,), in double precision; a last step without signal is left out."""
    cumulative = np.cumprod(1 - _betas(entries))
    if entries.flag("rescale_betas_zero_snr", False):
        roots = np.sqrt(cumulative)
        cumulative = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return cumulative[:-1] if cumulative[-1] == 0 else cumulative


def _betas(entries: Entries) -> np.ndarray:
    """Noise variances of the steps of training."""
    trained = entries.values.get("trained_betas")
    if trained is not None:
        good = isinstance(trained, list) and 2 <= len(trained) <= 10**5
        if not good or not all(type(beta) in (int, float) and 0 < beta < 1 for beta in trained):
            entries.refuse("trained_betas", "a list of 2 to 100000 numbers between 0 and 1")
        return np.asarray(trained, float)
    steps = entries.count("num_train_timesteps", 1000, 10**5, 2)
    start, end = entries.number("beta_start", 1e-4, 1e-12, 1), entries.number("beta_end", 0.02, 1e-12, 1)
    kind = entries.option("beta_schedule", "linear", ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"))
    if kind == "linear":
        return np.linspace(start, end, steps)
    if kind == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, steps) ** 2
    if kind == "sigmoid":
        return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps)))
    left = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - left[1:] / left[:-1], 0.999)


def _edm(entries: Entries, name: str, denoiser: bool) -> Schedule:
    if name == "CMStochasticIterativeScheduler" and not denoiser:
        raise CheckpointError(
            f"{entries.path} is the scheduler of consistency models ({name}), whose networks are not denoisers. If the "
            "folder holds the EDM network they were distilled from (edm_imagenet64_ema), give denoiser=True."
        )
    scale, sign = 0.25, 1.0
    if name == "CMStochasticIterativeScheduler":
        scale = 250.0
    elif name == "KarrasEDMScheduler":
        scale = 250.0 if entries.option("precondition_type", "edm", ("edm", "cm_edm")) == "cm_edm" else 0.25
    elif entries.option("prediction_type", "epsilon", ("epsilon", "v_prediction")) == "v_prediction":
        sign = -1.0
    sigma_data = entries.number("sigma_data", 0.5, 1e-6, 1e6)
    text = f"{name}, t is sigma; EDM's preconditioning with sigma_data {sigma_data:g}, network time {scale:g} ln sigma"
    return Schedule(EDM(sigma_data), "denoiser", (sigma_data, scale, sign), text)
