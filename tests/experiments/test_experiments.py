from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr

import softjax as sj
from softjax.experiments import empirical, load_results, patch
from softjax.experiments._shared.study import nothing
from softjax.experiments._shared.summary import onset_row
from softjax.experiments._shared.trajectories import ReverseTrajectory
from softjax.experiments.configs import EmpiricalConfig, Integration, PatchConfig, Probe, TimeGrid
from softjax.sweeps import Unit

PATCH = PatchConfig(
    grid_size=16, patch_size=3, num_trajectories=5, time=TimeGrid(num_steps=40), probe=Probe(max_shell=4)
)
EMPIRICAL = EmpiricalConfig(
    grid_size=16, num_trajectories=3, time=TimeGrid(t_max=12.0, num_steps=40), probe=Probe(max_shell=4)
)


@pytest.fixture(scope="module")
def patch_data():
    return patch.run(PATCH)


@pytest.fixture(scope="module")
def empirical_data():
    return empirical.run(EMPIRICAL)


def without_cost(dataset):
    cost = ("compile_time_s", "run_time_s", "units_computed", "created")
    assert {*cost} <= dataset.attrs.keys()
    return dataset.assign_attrs({name: "" for name in cost})


def test_dataset_has_the_promised_dimensions_units_and_provenance(patch_data):
    assert patch_data["rayleigh"].dims == ("trajectory", "time", "shell")
    assert patch_data["direction_magnitude"].dims == ("trajectory", "time", "direction")
    assert patch_data.sizes["trajectory"] == 5
    assert patch_data.sizes["time"] == 41
    assert patch_data.sizes["direction"] == 1 + 4 * 4
    for name in ("rayleigh", "magnitude", "correlation_length", "equilibrium_length", "time", "wavenumber"):
        assert patch_data[name].attrs["units"], name
    for name in ("softjax_version", "jax_version", "device", "key", "config", "float_type", "created"):
        assert patch_data.attrs[name], name
    assert np.isfinite(patch_data["rayleigh"].values).all()


def test_dataset_holds_what_the_public_functions_give(patch_data):
    process = sj.VP(PATCH.beta)
    key_dictionary, key_paths = jr.split(jr.key(PATCH.seed))
    dictionary = sj.PatchDictionary.ising(3, key=key_dictionary)
    field = sj.PatchField(dictionary, process)
    ts, modes = sj.log_grid(6.0, 1e-3, 40), sj.fourier_modes((16, 16), 4)

    def observe(t, x):
        response = sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, modes)
        return response.rayleigh, response.magnitude, sj.correlation_length(sj.binarize(x))

    one = sj.simulate(field, ts, shape=(16, 16), key=jr.fold_in(key_paths, 3), observe=observe)
    rayleigh, magnitude, length = one.observed
    early = slice(0, 20)  # later, rounding has grown with the instability
    np.testing.assert_allclose(patch_data["rayleigh"][3, early], rayleigh[early], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(patch_data["magnitude"][3, early], magnitude[early], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(patch_data["correlation_length"][3, early], length[early], rtol=1e-2)
    exact = sj.theory.dictionary_critical_time(dictionary, process, (16, 16))
    assert patch_data.attrs["critical_time"] == pytest.approx(float(exact))


def test_snapshots_are_the_states_of_trajectory_zero(patch_data):
    np.testing.assert_allclose(patch_data["snapshot_state"][-1], patch_data["final_state"][0], atol=2e-2)
    np.testing.assert_allclose(patch_data["snapshot_time"][[0, -1]], [6.0, 1e-3], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_chunking_does_not_change_a_trajectory(patch_data, chunk):
    other = patch.run(replace(PATCH, integration=Integration(chunk=chunk)))
    np.testing.assert_allclose(other["final_state"], patch_data["final_state"], atol=2e-2)


def test_an_interrupted_run_is_readable_and_resumes_to_the_same_result(tmp_path):
    config = replace(PATCH, integration=Integration(chunk=2))

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patch.run(config, tmp_path / "data.zarr", interrupt)
    first = load_results(tmp_path / "data.zarr")
    assert first.sizes["trajectory"] == 2
    calls = []
    resumed = patch.run(config, tmp_path / "data.zarr", lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_array_equal(resumed["final_state"][:2], first["final_state"])
    xr.testing.assert_identical(without_cost(resumed), without_cost(patch.run(config)))


def test_a_finished_run_is_loaded_and_not_computed_again(tmp_path, monkeypatch):
    first = empirical.run(EMPIRICAL, tmp_path / "data.zarr")
    monkeypatch.setattr("softjax.experiments._shared.trajectories.simulate", None)
    xr.testing.assert_identical(empirical.run(EMPIRICAL, tmp_path / "data.zarr"), first)


def test_a_run_that_blows_up_says_so_and_keeps_no_number(tmp_path):
    with pytest.raises(FloatingPointError, match=r"5 unit\(s\) failed: trajectory 0: final_state is not finite"):
        patch.run(replace(PATCH, beta=1e30), tmp_path / "data.zarr")
    left = load_results(tmp_path / "data.zarr")
    assert left.sizes["trajectory"] == 0
    assert len(left.attrs["failed"]) == 5


class Fragile(Unit):
    """Trajectories of which one ends at infinity."""

    whole: ReverseTrajectory
    broken: int

    def __call__(self, member, key):
        result = self.whole(member, key)
        end = jnp.where(member == self.broken, jnp.inf, result.final_state.value)
        return eqx.tree_at(lambda result: result.final_state.value, result, end)


def test_one_trajectory_that_blows_up_is_named_and_the_others_are_kept(patch_data, tmp_path):
    fragile = replace(
        patch.STUDY,
        unit=lambda config: Fragile(patch.STUDY.unit(config), 3),
        known=lambda config, unit: patch.STUDY.known(config, unit.whole),
        pictures=nothing,
    )
    expected = r"^1 unit\(s\) failed: trajectory 3: final_state is not finite\. The others are stored\. Take more steps"
    for _ in range(2):  # the second time nothing is computed
        with pytest.raises(FloatingPointError, match=expected):
            fragile.run(PATCH, tmp_path / "data.zarr")
    kept = load_results(tmp_path / "data.zarr")
    np.testing.assert_array_equal(kept["trajectory"].values, [0, 1, 2, 4])
    assert kept.attrs["failed"] == ["trajectory 3: final_state is not finite"]
    np.testing.assert_allclose(kept["final_state"], patch_data["final_state"][[0, 1, 2, 4]], atol=2e-2)
    mended = patch.run(PATCH, tmp_path / "data.zarr", repair=True)
    assert "failed" not in mended.attrs
    np.testing.assert_allclose(mended["final_state"], patch_data["final_state"], atol=2e-2)


def test_results_of_another_configuration_are_refused_and_kept(tmp_path):
    first = empirical.run(EMPIRICAL, tmp_path / "data.zarr")
    with pytest.raises(FileExistsError, match=r"another configuration \(time.num_steps: 40 there, 41 here\)\. Choose"):
        empirical.run(replace(EMPIRICAL, time=TimeGrid(t_max=12.0, num_steps=41)), tmp_path / "data.zarr")
    with pytest.raises(FileExistsError, match=r"\(members: 3 there, 4 here; num_trajectories: 3 there, 4 here\)"):
        empirical.run(replace(EMPIRICAL, num_trajectories=4), tmp_path / "data.zarr")
    xr.testing.assert_identical(load_results(tmp_path), first)  # the folder above serves too


def test_how_it_is_computed_and_drawn_is_no_other_configuration(tmp_path):
    first = empirical.run(EMPIRICAL, tmp_path / "data.zarr")
    other = replace(EMPIRICAL, integration=Integration(chunk=2), quantity="rayleigh")
    xr.testing.assert_identical(empirical.run(other, tmp_path / "data.zarr"), first)


def test_fourier_shells_do_not_soften_under_the_global_score(empirical_data):
    medians = empirical_data[["magnitude", "pattern_magnitude", "equilibrium_length"]].median("trajectory")
    before = empirical_data["time"] > 4
    shells = (medians["magnitude"] / medians["magnitude"][0]).where(before)
    assert shells.min() > 0.9
    assert (medians["pattern_magnitude"] / medians["pattern_magnitude"][0]).min() < 0.7


@pytest.mark.parametrize("quantity", ["magnitude", "rayleigh"])
def test_patch_figure_has_the_paper_s_panels(patch_data, quantity, tmp_path):
    figure = patch.figure(patch_data, quantity)
    figure.savefig(tmp_path / "patch.png")
    pictures = [axis for axis in figure.axes if axis.images]
    panels = [axis for axis in figure.axes if axis.lines]
    assert len(pictures) == 10 + 8 + 8
    zone = patch_data["snapshot_zone"].values
    assert np.all(np.isfinite(zone))
    assert np.argmax(zone[1]) == 0  # the uniform mode is the softest
    assert -1.1 < zone[0].min() < zone[0].max() < -0.9  # noise
    np.testing.assert_array_equal(pictures[-8].images[0].get_array(), np.fft.fftshift(zone[0]))
    assert len(panels) == 4
    assert all("time t" in panel.get_xlabel() and panel.get_ylabel() for panel in panels)
    assert all(panel.get_xlim() == pytest.approx((6.0, 1e-3), rel=1e-3) for panel in panels)  # one time axis
    ticks = panels[0].transData.transform([(t, 0) for t in panels[0].get_xticks()])[:, 0]
    assert np.all(np.diff(ticks) > 0)  # noise to the left
    assert np.asarray(panels[0].lines[0].get_xdata())[0] == pytest.approx(6.0)
    assert len([line for line in panels[3].lines if str(line.get_label()).startswith("n = ")]) == 5
    said = " ".join(text.get_text() for part in figure.subfigs for text in part.texts)
    assert "exact at x = 0" in said
    assert ("fluctuations included" in said) == (quantity == "rayleigh")


def test_empirical_figure_shows_the_pattern_s_direction(empirical_data, tmp_path):
    figure = empirical.figure(empirical_data)
    figure.savefig(tmp_path / "empirical.png")
    labels = [line.get_label() for axis in figure.axes for line in axis.lines]
    assert "pattern" in labels


@pytest.mark.parametrize("experiment", [patch, empirical])
def test_summary_names_its_units(experiment, patch_data, empirical_data):
    rows = experiment.summary(patch_data if experiment is patch else empirical_data)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.units for row in rows if row.name != "trajectories")
    assert all(row.text for row in rows)
    assert "onset of xi, median above 1 site" in {row.name for row in rows}


@pytest.mark.parametrize("experiment", [patch, empirical])
def test_a_coarse_grid_is_drawn_and_summed_up_too(experiment, patch_data, empirical_data):
    """With two times only where the peak is looked for."""
    data = (patch_data if experiment is patch else empirical_data).isel(time=[0, 10, 38, 40])
    assert np.sum(data["time"].values >= 0.1 * data.attrs["critical_time"]) == 2
    assert len(experiment.figure(data).subfigs) == 3
    assert all(row.text for row in experiment.summary(data))


def test_onset_in_the_summary_is_that_of_the_trajectories_lengths(patch_data):
    onsets = np.asarray([1.2, 1.4, 1.7, 2.1, 2.4])[:, None]
    lengths = patch_data["correlation_length"].copy(data=1 + np.log(onsets / patch_data["time"].values))
    row = onset_row(patch_data.assign(correlation_length=lengths))
    assert row.value == pytest.approx(1.7, rel=1e-3)
    assert row.interval == pytest.approx((1.2, 2.4), rel=1e-3)
    assert row.units == "t"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(PATCH, patch_size=4), "must be odd"),
        (replace(PATCH, patch_size=17), "must fit on the lattice"),
        (replace(PATCH, p_global=1.5), "p_global"),
        (replace(PATCH, probe=Probe(max_shell=9)), "Nyquist"),
        (replace(PATCH, probe=Probe(max_shell=3, num_fit_shells=4)), "num_fit_shells = 4"),
        (replace(PATCH, time=TimeGrid(t_min=0.0)), "t_min"),
        (replace(PATCH, beta=-1.0), "beta must be positive"),
        (replace(PATCH, num_trajectories=0), "num_trajectories"),
        (replace(PATCH, integration=Integration(solver="shark", engine="scan")), "engine 'scan'"),
    ],
)
def test_bad_configurations_are_refused_before_anything_is_written(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        patch.run(config, tmp_path / "data.zarr")
    assert not (tmp_path / "data.zarr").exists() or not list((tmp_path / "data.zarr").glob("*/c"))


def test_blocks_must_tile_the_lattice():
    with pytest.raises(ValueError, match="block_size must divide"):
        empirical.run(replace(EMPIRICAL, block_size=5))
