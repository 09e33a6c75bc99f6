"""The two experiments that set theory beside the simulation. Small lattices: what is tested is that they agree."""

import numpy as np
import pytest

from softjax.experiments import clocks, theory
from softjax.experiments.configs import ClocksConfig, Probe, TheoryConfig, TimeGrid

pytestmark = pytest.mark.slow

TIME = TimeGrid(t_max=8.0, t_min=0.05, num_steps=150)
PROBE = Probe(max_shell=4)


@pytest.fixture(scope="module")
def clock_data():
    return clocks.run(
        ClocksConfig(grid_size=24, num_trajectories=16, num_clones=4, num_cloning_times=6, time=TIME, probe=PROBE)
    )


@pytest.fixture(scope="module")
def theory_data():
    return theory.run(TheoryConfig(grid_size=24, num_trajectories=24, time=TIME, probe=PROBE))


def test_every_clock_shows_the_same_instant(clock_data):
    t = clock_data["clock_time"].values
    np.testing.assert_allclose(clock_data["clock_sigma"], np.sqrt(1 - np.exp(-t)), rtol=1e-5)
    np.testing.assert_allclose(clock_data["clock_log_snr"], -2 * np.log(clock_data["clock_noise_to_signal"]), rtol=1e-5)
    assert clock_data.sizes["clock"] == 8


def test_fluctuations_explain_the_measured_critical_time_of_a_dictionary(clock_data):
    at = {str(name): float(clock_data["clock_time"].sel(clock=name)) for name in clock_data["clock"].values}
    assert at["t_c, Hartree"] == pytest.approx(at["t_c, measured"], rel=0.05)
    assert at["t_c, measured"] < 0.9 * at["t_c, exact at x = 0"]
    # alpha^2 C = 1 lies ln 2 on the integrated rate below arcsinh(C), up to 1 / 4 C^2
    assert at["t_c, exact at x = 0"] - at["speciation, from the covariance"] == pytest.approx(np.log(2), abs=2e-3)


def test_clones_agree_the_more_the_later_they_part(clock_data):
    agreement, error = clock_data["agreement"].values, clock_data["agreement_error"].values
    assert abs(agreement[0] - 0.5) < 4 * error[0] + 0.05
    assert agreement[-1] > 0.8


def test_hartree_meets_the_simulation_of_two_patterns(theory_data):
    rows = {row.name: row.value for row in theory.summary(theory_data)}
    assert rows["t_c, Hartree"] == pytest.approx(2.2, rel=0.01)
    assert rows["t_c, measured"] == pytest.approx(2.154, rel=0.04)
    assert rows["t_c, tree level"] == pytest.approx(np.arcsinh(9), rel=1e-5)


@pytest.mark.parametrize(("experiment", "panels"), [(clocks, 3), (theory, 4)])
def test_figures_have_their_panels(experiment, panels, clock_data, theory_data, tmp_path):
    figure = experiment.figure(clock_data if experiment is clocks else theory_data)
    figure.savefig(tmp_path / "figure.png")
    titled = [axis for axis in figure.axes if axis.get_title()]
    assert len(titled) == panels
    assert all(axis.get_ylabel() or axis.get_yticklabels() for axis in titled)
