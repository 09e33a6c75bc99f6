"""The core runs where only its own requirements are installed, and the other layers say what they need."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGE = Path(__file__).parents[1] / "softjax"
REQUIRED = ("jax", "jaxlib", "equinox", "diffrax", "lineax", "jaxtyping", "numpy", "lazy-loader")

CORE = """
import jax, jax.numpy as jnp, jax.random as jr, numpy as np
import softjax as sj

field, ts, shape = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP()), sj.log_grid(4.0, 0.5, 12), (8, 6)
probe = sj.ModeProbe(field, sj.fourier_modes(shape, 2))
run = sj.simulate_ensemble(
    field, ts, key=jr.key(0), num=3, shape=shape, observe=lambda t, x: (probe(t, x).rayleigh, sj.correlation_length(x))
)
response, lengths = run.observed
assert response.shape[:2] == (3, len(ts)), response.shape
assert np.all(np.isfinite(response))
assert np.isfinite(float(sj.theory.hartree(sj.VP(), ts, 3, shape).critical_time))
point = sj.critical_point(ts, 1 + np.exp(-(np.log(ts) - 0.3) ** 2) + 0 * lengths, key=jr.key(1))
assert abs(np.log(float(point.location)) - 0.3) < 0.2, point.location
"""


def required(names, seen):
    """Those distributions and what they require in turn."""
    for name in names:
        found = importlib.metadata.distribution(name)
        if found.name not in seen:
            seen[found.name] = found
            wanted = [Requirement(line) for line in found.requires or []]
            required([w.name for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})], seen)
    return seen


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """Runs code where softjax is, what the core requires, and nothing else."""
    site = tmp_path_factory.mktemp("site")
    for distribution in required(REQUIRED, {}).values():
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            (site / top).symlink_to(distribution.locate_file(top))
    (site / "softjax").symlink_to(PACKAGE)

    def run(code):
        code = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, env=environment)

    return run


@pytest.mark.slow
def test_the_core_runs_where_only_its_requirements_are(lean):
    done = lean(CORE)
    assert done.returncode == 0, done.stderr


NEEDS = {
    "networks": "flax",
    "convert": "flax",
    "interop": "flax",
    "sweeps": "xarray",
    "plotting": "matplotlib",
    "report": "xarray",
}


@pytest.mark.slow
@pytest.mark.parametrize("layer", NEEDS)
def test_other_layers_say_what_to_install(lean, layer):
    wanted = f"ModuleNotFoundError: softjax.{layer} needs {NEEDS[layer]}: python -m pip install softjax-diffusion"
    for statement in (f"import softjax; softjax.{layer}", f"from softjax import {layer}"):
        done = lean(statement)
        assert done.stderr.splitlines()[-1:] == [wanted], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import softjax.networks",
        "import softjax.plotting",
        "from softjax.experiments.patch import run",
        "from softjax.training import load_checkpoint",
    ],
)
def test_what_is_imported_by_its_path_names_what_is_missing(lean, statement):
    last = lean(statement).stderr.splitlines()[-1]
    assert re.fullmatch("ModuleNotFoundError: No module named '(flax|matplotlib|safetensors|xarray)'", last)
