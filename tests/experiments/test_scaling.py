"""The scaling study on tiny lattices: single cells, what is derived from them, and words that intervals decide."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj
from softjax.experiments import scaling
from softjax.experiments._shared.summary import Row
from softjax.experiments._shared.table import table
from softjax.experiments.configs import ScalingConfig
from softjax.experiments.scaling.config import Quench
from softjax.experiments.scaling.study import axes, moments
from softjax.experiments.scaling.words import _power
from softjax.sweeps import run

QUENCH = Quench(num_times=8, min_steps=16, steps_per_stochasticity=2)
CONFIG = ScalingConfig(sides=(6, 12), stochasticities=(1.0, 32.0), num_trajectories=48, quench=QUENCH)


@pytest.fixture(scope="module")
def data():
    return scaling.run(CONFIG)


def test_moments_are_those_of_the_structure_factor():
    x = jr.normal(jr.key(0), (8, 8), FLOAT)
    found, factor = moments(x, 3), sj.structure_factor(x)
    assert_close(found.magnetisation, jnp.mean(x))
    assert_close(found.structure_factor, 0.5 * (factor[0, :4] + factor[:4, 0]), loosen=10)
    assert_close(found.structure_factor[0], x.size * jnp.mean(x) ** 2, loosen=10)


def test_steps_follow_the_stochasticity_and_all_quenches_are_seen_at_the_same_times():
    assert [Quench().num_steps(rate) for rate in (1.0, 4.0, 8.0, 64.0)] == [112, 112, 224, 1792]
    units = [scaling.STUDY.unit(CONFIG, 6, rate) for rate in (1.0, 32.0)]
    assert [unit.ts.size for unit in units] == [17, 65]
    np.testing.assert_allclose(units[0].ts[:: units[0].every], units[1].ts[:: units[1].every], rtol=1e-5)


@pytest.mark.slow
def test_a_quench_is_that_trajectory_whatever_the_other_sizes_and_rates(data):
    unit = scaling.STUDY.unit(CONFIG, 12, 1.0)
    trajectory = sj.simulate(
        unit.field, unit.ts, key=jr.fold_in(unit.paths, 5), shape=(12, 12), solver="dpmpp_2m", stochasticity=1.0
    )
    one = data.sel(side=12, stochasticity=1.0).isel(trajectory=5, time=-1)
    np.testing.assert_allclose(one["magnetisation"], jnp.mean(trajectory.x), atol=1e-4)
    others = ScalingConfig(sides=(12, 14), stochasticities=(1.0,), num_trajectories=48, quench=QUENCH)
    again = run(scaling.STUDY.sweep(others)).sel(side=12, stochasticity=1.0)
    np.testing.assert_allclose(again["magnetisation"], data["magnetisation"].sel(side=12, stochasticity=1.0), atol=1e-4)
    first = data["magnetisation"].isel(time=0, trajectory=slice(8)).values.reshape(4, 8)
    assert len(np.unique(first)) == 32  # no two cells share their noise


@pytest.mark.slow
def test_what_is_derived_is_what_the_estimators_say_and_the_slow_quench_orders(data):
    one = data.sel(side=12, stochasticity=1.0)
    found = sj.finite_size(one["magnetisation"].values, one["structure_factor"].values[..., 1], 12)
    np.testing.assert_allclose(one["binder"], found.binder.value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one["susceptibility_error"], found.susceptibility.standard_error, rtol=1e-3)
    end = data.isel(time=-1)
    order = end["susceptibility"] / end["side"] ** 2
    error = end["susceptibility_error"] / end["side"] ** 2
    gain = order.sel(stochasticity=32.0) - order.sel(stochasticity=1.0)
    assert np.all(gain > 4 * np.sqrt((error**2).sum("stochasticity")))
    small = end.sel(side=6, stochasticity=32.0)
    assert float(small["binder"]) > 0.5
    rows = {row.name: row for row in scaling.summary(data)}
    assert rows["chi at the end, L = 6, stochasticity 32"].value == pytest.approx(float(small["susceptibility"]))
    assert rows["crossing of U, L = 6, 12, stochasticity 32"].text
    assert "At stochasticity 1 chi at the end is" in scaling.findings(data, [*rows.values()])


@pytest.mark.slow
def test_the_figure_has_six_panels_with_labels(data, tmp_path):
    figure = scaling.figure(data)
    figure.savefig(tmp_path / "figure.png")
    titled = [axis for axis in figure.axes if axis.get_title()]
    assert len(titled) >= 5
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in titled)


def power(value, low, high, quality):
    name = "power of the stochasticity in xi at the end, stochasticity 1 to 64"
    return Row(name, value, "1", (low, high), (("chi2/dof", quality), ("dof", 5.0)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (power(0.32, 0.30, 0.34, 1.0), "agrees with 2-D Ising model A (0.315), not with mean field (1/4), coarsening"),
        (power(0.28, 0.22, 0.34, 1.0), "agrees with mean field (1/4), 2-D Ising model A (0.315), not with coarsening"),
        (power(0.40, 0.38, 0.42, 1.0), "agrees with none of the predictions"),
        (power(0.32, 0.30, 0.34, 5.0), "but chi^2/dof is 5.0: no power"),
    ],
)
def test_intervals_and_chi_squared_decide_what_is_said_of_a_power(row, words):
    assert words in _power(row, 128)


@pytest.mark.parametrize("sides", [(16,), (32, 16), (0, 16)])
def test_sizes_that_make_no_sense_are_refused(sides):
    with pytest.raises(ValueError, match="sides must be at least 2 positive increasing numbers"):
        axes(ScalingConfig(sides=sides))


@pytest.mark.slow
def test_a_sweep_of_a_study_with_axes_of_its_own_summarises_over_them(data):
    sweep = scaling.STUDY.sweep(CONFIG, {"seed": [0, 1]})
    rows = table(scaling.STUDY, CONFIG, sweep, run(sweep))
    alone = {row.name: row.value for row in scaling.summary(data)}
    name = "chi at the end, L = 12, stochasticity 32"
    assert rows.sizes["seed"] == 2
    np.testing.assert_allclose(rows["value"].sel(seed=0, row=name), alone[name], rtol=1e-4)
    assert abs(float(rows["value"].sel(seed=1, row=name)) - alone[name]) > 1e-3
