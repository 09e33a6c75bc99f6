import ast
import inspect
from pathlib import Path

import pytest

import softjax as sj
from softjax import fields, processes, theory

EXPORTED = vars(sj)["__all__"]
STUB = Path(__file__).parents[1] / "softjax" / "__init__.pyi"


def stub_names():
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return [alias.asname for node in imports for alias in node.names if alias.asname]


CONTRACT = [
    *("VP", "EDM", "log_grid", "karras_grid"),
    *("PatchDictionary", "PatchField", "EmpiricalField", "GaussianField"),
    *("reverse_drift", "flow_drift", "simulate", "simulate_ensemble"),
    *("fourier_modes", "mode_response", "ModeProbe"),
    *("binarize", "luminance", "correlation_function", "radial_average", "correlation_length"),
    *("equilibrium_correlation_length", "critical_point", "onset", "theory"),
]


@pytest.mark.parametrize("name", stub_names())
def test_every_name_of_the_stub_resolves(name):
    assert getattr(sj, name) is not None


def test_all_lists_the_stub():
    assert sorted(EXPORTED) == sorted(stub_names())


def test_every_import_of_the_stub_is_re_exported():
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names)


@pytest.mark.parametrize("name", CONTRACT)
def test_contract_is_kept(name):
    assert name in EXPORTED


@pytest.mark.parametrize("name", ["critical_time", "patch_spectrum", "dictionary_spectrum", "two_pattern_eigenvalues"])
def test_theory_has_its_closed_forms(name):
    assert callable(getattr(theory, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        sj.no_such_name  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def public_classes(module, base):
    found = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base)]
    return [c for c in found if not inspect.isabstract(c)]


def parameters(function):
    return list(inspect.signature(function).parameters)[1:]


@pytest.mark.parametrize("field", public_classes(fields, sj.AbstractField), ids=lambda c: c.__name__)
def test_fields_share_one_signature(field):
    assert parameters(field.score) == parameters(field.denoise) == ["t", "x"]
    assert "process" in field.__dataclass_fields__


@pytest.mark.parametrize("process", public_classes(processes, sj.AbstractProcess), ids=lambda c: c.__name__)
def test_processes_share_one_signature(process):
    for clock in ("alpha", "sigma", "beta", "damping", "drift_weight", "prior_scale", "noise_to_signal", "log_snr"):
        assert parameters(getattr(process, clock)) == ["t"]


@pytest.mark.parametrize("name", [n for n in CONTRACT if n != "theory"])
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(sj, name))
