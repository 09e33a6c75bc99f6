"""The examples of docstrings run as printed, in both precisions; every public name has one."""

import doctest
import inspect
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from public_names import PUBLIC, methods

import softjax as sj

pytestmark = [pytest.mark.float32, pytest.mark.usefixtures("without_type_checks")]
GLOBALS = {"sj": sj, "jax": jax, "jnp": jnp, "jr": jr, "np": np}
SLOW = {  # more than 1.2 s of CPU
    *(f"sj.{name}" for name in ("probe", "simulate_ensemble", "Excess", "ModeProbe", "plotting.overview")),
    *(f"sj.networks.{name}" for name in ("DINOv2", "EDM2", "normalized_weights")),
    *("sj.convert.load_module", "sj.convert.load_network", "sj.interop.TorchNetwork", "sj.interop.from_torch"),
    *("sj.report.page", "sj.theory.Hartree", "sj.theory.hartree", "sj.training.Classification"),
}
TORCH = ("sj.interop.TorchNetwork", "sj.interop.from_torch")
SKIPPED = {
    *(f"sj.convert.{name}" for name in ("convert", "dinov2_from_tensors", "edm2_from_tensors", "fetch")),
    *(f"sj.training.{name}" for name in ("train_classifier", "train_edm2", "train_fashion")),
    *("sj.data.load_fashion_mnist", "sj.interop.DiffusersModel", "sj.interop.load_diffusers"),
}


def parsed(name, thing):
    """The examples of a name, or of a class and its methods, one test for each docstring."""
    documented = [(name, thing), *((f"{name}.{method_name}", method) for method_name, method in methods(thing))]
    tests = [
        doctest.DocTestParser().get_doctest(inspect.getdoc(one) or "", dict(GLOBALS), said, None, None)
        for said, one in documented
    ]
    return [test for test in tests if test.examples]


def failures(name, thing):
    """What the examples of a name print, where it is not what they say."""
    told, runner = [], doctest.DocTestRunner()
    for test in parsed(name, thing):
        runner.run(test, out=told.append)
    return "".join(told)


def test_every_public_name_has_an_example():
    assert [name for name, thing in PUBLIC.items() if not parsed(name, thing)] == []


def test_only_examples_that_need_files_or_a_network_are_not_run():
    skip = doctest.SKIP
    left_out = {
        name
        for name, thing in PUBLIC.items()
        if all(example.options.get(skip) for test in parsed(name, thing) for example in test.examples)
    }
    assert left_out == SKIPPED


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in PUBLIC]
)
def test_examples_run_as_printed(name):
    if name in TORCH and find_spec("torchax") is None:
        pytest.skip("torchax is not installed")
    assert failures(name, PUBLIC[name]) == ""


def test_a_wrong_example_is_found():
    def wrong():
        """Two.

        >>> 1 + 1
        3
        """

    assert "Got:\n    2\n" in failures("wrong", wrong)
