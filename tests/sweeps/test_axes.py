import numpy as np
import pytest

from softjax.sweeps import parse_axis
from softjax.sweeps._axes import cells, coordinates, normalised


def test_axes_cross_and_the_last_runs_fastest():
    axes = normalised({"a": [1, 2], "b": np.asarray([0.5, 1.5])})
    assert cells(axes) == [{"a": 1, "b": 0.5}, {"a": 1, "b": 1.5}, {"a": 2, "b": 0.5}, {"a": 2, "b": 1.5}]
    assert all(type(cell["b"]) is float for cell in cells(axes))


def test_parameters_under_one_tuple_run_together():
    axes = normalised({("a", "b"): [(1, 10), (2, 20)], "c": "xy"[:1:] and ["x"]})
    assert cells(axes) == [{"a": 1, "b": 10, "c": "x"}, {"a": 2, "b": 20, "c": "x"}]
    labels = coordinates(axes)
    assert labels["b"][0] == ("a",)
    np.testing.assert_array_equal(labels["b"][1], [10, 20])


def test_no_axes_are_one_cell():
    assert cells(normalised({})) == [{}]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"a": []}, "at least one value"),
        ({"a": [1, 1]}, "must differ"),
        ({"a": [1.0, np.nan]}, "finite"),
        ({"a": "abc"}, "must be a list"),
        ({"a": [1], ("a", "b"): [(1, 2)]}, "one axis only"),
        ({("a", "b"): [(1,)]}, "a tuple of 2"),
        ({"a": [[1, 2]]}, "numbers or words"),
    ],
)
def test_axes_that_make_no_sense_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        normalised(axes)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("patch_size=3,5,7", ("patch_size", [3, 5, 7])),
        ("patch-size=3", ("patch_size", [3])),
        ("p=0.5:1:3", ("p", [0.5, 0.75, 1.0])),
        ("t=log:0.01:1:3", ("t", [0.01, 0.1, 1.0])),
        ("grey=true,false", ("grey", [True, False])),
        ("kind=axes,isotropic", ("kind", ["axes", "isotropic"])),
        ("beta=1,2/time.t_max=6,3", (("beta", "time.t_max"), [(1, 6), (2, 3)])),
    ],
)
def test_typed_axes(text, axis):
    name, values = parse_axis(text)
    assert name == axis[0]
    if all(isinstance(value, float) for value in axis[1]):
        np.testing.assert_allclose(values, axis[1], rtol=1e-14)
    else:
        assert values == axis[1]


@pytest.mark.parametrize("text", ["p", "p=", "=3", "p=0:1", "p=0:1:x", "a=1,2/b=3", "t=log:0:1:3", "p=0:1:0"])
def test_mistyped_axes_are_refused(text):
    with pytest.raises(ValueError, match="axis|range|equally many|finite|at least"):
        normalised(dict([parse_axis(text)]))
