"""How accurate are scores and derivatives in the device's single precision? `python benchmarks/accuracy.py OUT.json`.

Each number is the largest error, relative to the largest value, against double precision on the CPU: with products in
full single precision (softjax's own), with JAX's default, and with TF32 allowed, which GPUs may take for networks.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import softjax as sj
from softjax.convert import load_network, shipped

PRECISIONS = ("highest", None, "tensorfloat32")


def fields() -> dict[str, tuple[Any, tuple[int, ...], float]]:
    """Fields with the shape of a configuration and a time near their transition."""
    patterns = np.random.default_rng(0).normal(size=(2000, 5, 5)).astype(np.float32)
    images = np.random.default_rng(1).choice([-1.0, 1.0], size=(200, 28, 28)).astype(np.float32)
    return {
        "patch, fused": (sj.PatchField(sj.PatchDictionary.ising(5, key=jr.key(0)), sj.VP()), (64, 64), 3.0),
        "patch, matrix products": (sj.PatchField(sj.PatchDictionary(patterns), sj.VP()), (64, 64), 1.0),
        "empirical": (sj.EmpiricalField(images, sj.VP()), (28, 28), 1.0),
        "U-Net": (load_network(shipped("fashion-binary")), (28, 28), 1.0),
        "EDM2": (load_network(shipped("edm2-fashion")), (32, 32, 1), 1.0),
    }


def values(field: Any, t: Any, x: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The score and its derivative along a direction."""
    return jax.jvp(lambda x: field.score(t, x), (x,), (v,))


def exact(field: Any, t: float, x: jax.Array, v: jax.Array) -> list[np.ndarray]:
    """In double precision on the CPU."""
    with jax.default_device(jax.devices("cpu")[0]), jax.enable_x64(True):

        def widened(leaf: Any) -> Any:
            floats = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
            return jnp.asarray(np.asarray(leaf, np.float64)) if floats else leaf

        wide = jax.tree.map(widened, field)
        arguments = (jnp.asarray(t, jnp.float64), *(jnp.asarray(np.asarray(a, np.float64)) for a in (x, v)))
        return [np.asarray(a) for a in jax.jit(lambda *a: values(wide, *a))(*arguments)]


def errors() -> list[dict[str, Any]]:
    """All fields in all precisions."""
    found = []
    for name, (field, shape, t) in fields().items():
        x, v = (jr.normal(jr.key(i), shape, jnp.float32) for i in range(2))
        wanted = exact(field, t, x, v)
        for precision in PRECISIONS:
            with jax.default_matmul_precision(precision):
                seen = jax.jit(lambda field, x, v, t=t: values(field, jnp.float32(t), x, v))(field, x, v)
            parts = {
                what: float(np.max(np.abs(np.asarray(a, np.float64) - b)) / np.max(np.abs(b)))
                for what, a, b in zip(("score", "derivative"), seen, wanted, strict=True)
            }
            found.append({"field": name, "products": precision or "default", **parts})
            print(found[-1])
    return found


if __name__ == "__main__":
    device = jax.devices()[0]
    about = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    Path(sys.argv[1]).write_text(json.dumps({**about, "errors": errors()}, indent=1) + "\n")
