"""A number over the axes of a sweep: what is drawn for how many axes, of numbers and of words."""

import numpy as np
import pytest
import xarray as xr

from softjax.plotting import sweep_figure

AXES = {"p_global": [0.5, 0.8, 0.9], "engine": ["scan", "diffrax"], "patch_size": [3, 5], "grey": [False, True]}


def table(*names):
    """Values 0, 1, 2, ... with intervals of width 1; the last one is missing."""
    shape = tuple(len(AXES[name]) for name in names)
    value = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    if value.size > 1:
        value.flat[-1] = np.nan
    return xr.Dataset(
        {
            name: ((*names, "row"), (value + off)[..., None])
            for name, off in (("value", 0), ("low", -0.5), ("high", 0.5))
        },
        coords={**{name: AXES[name] for name in names}, "row": ["t_c"], "units": ("row", ["t"])},
    )


@pytest.mark.parametrize(
    ("names", "labels"),
    [((), []), (("p_global",), []), (("engine",), ["scan", "diffrax"]), (("grey",), ["False", "True"])],
)
def test_one_axis_is_a_line(names, labels, tmp_path):
    figure = sweep_figure(table(*names), "t_c")
    figure.savefig(tmp_path / "figure.png")
    (axis,) = figure.axes
    assert axis.get_ylabel() == "t_c (t)"
    assert axis.get_xlabel() == "".join(names)
    drawn = np.asarray(axis.lines[0].get_ydata(), float)
    np.testing.assert_array_equal(drawn, table(*names)["value"].values.ravel())
    if labels:
        assert [label.get_text() for label in axis.get_xticklabels()] == labels


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (("p_global", "engine"), [""]),
        (("engine", "p_global", "grey"), ["engine = scan", "engine = diffrax"]),
        (("p_global", "patch_size", "engine"), ["p_global = 0.5", "p_global = 0.8", "p_global = 0.9"]),
        (
            ("grey", "engine", "p_global", "patch_size"),
            [f"grey = {grey}, engine = {engine}" for grey in (False, True) for engine in ("scan", "diffrax")],
        ),
    ],
)
def test_more_axes_are_heat_maps_with_their_numbers(names, titles, tmp_path):
    figure = sweep_figure(table(*names), "t_c")
    figure.savefig(tmp_path / "figure.png")
    maps = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in maps] == titles
    assert {(axis.get_ylabel(), axis.get_xlabel()) for axis in maps} == {names[-2:]}
    written = [text.get_text() for axis in maps for text in axis.texts]
    assert written == [*map(str, range(len(written) - 1)), "none"]
    assert [label.get_text() for label in maps[0].get_xticklabels()] == [str(value) for value in AXES[names[-1]]]
    assert "t_c (t)" in {axis.get_ylabel() for axis in figure.axes}
