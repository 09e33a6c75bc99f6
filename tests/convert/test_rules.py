import jax
import numpy as np
import pytest
from flax import nnx

from softjax.convert import CheckpointError
from softjax.convert._rules import Rule, conv_kernel, convert_tensors, identity, linear_kernel, parameter_shapes

RULES = [
    Rule(r"conv(\d)\.weight", r"blocks.\1.conv.kernel", conv_kernel),
    Rule(r"conv(\d)\.bias", r"blocks.\1.conv.bias"),
    Rule(r"head\.weight", "head.kernel", linear_kernel),
]
TARGET = {"blocks.0.conv.kernel": (3, 3, 2, 5), "blocks.0.conv.bias": (5,), "head.kernel": (5, 4)}


def tensors():
    rng = np.random.default_rng(0)
    shapes = {"conv0.weight": (5, 2, 3, 3), "conv0.bias": (5,), "head.weight": (4, 5)}
    return {name: rng.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def test_tensors_are_views_by_our_names():
    given = tensors()
    converted = convert_tensors(given | {"step": np.ones(1)}, RULES, ["step", "unused"], TARGET)
    assert {name: value.shape for name, value in converted.items()} == TARGET
    assert converted["blocks.0.conv.kernel"][1, 2, 0, 3] == given["conv0.weight"][3, 0, 1, 2]
    assert converted["head.kernel"][4, 2] == given["head.weight"][2, 4]
    for source, path in zip(given, TARGET, strict=True):
        assert np.shares_memory(converted[path], given[source])


def test_layouts():
    weight = np.arange(120.0).reshape(5, 4, 3, 2)
    assert conv_kernel(weight)[1, 0, 2, 3] == weight[3, 2, 1, 0]
    assert linear_kernel(weight[0, :, :, 0])[2, 1] == weight[0, 1, 2, 0]
    assert identity(weight) is weight


def test_each_tensor_of_a_lazy_mapping_is_read_once(without_type_checks):
    read = []

    class Lazy(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    lazy = Lazy(tensors() | {"dropped": np.ones(3)})
    convert_tensors(lazy, RULES, ["dropped"], TARGET)
    assert sorted(read) == sorted(tensors())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": np.ones(2)}, "extra: no rule of this architecture's table match it"),
        ({"xhead.weight": np.ones(2)}, "xhead.weight: no rule"),
        ({"head.weight.more": np.ones(2)}, "head.weight.more: no rule"),
        ({"conv1.bias": np.ones(5)}, "conv1.bias: the network has no parameter blocks.1.conv.bias"),
        ({"conv0.bias": None}, "blocks.0.conv.bias: no tensor of the checkpoint fills it"),
        ({"head.weight": np.ones((5, 4))}, r"head.weight: has shape \(5, 4\), \(4, 5\) in our layout; wanted \(5, 4\)"),
        ({"conv0.weight": np.ones((5, 2, 3))}, r"conv0.weight: has shape \(5, 2, 3\), which has no place"),
        ({"conv0.bias": np.ones(5, int)}, "conv0.bias: holds int64, wanted floating-point"),
        ({"conv0.bias": np.array([1, 2, np.nan, 4, 5])}, "conv0.bias: holds NaN"),
        ({"conv0.bias": np.array([1, 2, np.inf, 4, 5], np.float16)}, "conv0.bias: holds NaN or infinite"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message):
    given = {name: value for name, value in (tensors() | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        convert_tensors(given, RULES, [], TARGET)


def test_all_problems_are_reported_together():
    given = {"a": np.ones(1), "conv0.bias": np.ones(4), "conv0.weight": np.full((5, 2, 3, 3), np.nan)}
    with pytest.raises(CheckpointError) as caught:
        convert_tensors(given, RULES, [], TARGET)
    lines = str(caught.value).splitlines()
    assert "4 problems" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["a", "conv0.bias", "conv0.weight", "head.kernel"]


def test_two_tensors_for_one_parameter_are_refused():
    rules = [*RULES, Rule(r"module\.(\w+)\.weight", r"\1.kernel", linear_kernel)]
    given = tensors() | {"module.head.weight": np.ones((4, 5))}
    with pytest.raises(CheckpointError, match=r"head.kernel: filled by head.weight and by module.head.weight"):
        convert_tensors(given, rules, [], TARGET)


@pytest.mark.parametrize("ignored", [[], ["conv.*"]])
def test_two_rules_for_one_tensor_are_refused(ignored):
    rules = RULES if ignored else [*RULES, Rule(r"conv0\.\w+", "other")]
    with pytest.raises(CheckpointError, match="conv0.bias: 2 rules of this architecture's table match it"):
        convert_tensors(tensors(), rules, ignored, TARGET)


def test_shapes_are_those_of_the_leaves():
    layer = jax.eval_shape(lambda: nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    assert parameter_shapes(layer) == {"bias": (2,), "kernel": (3, 2)}
