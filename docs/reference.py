"""Steps of the site's build: a page of reference for every layer, links from names, docstrings as Markdown."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import new_document
from sphinx.addnodes import desc_signature
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LAYERS = (
    *("processes", "spectral", "observables", "fields", "dynamics", "jacobian", "theory", "analysis"),
    *("networks", "convert", "interop", "data", "training", "sweeps", "plotting", "experiments", "report"),
)
STUB = Path(__file__).resolve().parents[1] / "softjax" / "__init__.pyi"
_ORDER = (
    *("tutorial", "first_trajectory", "probe_any_callable", "torch_module", "trained_network"),
    *("exact_or_finite_difference", "whole_zone", "growth", "null_test", "correlation_lengths"),
)
_INDEX = r"""One page a layer, in the order in which they build on each other: a module imports only from layers above
its own. Most names are flat, `softjax.simulate`; the rest are reached through their layer, `softjax.theory.hartree`. In
all examples `sj` is `softjax`, `jnp` is `jax.numpy`, `jr` is `jax.random` and `np` is `numpy`. Functions act on one
configuration, of shape (\*lattice) or (\*lattice, channels); a batch is `jax.vmap`. Shapes and units stand in the
lists of arguments.
"""
_ELSEWHERE = {
    r"\]\((?:\.\./)+examples/(\w+)\.py": r"](/gallery/\1.rst",
    r"\]\((?:\.\./)+softjax/weights/README\.md": "](/weights.md",
    r"\]\((?:\.\./)+CHANGELOG\.md": "](/changelog.md",
    r"\]\((?:\.\./)+CONTRIBUTING\.md": "](/contributing.md",
}
_NAME = re.compile(r"(?P<package>(?:sj|softjax)\.)?(?P<name>[A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)
_HEADER = """# {title}

{about}

```{{eval-rst}}
"""


def flat_names() -> dict[str, str]:
    """The names of `softjax/__init__.pyi` that are no modules, with the module each comes from."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: f"softjax.{node.module}" for node in imports for alias in node.names if alias.name[0] != "_"}


def public_names(layer: str) -> list[str]:
    """What `softjax.LAYER` exports."""
    module = importlib.import_module(f"softjax.{layer}")
    names = getattr(module, "__all__", dir(module))
    return [name for name in names if name[0] != "_" and not inspect.ismodule(getattr(module, name))]


def documented(layer: str) -> dict[str, str]:
    """Every public name of a layer, with the name under which it is documented: the flat one, where there is one."""
    flat = {name for name, module in flat_names().items() if module.split(".")[1] == layer}
    own = {name: f"softjax.{name}" if name in flat else f"softjax.{layer}.{name}" for name in public_names(layer)}
    return own | {name: f"softjax.{name}" for name in flat}


def entry(name: str) -> str:
    """The directive that documents a name."""
    owner, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(owner), last)
    if inspect.isclass(thing):
        return f".. autoclass:: {name}\n   :members:\n"
    return f".. autofunction:: {name}\n" if inspect.isroutine(thing) else f".. autodata:: {name}\n   :no-value:\n"


def experiment_entries() -> str:
    """Every experiment, with its parameters."""
    names = importlib.import_module("softjax.experiments").names()
    entry_of_one = """.. rubric:: softjax {0}

.. automodule:: softjax.experiments.{0}

.. autoclass:: softjax.experiments.{0}.Config
   :members:
"""
    return "\n".join(entry_of_one.format(name) for name in names)


def page(layer: str) -> str:
    """The text of a layer's page."""
    module = importlib.import_module(f"softjax.{layer}")
    text = _HEADER.format(title=f"softjax.{layer}", about=cited(inspect.getdoc(module) or ""))
    text += "\n".join(entry(name) for name in sorted(documented(layer).values(), key=str.lower))
    if layer == "experiments":
        text += "\n" + experiment_entries()
    return text + "```\n"


def index() -> str:
    """The page that lists the others."""
    return "# Reference\n\n" + _INDEX + "\n```{toctree}\n" + "\n".join(LAYERS) + "\n```\n"


def write_pages(app: Sphinx) -> None:
    """All pages of the reference, into `docs/api`; pages that would not change are left alone."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for name, text in [("index", index()), *((layer, page(layer)) for layer in LAYERS)]:
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


class Markdown(SphinxDirective):
    """Its content, read as Markdown within a page that is not."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes of the text."""
        parser = self.env.app.registry.create_source_parser("markdown", config=self.env.config, env=self.env)
        inner = new_document(self.get_source_info()[0], self.state.document.settings)
        parser.parse("\n".join(self.content), inner)
        return inner.children


def cited(text: str) -> str:
    """Sections of the theory that are named become links."""
    titles = re.findall(r"^## ((\d+)\. .*)$", (STUB.parents[1] / "docs" / "theory.md").read_text(), re.MULTILINE)
    slugs = {number: re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title, number in titles}
    named = re.compile(r"(?:docs/)?theory\.md,? (sections?) (\d+)")
    return named.sub(lambda said: f"[theory, {said[1]} {said[2]}](/theory.md#{slugs.get(said[2], '')})", text)


def fenced(lines: list[str]) -> list[str]:
    """Examples, from a line with >>> to the next empty one or the end, become blocks of code."""
    block = r"(?m)^>>> (?:.+\n?)+"
    return re.sub(block, lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", "\n".join(lines)).split("\n")


def as_markdown(_app: Sphinx, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are Markdown; sections of the theory they cite become links. Constants have their own only."""
    if what == "data" and lines and lines[0] == (type(thing).__doc__ or "").strip().split("\n")[0]:
        lines.clear()  # of int, str, ...
    if lines:
        lines[:] = [".. markdown::", "", *("   " + cited(line) for line in fenced(lines)), ""]


def without_a_word(_app: Sphinx, _what: str, _name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    """Fields of named tuples stand in the list of their class."""
    return True if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number") else None


def drawn_without_pyplot(_block: tuple, variables: dict, conf: dict) -> str:
    """A picture of `figure`, for the gallery, where pyplot does not know it, as of the figures of experiments."""
    from sphinx_gallery.scrapers import figure_rst

    figure = variables["example_globals"].get("figure")
    if not hasattr(figure, "savefig") or hasattr(figure, "number"):
        return ""
    path = variables["image_path_iterator"].next()
    figure.savefig(path, dpi=100)
    return figure_rst([path], conf["src_dir"])


def links_of_the_repository(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Links of Markdown pages to files beside `docs` lead to their pages."""
    for there, here in _ELSEWHERE.items():
        source[0] = re.sub(there, here, source[0])


class Taught:
    """The order of the gallery: from the first steps on, the rest by name."""

    def __init__(self, _folder: str) -> None:
        pass

    def __call__(self, filename: str) -> tuple[int, str]:
        """Sorts the examples of a folder."""
        stem = Path(filename).stem
        return (_ORDER.index(stem) if stem in _ORDER else len(_ORDER), stem)


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Names in running text, such as `sj.simulate(...)`, lead to the reference."""
    objects = app.env.domains["py"].data["objects"]
    bare = {name.rpartition(".")[2]: name for layer in LAYERS for name in documented(layer).values()}
    for literal in list(doctree.findall(nodes.literal)):
        said = _NAME.fullmatch(literal.astext())
        if said is None or _is_linked(literal):
            continue
        short = bare.get(said["name"]) if _is_plain(said["name"], docname) else None
        found = objects.get(f"softjax.{said['name']}" if said["package"] else short)
        if found is None:
            continue
        address = app.builder.get_relative_uri(docname, found.docname) + "#" + found.node_id
        link = nodes.reference("", "", internal=True, refuri=address)
        literal.replace_self(link)
        link += literal


def _is_plain(name: str, docname: str) -> bool:
    """Whether a name without its package is surely the public one: others are names of arguments as well."""
    return name[0].isupper() or (docname.startswith("api/") and ("_" in name or name == "simulate"))


def _is_linked(literal: nodes.Node) -> bool:
    parent = literal.parent
    while parent is not None:
        if isinstance(parent, nodes.reference | desc_signature | nodes.title):
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("markdown", Markdown)
    app.connect("builder-inited", write_pages)
    app.connect("source-read", links_of_the_repository)
    app.connect("autodoc-process-docstring", as_markdown)
    app.connect("autodoc-skip-member", without_a_word)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
