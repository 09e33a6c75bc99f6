"""Growth along the path: exact where every step is a convolution, finite and drawn for the patch model."""

import numpy as np
import pytest

from softjax import cli
from softjax.experiments import growth, load_results
from softjax.experiments._shared.config import PatchModel
from softjax.experiments.configs import GrowthConfig, Probe
from softjax.experiments.growth.study import explained

pytestmark = pytest.mark.slow
SMALL = ["--num-trajectories", "3", "--num-steps", "12", "--num-tangents", "2", "--num-probes", "2"]
SMALL += ["--probe.max-shell", "3", "--iterations", "1"]
SOURCE = """
from types import SimpleNamespace
import softjax as sj
from softjax.spectral import free_field_spectrum
gaussian = SimpleNamespace(field=sj.GaussianField(free_field_spectrum((8, 8), 0.5, 2.0), sj.VP()), shape=(8, 8))
"""


def test_rates_along_the_path_explain_all_growth_of_a_gaussian_field(tmp_path, monkeypatch, capsys):
    (tmp_path / "linear_target.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    cli.main(["growth", "linear_target:gaussian", *SMALL, "--t-max", "3", "--t-min", "0.3", "--out", "out"])
    assert "r^2, rates along the path" in capsys.readouterr().out
    data = load_results("out/data.zarr")
    assert np.ptp(data["predicted"].values) > 0.1
    # The shells average amplitudes, the prediction rates: they agree where a shell holds one wavenumber.
    one = {"shell": slice(0, 1)}
    np.testing.assert_allclose(data["realised"].isel(one), data["predicted"].isel(one), atol=1e-5)
    np.testing.assert_allclose(data["amplification"][:, -1], 1, rtol=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"growth.png", "summary.json"}


def test_the_patch_model_grows_and_its_low_shells_the_most():
    config = GrowthConfig(
        num_trajectories=3,
        num_steps=40,
        num_tangents=2,
        num_probes=4,
        t_min=0.3,
        model=PatchModel(grid_size=12, patch_size=3, num_random=1),
        probe=Probe(max_shell=3, kind="isotropic"),
    )
    data = growth.run(config)
    rows = {row.name: row for row in growth.summary(data)}
    grown = [rows[f"growth of shell {n} beyond noise"].value for n in (0, 1, 3)]
    assert min(grown[:2]) > grown[2] > 0
    assert rows["its power in shells 0 to 2 at the start"].value > 0.6
    share = rows["share of shells 0 to 2 in what noise there adds"].value
    assert 0.3 < share < 1
    low, high = rows["r^2, rates along the path"].interval
    assert 0 <= low <= rows["r^2, rates along the path"].value <= high <= 1
    assert "grows" in growth.findings(data, list(rows.values()))


def test_what_is_explained():
    x = np.arange(6.0).reshape(2, 3)
    assert explained(x, 3 - 2 * x) == pytest.approx(1)
    assert explained(x, np.asarray([[1, -1, 0], [0, -1, 1.0]])) == pytest.approx(0)
    assert np.isnan(explained(x, np.ones((2, 3))))
