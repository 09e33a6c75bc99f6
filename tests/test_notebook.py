"""A notebook, executed: objects in a line, figures as pictures, a bar, and nothing on stderr."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

CELLS = {
    "setup": """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp, jax.random as jr, numpy as np, equinox as eqx
import softjax as sj
field, ts, key = sj.PatchField(sj.PatchDictionary.two_pattern(3), sj.VP()), sj.log_grid(4.0, 0.5, 12), jr.key(0)
""",
    "process": "field.process",
    "field": "field",
    "network": """
network = jax.tree_util.Partial(lambda w, t, x: w * x, jnp.ones((16, 16, 3)))
sj.NetworkField(network, sj.VP(), channels=3)""",
    "trajectory": """
run = sj.simulate_ensemble(field, ts, key=key, num=3, shape=(8, 8), observe=lambda t, x: sj.correlation_length(x))
run""",
    "critical point": "sj.critical_point(ts, 1 + jnp.exp(-((jnp.log(ts) - 0.3) ** 2)) + 0 * run.observed, key=key)",
    "dispersion": "sj.dispersion(lambda x: sj.reverse_drift(field, 1.0, x), run.x[0], key=key)",
    "under jit": """
@jax.jit
def look(x):
    print(sj.dispersion(jnp.tanh, x, key=key))
    return x.sum()
look(run.x[0]);
""",
    "sweep": """
class Mean(sj.sweeps.Unit):
    scale: jax.Array
    def __call__(self, member, key):
        return {"mean": self.scale * jr.normal(jr.fold_in(key, member), (4,)).mean()}

sweep = sj.sweeps.Sweep(lambda scale: Mean(jnp.asarray(scale)), {"scale": [1.0, 2.0]}, members=3, key=key)
data = sj.sweeps.run(sweep, progress=True)
""",
    "experiment": """
from softjax.experiments import patch
from softjax.experiments.patch import Config
from dataclasses import replace
config = replace(Config.quick(), num_trajectories=2, grid_size=16)
dataset = patch.run(config)
""",
    "figure": "patch.figure(dataset)",
    "sweep figure": """
import xarray as xr
rows = xr.Dataset({n: (("beta", "row"), np.ones((2, 1))) for n in ("value", "low", "high")},
                  coords={"beta": [1.0, 2.0], "row": ["peak"], "units": ("row", ["1"])})
sj.plotting.sweep_figure(rows, "peak")""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of every cell, by its name."""
    home = tmp_path_factory.mktemp("notebook")
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    ours = {"IPYTHONDIR": str(home / "ipython"), "JUPYTER_PLATFORM_DIRS": "1", "JAX_PLATFORMS": "cpu"}
    before = dict(os.environ)
    os.environ.update(folders | ours)
    os.environ.pop("MPLBACKEND", None)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    notebook = new_notebook(cells=[new_code_cell(source.strip()) for source in CELLS.values()])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python", "language": "python"}
    try:
        done = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(home)}})
        executed = done.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    nbformat.validate(executed)
    return {name: cell.outputs for name, cell in zip(CELLS, executed.cells, strict=True)}


def text(outputs):
    (output,) = outputs
    return output["data"]["text/plain"]


def test_nothing_is_said_on_stderr(outputs):
    said = {name: [o.get("text") for o in out if o.get("name") == "stderr"] for name, out in outputs.items()}
    assert not any(said.values()), said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("process", "VP(beta=1)"),
        ("field", "PatchField(2 patterns of 3 x 3, VP(beta=1))"),
        ("network", "NetworkField(Partial of 768 parameters, predicts noise, channels=3, VP(beta=1))"),
        ("trajectory", "Trajectory(13 times from 4 to 0.5, x of shape (3, 8, 8), observed of shape (3, 13))"),
        ("critical point", "CriticalPoint(1.35"),
        ("dispersion", "Dispersion(8 x 8 rates, growth -"),
    ],
)
def test_objects_show_themselves_in_a_line(outputs, name, shown):
    assert text(outputs[name]).startswith(shown)
    assert "\n" not in text(outputs[name])


def test_tracers_show_their_shapes(outputs):
    (output,) = outputs["under jit"]
    assert output["name"] == "stdout"
    assert output["text"].startswith("Dispersion(8 x 8 rates, growth f")


@pytest.mark.parametrize("name", ["figure", "sweep figure"])
def test_figures_show_themselves(outputs, name):
    (output,) = outputs[name]
    assert len(output["data"]["image/png"]) > 5000


def test_the_bar_ends_full_in_one_place(outputs):
    (output,) = outputs["sweep"]
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"] == "6 of 6 units"
    assert '<progress value="6" max="6"' in output["data"]["text/html"]
    assert outputs["experiment"] == []


def test_the_kernel_is_this_python(outputs):
    assert outputs["setup"] == []
    assert Path(sys.prefix, "share", "jupyter", "kernels", "python3").is_dir()
