import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from jax.errors import JaxRuntimeError
from sweep_units import Reciprocal, Walk, one_cell, walks

from softjax.sweeps import Sweep, cell, measured, reporting, run
from softjax.sweeps._program import Program


@pytest.mark.float32
def test_axes_are_dimensions_and_every_cell_is_its_unit():
    data = run(walks())
    assert data["value"].dims == ("scale", "steps", "member", "time")
    assert data["mean"].dims == ("scale", "steps", "member")
    assert data["value"].attrs == {"units": "data", "long_name": "a random walk"}
    np.testing.assert_array_equal(data["scale"], [1, 1.5, 2])
    alone = Walk(1.5, 4)(jnp.asarray(3), jr.key(0))
    at = data.sel(scale=1.5, steps=4, member=3)
    np.testing.assert_allclose(at["value"][:4], alone.value, rtol=1e-6)
    assert np.all(np.isnan(at["value"][4:]))


def test_units_of_one_structure_are_one_program_whose_equal_leaves_are_kept_once():
    sweep = walks()
    assert [program.cells.tolist() for program in sweep.programs] == [[0, 2, 4], [1, 3, 5]]
    shared = Sweep(lambda scale: Walk(1.0 + 0 * scale, 3), {"scale": [1, 2]}, key=jr.key(0)).programs
    assert len(shared) == 1
    assert not shared[0]._stacked


@pytest.mark.float32
@pytest.mark.parametrize("pack", [1, 3, 7, 30])
def test_packs_give_equal_bits(pack):
    xr.testing.assert_equal(run(walks(), pack=pack)[["value"]], run(walks())[["value"]])


def test_cells_share_random_numbers_unless_independent():
    data, other = run(walks(steps=(4,))), run(walks(steps=(4,), independent=True))
    np.testing.assert_allclose(data["value"].sel(scale=2), 2 * data["value"].sel(scale=1), rtol=1e-6)
    assert not np.any(np.isclose(other["value"].sel(scale=2), 2 * other["value"].sel(scale=1)))


def test_without_axes_members_come_first_and_without_members_there_is_no_dimension():
    assert run(one_cell())["value"].dims == ("walk", "time")
    sweep = Sweep(lambda steps: Walk(1.0, steps), {"steps": [3, 4]}, members=None, key=jr.key(0))
    data = run(sweep)
    assert data["value"].dims == ("steps", "time")
    assert cell(data, steps=4)["mean"] == data["mean"][1]


def test_what_is_known_is_kept_once_or_over_the_axes():
    def known(unit, scale, steps):
        return xr.Dataset(
            {"same": ("z", np.arange(2.0)), "table": ("w", np.full(steps, scale))},
            coords={"time": np.arange(steps)},
            attrs={"twice": 2 * scale, "name": "walk"},
        )

    data = run(walks(known=known))
    assert data["same"].dims == ("z",)
    assert data.attrs["name"] == "walk"
    assert data["table"].dims == ("scale", "steps", "w")
    np.testing.assert_array_equal(data["twice"].sel(steps=4), 2 * data["scale"])
    one = cell(data, scale=2.0, steps=4)
    assert one["value"].dims == ("member", "time")
    assert (one.sizes["time"], one.attrs["twice"]) == (4, 4.0)
    np.testing.assert_array_equal(one["time"], np.arange(4))


@pytest.mark.float32
def test_units_that_are_not_finite_are_listed_and_the_others_stand():
    sweep = Sweep(Reciprocal, {"number": [0.0, 1.0, 2.0]}, members=2, key=jr.key(0))
    with pytest.warns(UserWarning, match=r"2 unit\(s\) failed: number = 0.0, member 0: reciprocal is not finite; num"):
        data = run(sweep)
    assert len(data.attrs["failed"]) == 2
    np.testing.assert_array_equal(data["reciprocal"], [[np.nan, np.nan], [1, 1], [0.5, 0.5]])
    with pytest.raises(FloatingPointError, match="number = 0.0"):
        run(sweep, failures="raise")
    assert cell(run(sweep, failures="keep"), number=0.0).sizes["member"] == 0


def test_nan_is_an_answer_where_that_is_said():
    class Answer(eqx.Module):
        value: jnp.ndarray = measured(allow_nan=True)

    def unit(number):
        return eqx.Partial(lambda number, member, key: Answer(jnp.log(number)), jnp.asarray(number))

    data = run(Sweep(unit, {"number": [-1.0, 1.0]}, key=jr.key(0)), failures="raise")
    np.testing.assert_array_equal(data["value"], [[np.nan], [0.0]])


def test_exhausted_memory_halves_the_pack_and_goes_on(monkeypatch):
    wanted, tried = run(one_cell()), []
    arguments = Program._arguments

    def exhausted(self, places, members):
        tried.append(places.size)
        if len(tried) > 1 and places.size > 3:
            raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        return arguments(self, places, members)

    monkeypatch.setattr(Program, "_arguments", exhausted)
    xr.testing.assert_equal(run(one_cell())[["value"]], wanted[["value"]])
    assert max(tried) == 12
    assert 3 in tried, tried


def test_one_unit_that_exhausts_the_memory_is_an_error(monkeypatch):
    def exhausted(self, width):
        raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(Program, "prepare", exhausted)
    with pytest.raises(MemoryError, match="one unit alone"):
        run(one_cell())


def test_packs_are_as_large_as_the_memory_that_the_compiler_reports(monkeypatch):
    program = one_cell().programs[0]
    needed = Program([0], [Walk(1.5, 4)], jr.key(0), False).traced(8).lower().compile().memory_analysis()
    room = needed.temp_size_in_bytes + needed.output_size_in_bytes
    monkeypatch.setattr("softjax.sweeps._program.memory_budget", lambda: room)
    assert 1 <= program.prepare(64) <= 8
    monkeypatch.setattr("softjax.sweeps._program.memory_budget", lambda: 0)
    assert one_cell().programs[0].prepare(64) == 1


def test_explain_computes_nothing_and_counts(monkeypatch):
    monkeypatch.setattr(Program, "prepare", None)
    told = walks().explain()
    assert (told.num_cells, told.num_members, told.num_programs) == (6, 5, 2)
    width = jnp.zeros(()).dtype.itemsize
    assert told.result_bytes == 30 * (6 + 1) * width
    assert told.pack == 15
    assert 0 < told.seconds < 1
    assert "30 units in 2 program(s)" in str(told)


def test_a_value_that_the_unit_refuses_is_named():
    def unit(side):
        if side % 2 == 0:
            raise ValueError("side must be odd.")
        return Walk(1.0, side)

    with pytest.raises(ValueError, match=r"at side = 4: side must be odd\."):
        run(Sweep(unit, {"side": [3, 4]}, key=jr.key(0)))


@pytest.mark.parametrize("axes", [{}, {"side": [1, 2]}])
def test_a_function_of_member_and_key_is_no_unit(axes):
    def steps(member, key):
        return jr.normal(jr.fold_in(key, member))

    with pytest.raises(ValueError, match=r"unit must be a Unit, or a function of the axes' names .* of a Unit\."):
        _ = Sweep(steps, axes, key=jr.key(0)).units


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (lambda a: 3, "must return a callable"),
        (lambda a: lambda member, key: None, "at least one array"),
        (lambda a: lambda member, key: "text", "must return arrays"),
        (lambda a: lambda member, key: {"a": member}, "returns a: the result needs this name"),
        (lambda a: lambda member, key: [{"x": member}, {"x": member}], "several arrays called x"),
    ],
)
def test_units_that_return_nothing_usable_are_refused(unit, message):
    with pytest.raises(ValueError, match=message):
        run(Sweep(unit, {"a": [1]}, key=jr.key(0)))


@pytest.mark.parametrize("options", [{"members": 0}, {"members": 1.5}, {"members": 2, "dim": "scale"}])
def test_impossible_sweeps_are_refused(options, without_type_checks):
    with pytest.raises(ValueError, match="members|dim"):
        Sweep(Walk, {"scale": [1.0], "steps": [3]}, key=jr.key(0), **options)


def test_where_the_output_is_no_terminal_there_are_lines_with_the_time_left(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 12.0, 13.0, 31.0])
    monkeypatch.setattr("softjax.sweeps._progress.time.monotonic", lambda: next(clock))
    with reporting(True) as report:
        for done in (0, 1, 2, 4):
            report(done, 4)
    assert capsys.readouterr().out == "units 1/4, 33 s left\nunits 4/4\n"


def test_progress_counts_units():
    seen = []
    run(walks(), pack=10, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 30), (10, 30), (20, 30), (30, 30)]


@pytest.mark.float32
def test_two_devices_give_the_bits_of_one(tmp_path):
    code = (
        "import sys, numpy as np, jax; from sweep_units import walks; from softjax.sweeps import run;"
        "assert len(jax.local_devices()) == int(sys.argv[1]);"
        "data = run(walks(members=8), pack=8); np.save(sys.argv[2], data['value'].values)"
    )
    for number in ("1", "2"):
        environment = {"JAX_NUM_CPU_DEVICES": number, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run(
            [sys.executable, "-c", code, number, str(tmp_path / f"{number}.npy")],
            env=os.environ | environment,
            check=True,
        )
    np.testing.assert_array_equal(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"))


def test_an_old_style_key_is_taken():
    xr.testing.assert_equal(
        run(Sweep(Walk(1.0, 3), members=2, key=jax.random.PRNGKey(0)))[["value"]],
        run(Sweep(Walk(1.0, 3), members=2, key=jr.key(0)))[["value"]],
    )
