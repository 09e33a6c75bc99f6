"""The covariance of the data that a network was trained on, in its folder: the Gaussian null of what it learned."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from softjax._checks import require
from softjax.convert._parameters import CheckpointError
from softjax.fields import CovarianceField
from softjax.processes import AbstractProcess

COVARIANCE = "covariance.safetensors"
_ARRAYS = ("vectors", "variances", "mean", "residual_variance")
_LEAST_VARIANCE = 1e-7  # of the largest: what is below counts as none


def save_covariance(folder: Path | str, field: CovarianceField, num_samples: int, data: str) -> None:
    """Writes mean and covariance of some data, without classes, into a network's folder.

    * `folder`: where the network is;
    * `field`: the Gaussian of the data, `CovarianceField.from_samples`;
    * `num_samples`: of how many samples it is;
    * `data`: which data they are, in words.

    Eigenvectors are kept in half precision (mode responses change by 1e-4), those of vanishing variance not at all.

    >>> import tempfile
    >>> field = sj.CovarianceField.from_samples(jnp.arange(48.0).reshape(3, 4, 4) ** 2, sj.VP())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sj.convert.save_covariance(folder, field, 3, "three ramps")
    ...     print(sj.convert.load_covariance(folder, sj.VP())[1])
    3 samples of three ramps
    """
    require(field.variances.ndim == 1, "the covariance of one set of data is stored, not those of classes.")
    kept = np.asarray(field.variances) > _LEAST_VARIANCE * float(np.max(field.variances))
    arrays = {
        "vectors": np.asarray(field.vectors)[kept].astype(np.float16),
        "variances": np.asarray(field.variances, np.float32)[kept],
        "mean": np.asarray(field.mean, np.float32),
        "residual_variance": np.asarray(field.residual_variance, np.float32),
    }
    about = {"num_samples": str(num_samples), "data": data, "channels": str(field.channels or 0)}
    path = Path(folder) / COVARIANCE
    partial = path.with_name(f"{COVARIANCE}.partial")
    partial.write_bytes(save(arrays, {**about, "sha256": _digest(arrays, about)}))
    os.replace(partial, path)


def load_covariance(folder: Path | str, process: AbstractProcess) -> tuple[CovarianceField, str] | None:
    """The Gaussian of the data of the network in a folder, and what these data are; None where it is not there.

    * `folder`: of the network;
    * `process`: the noise.

    Raises `CheckpointError` for a file that is not as it was written.

    >>> field, data = sj.convert.load_covariance(sj.convert.shipped("fashion-binary"), sj.VP())
    >>> field.mean.shape, field.vectors.shape[1:]
    ((28, 28), (28, 28))
    """
    path = Path(folder) / COVARIANCE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if about.pop("sha256", "") != _digest(arrays, about):
        raise CheckpointError(f"{path} is damaged: its numbers are not those that were written.")
    vectors = arrays.pop("vectors").astype(np.float32)
    try:
        field = CovarianceField(vectors, process=process, channels=int(about["channels"]), **arrays)
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} holds no covariance: {error}") from error
    return field, f"{about.get('num_samples', '?')} samples of {about.get('data', 'unknown data')}"


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    digest.update(str(sorted(about.items())).encode())
    return digest.hexdigest()
