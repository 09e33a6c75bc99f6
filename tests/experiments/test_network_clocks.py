"""The clocks of trained denoisers: the table, its places, and what clones of a small network agree on."""

import numpy as np
import pytest

import softjax as sj
from softjax import cli
from softjax.experiments import load_results
from softjax.experiments._shared.summary import Row
from softjax.experiments.clocks.clones import _binomial_error
from softjax.experiments.clocks.table import cloning_row, on_every_clock

SOURCE = """
from types import SimpleNamespace
import softjax as sj
from softjax.spectral import free_field_spectrum
gaussian = SimpleNamespace(field=sj.GaussianField(free_field_spectrum((8, 8), 0.5, 2.0), sj.VP()), shape=(8, 8))
"""


def test_places_are_those_that_intervals_allow():
    rows = [
        Row("first", 4.0, "t", (3.5, 4.5)),
        Row("second", 2.0, "t", (1.5, 3.6)),
        Row("exact", 3.0, "t"),
        Row("last", 1.0, "t", (0.8, 1.2)),
        Row("none", float("nan"), "t", reason="the curve does not cross"),
    ]
    table = on_every_clock(sj.VP(), rows)
    np.testing.assert_array_equal(table["clock_first"], [1, 1, 2, 4, np.nan])
    np.testing.assert_array_equal(table["clock_last"], [2, 3, 3, 4, np.nan])
    assert str(table["clock_reason"].sel(clock="none").values) == "the curve does not cross"
    np.testing.assert_allclose(table["clock_sigma"][2], np.sqrt(-np.expm1(-3.0)), rtol=1e-6)


def test_no_crossing_of_the_agreement_is_none_with_a_reason():
    known = {"agreement": [0.8, 0.9], "agreement_error": [0.01, 0.01]}
    dataset = on_every_clock(sj.VP(), [Row("a", 1.0, "t")]).assign_coords(cloning_time=[2.0, 1.0])
    dataset = dataset.assign({name: (("cloning_time",), values) for name, values in known.items()})
    row = cloning_row("clones", dataset, 0.775)
    assert np.isnan(row.value)
    assert "0.775" in row.reason
    assert cloning_row("clones", dataset, 0.85).value == pytest.approx(np.sqrt(2.0))


def test_a_share_of_one_has_an_error():
    assert _binomial_error(np.asarray([1.0]), 8)[0] > 0.05
    assert _binomial_error(np.asarray([0.5]), 1000)[0] == pytest.approx(np.sqrt(0.25 / 1004), rel=1e-3)


@pytest.mark.slow
def test_the_clocks_of_a_gaussian_target_have_no_classes_and_no_data(tmp_path, monkeypatch, capsys):
    (tmp_path / "clock_target.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    sizes = ["--num-trajectories", "4", "--network-steps", "20", "--num-clones", "4", "--num-cloning-times", "3"]
    sizes += ["--probe.max-shell", "3"]
    cli.main(["clocks", "clock_target:gaussian", *sizes, "--out", "out"])
    assert "softest point of" in capsys.readouterr().out
    data = load_results("out/data.zarr")
    names = [str(name) for name in data["clock"].values]
    assert "fastest growth of the leading tangent" in names
    assert not any("class" in name or "local" in name for name in names)
    agreement = data["agreement"].values
    assert agreement[0] < agreement[-1] <= 1  # clones agree the more the later they part
    assert (tmp_path / "out" / "clocks.png").exists()
