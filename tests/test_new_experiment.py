"""A folder of one's own is an experiment like those that ship."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FILES = {
    "__init__.py": '''
"""Random walks."""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
''',
    "config.py": '''
from dataclasses import dataclass

from softjax.experiments._shared.config import Count, Seed


@dataclass(frozen=True)
class Config:
    """Random walks on a line."""

    step: float = 1.0
    """Length of a step (sites)."""
    num_steps: Count = 50
    """Number of steps."""
    num_trajectories: Count = 6
    """Independent walks."""
    seed: Seed = 0
    """Seed of the random key."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version."""
        return cls(num_steps=5)
''',
    "study.py": """
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from softjax._types import Array
from softjax.experiments._shared.study import Study
from softjax.experiments._shared.summary import Row
from softjax.sweeps import Unit, measured


class Walk(eqx.Module):
    position: Array = measured(("time",), "sites", "where the walker is")


class Walker(Unit):
    step: Array
    seed: Array
    num_steps: int = eqx.field(static=True)

    def __call__(self, member, key):
        del key
        steps = jr.normal(jr.fold_in(self.seed, member), (self.num_steps,))
        return Walk(self.step * jnp.cumsum(steps))


def unit(config):
    return Walker(jnp.asarray(config.step), jr.key(config.seed), config.num_steps)


def known(config, unit):
    return xr.Dataset(coords={"time": np.arange(unit.num_steps)}, attrs={"step": config.step})


def derive(config, unit, dataset):
    return xr.Dataset({"spread": dataset["position"].std("trajectory")})


def summary(dataset):
    ends = dataset["position"].isel(time=-1)
    error = float(ends.std() / ends.size**0.5)
    return [Row("mean end", float(ends.mean()), "sites", (float(ends.mean()) - error, float(ends.mean()) + error)),
            Row("step", float(dataset.attrs["step"]), "sites"),
            Row("last spread", float(dataset["spread"][-1]), "sites")]


def findings(dataset, rows):
    return f"The walkers end at {rows[0].text}."


STUDY = Study("toy", unit, summary, findings, known=known, derive=derive, pack=lambda config: 4)
""",
    "figure.py": """
from matplotlib.figure import Figure


def figure(dataset):
    drawn = Figure()
    drawn.subplots().plot(dataset["time"], dataset["position"].T)
    return drawn
""",
}


@pytest.fixture
def softjax(tmp_path):
    """Runs the command in an empty folder, with the toy experiment beside it."""
    folder, here = tmp_path / "mine" / "toy", tmp_path / "here"
    folder.mkdir(parents=True)
    here.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content.lstrip())

    def call(*arguments, code="from softjax.cli import main; main()"):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            cwd=here,
            env=os.environ | {"SOFTJAX_EXPERIMENTS": str(folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_it_is_run_drawn_and_loaded(softjax, tmp_path):
    done = softjax("toy", "--step", "2", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "The walkers end at" in done.stdout
    out = tmp_path / "here" / "out"
    assert {path.name for path in out.iterdir()} == {
        *("toy.png", "toy.pdf", "config.json", "summary.json", "data.zarr")
    }
    assert json.loads((out / "config.json").read_text()) == {
        **{"step": 2.0, "num_steps": 50, "num_trajectories": 6, "seed": 0}
    }
    from softjax.experiments import load_results

    data = load_results(out)
    assert data["position"].dims == ("trajectory", "time")
    assert data["position"].shape == (6, 50)
    assert data["position"].attrs["units"] == "sites"
    assert data["spread"].shape == (50,)
    rows = {row["name"]: row["value"] for row in json.loads((out / "summary.json").read_text())}
    assert rows["mean end"] == pytest.approx(float(data["position"][:, -1].mean()))
    assert rows["step"] == 2.0

    again = softjax("toy", "--step", "3", "--out", "out")
    assert again.returncode == 1
    assert "another configuration (step: 2.0 there, 3.0 here)" in again.stderr
    assert again.stderr.count("\n") == 1


def test_it_is_swept_over_its_parameters(softjax, tmp_path):
    done = softjax(
        "sweep", "toy", "--quick", "--axis", "step=1,2", "--axis", "seed=0:3:4", "--row", "last", "--out=out"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "last spread" in done.stdout
    out = tmp_path / "here" / "out"
    assert {"sweep.png", "table.csv", "data.zarr"} <= {path.name for path in out.iterdir()}
    from softjax.experiments import load_results

    data = load_results(out)
    assert data["position"].dims == ("step", "seed", "trajectory", "time")
    assert data["position"].shape == (2, 4, 6, 5)
    np.testing.assert_allclose(data["position"].sel(step=2), 2 * data["position"].sel(step=1), rtol=1e-6)


def test_it_is_found_in_python_and_helped_with(softjax):
    code = """
from softjax import experiments
assert "toy" in experiments.names() and "toy" in dir(experiments)
assert experiments.configs.ToyConfig is experiments.toy.Config
data = experiments.toy.run(experiments.toy.Config(num_steps=3))
assert data.sizes == {"trajectory": 6, "time": 3}, data.sizes
"""
    done = softjax(code=code)
    assert (done.returncode, done.stderr) == (0, "")
    shown = softjax("toy", "--help")
    assert shown.returncode == 0
    assert "Length of a step" in shown.stdout
