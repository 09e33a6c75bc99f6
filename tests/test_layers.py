"""Imports point down the list of layers only, so that each can be read, tested and used without those above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "softjax"

LAYERS = [
    {"_version", "_types", "_linalg", "_repr", "_bar"},
    {"_checks"},
    {"processes"},
    {"spectral"},
    {"observables"},
    {"fields"},
    {"dynamics"},
    {"jacobian"},
    {"theory"},
    {"analysis"},
    {"networks", "data"},
    {"convert"},
    {"training", "interop"},
    {"sweeps"},
    {"plotting"},
    {"experiments"},
    {"report"},
    {"cli", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CORE = {name for name, rank in RANK.items() if rank <= RANK["analysis"]}
STANDALONE = {"networks", "convert"}


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix(".pyi")


def imported_modules(source, package):
    """Full names of the modules that the source of one in `package` imports from, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            folder = module in ("softjax", "softjax.experiments", "jax")  # whose names are modules
            yield from ([f"{module}.{alias.name}" for alias in node.names] if folder else [module])


def imported_layers(source, package):
    """Layers of softjax among these."""
    for module in imported_modules(source, package):
        parts = module.split(".")
        if parts[0] == "softjax":
            yield parts[1] if len(parts) > 1 else "__init__"


def violations(source, layer, package):
    for imported in imported_layers(source, package):
        if imported not in RANK:
            yield f"{layer} imports softjax.{imported}, which is no layer: import public names from their own module"
        elif imported != layer and RANK[imported] >= RANK[layer]:
            yield f"{layer} imports {imported}"
        elif imported in STANDALONE and layer in CORE:
            yield f"{layer}, of the core, imports {imported}"


MODULES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in {".py", ".pyi"} and path.parent != PACKAGE)
TOP = sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("layer", sorted({layer_of(path) for path in [*MODULES, *TOP]}))
def test_layer_imports_lower_layers_only(layer):
    assert layer in RANK, f"softjax.{layer} has no place yet: add it to LAYERS"
    found = []
    for path in (path for path in [*MODULES, *TOP] if layer_of(path) == layer):
        package = ".".join(["softjax", *path.relative_to(PACKAGE).parts[:-1]])
        found += [f"{path.name}: {v}" for v in violations(path.read_text(), layer, package)]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from softjax.fields import PatchField",
        "import softjax.theory",
        "from softjax import dynamics",
        "import softjax",
        "from softjax import VP",
        "from .. import fields",
        "from ..fields._base import AbstractField",
        "def f():\n    from softjax.cli import main",
    ],
)
def test_a_violation_is_found(source):
    assert list(violations(source, "spectral", "softjax.spectral"))


@pytest.mark.parametrize("source", ["from softjax._types import Array", "from . import _lattice", "import numpy"])
def test_a_legal_import_passes(source):
    assert not list(violations(source, "spectral", "softjax.spectral"))


EXPERIMENTS = sorted(path.parent.name for path in PACKAGE.glob("experiments/*/study.py") if path.parent.name[0] != "_")


def modules_imported_in(folder):
    """Every module that a file in a folder of softjax imports from."""
    package = f"softjax.{folder.replace('/', '.')}"
    paths = sorted((PACKAGE / folder).glob("*.py"))
    assert paths
    return {module for path in paths for module in imported_modules(path.read_text(), package)}


def experiments_among(modules):
    parts = [module.split(".") for module in modules]
    return {part[2] for part in parts if part[:2] == ["softjax", "experiments"] and len(part) > 2} & {*EXPERIMENTS}


def test_the_experiments_are_known():
    assert {"patch", "pulse", "theory"} <= {*EXPERIMENTS}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_imports_no_other_one(name):
    assert experiments_among(modules_imported_in(f"experiments/{name}")) <= {name}


@pytest.mark.parametrize("folder", ["sweeps", "experiments/_shared", "report", "cli", "plotting"])
def test_what_serves_all_experiments_names_none(folder):
    assert experiments_among(modules_imported_in(folder)) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from softjax.experiments.patch.study import unit",
        "from softjax.experiments import patch",
        "import softjax.experiments.patch",
        "from ..patch import study",
        "def f():\n    from softjax.experiments.patch import run",
    ],
)
def test_an_import_of_another_experiment_is_found(source):
    assert experiments_among(imported_modules(source, "softjax.experiments.theory")) == {"patch"}


def test_plotting_draws_and_does_not_compute():
    """It takes arrays and results as they are: nothing random, no program, nothing of softjax that makes them."""
    imported = modules_imported_in("plotting")
    assert {module.partition(".")[0] for module in imported}.isdisjoint({"jax", "equinox", "diffrax"})
    assert {module.split(".")[1] for module in imported if module.startswith("softjax.")} <= {"plotting", "analysis"}


PRODUCTS = {f"jnp.{name}" for name in ("dot", "einsum", "inner", "matmul", "tensordot", "vdot", "vecdot")}


def products_of_any_precision(source):
    for node in ast.walk(ast.parse(source)):
        operator = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
        if operator or (isinstance(node, ast.Attribute) and ast.unparse(node) in PRODUCTS):
            yield ast.unparse(node)


@pytest.mark.parametrize("layer", sorted(CORE - {"_linalg"}))
def test_the_core_multiplies_matrices_without_rounding_their_factors(layer):
    paths = [path for path in [*MODULES, *TOP] if layer_of(path) == layer]
    assert [p for path in paths for p in products_of_any_precision(path.read_text())] == []


def test_a_product_of_any_precision_is_found():
    assert list(products_of_any_precision("a @ b\njnp.einsum('i,i', a, b)")) == ["a @ b", "jnp.einsum"]


def modules_after(statement):
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_softjax_does_not_import_jax():
    loaded = modules_after("import softjax; softjax.__version__; dir(softjax)")
    assert "softjax" in loaded
    assert loaded.isdisjoint({"jax", "jaxlib", "numpy", "equinox", "diffrax", "matplotlib", "xarray"})


def test_the_core_needs_neither_networks_nor_plots():
    core = ", ".join(f"softjax.{name}" for name in sorted(CORE))
    loaded = modules_after(f"import {core}")
    assert "jax" in loaded
    assert loaded.isdisjoint({"flax", "optax", "torch", "matplotlib", "xarray", "zarr", "tyro"})
