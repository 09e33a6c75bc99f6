"""The site: Markdown pages, a reference made from the docstrings, and a gallery made by running `examples/`."""

import os
import shutil
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent.resolve()
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]
os.environ.setdefault("EQX_ON_ERROR", "nan")  # so that compiled programs of diffrax are kept between examples

from softjax import __version__  # noqa: E402

project, author, version = "softjax", "softjax contributors", __version__
release, language, copyright = version, "en", "softjax contributors, Apache 2.0"  # noqa: A001
extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery"),
    "reference",
]
exclude_patterns = ["_build", "**/README.md", "gallery/*.py", "gallery/*.ipynb", "gallery/**/*.zip", "gallery/*.zip"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
nitpicky = False
default_role = "literal"
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]

# The maths is drawn by a file of the site itself. No menu, no speech: both would ask for more files.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

autodoc_typehints = "none"  # shapes and units stand in the lists of arguments
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autoclass_content = "class"
autodoc_member_order = "bysource"
toc_object_entries = False
add_module_names = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"softjax {version}"
html_static_path = ["_static"]
html_css_files = ["softjax.css"]
html_show_search_summary = False  # summaries are fetched, which browsers refuse to pages opened from a disk
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def _run_copies() -> Path:
    """The examples, copied to where they may leave their files."""
    folder = HERE / "_build" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.py"):
        path.unlink()
    for path in (ROOT / "examples").iterdir():
        if path.is_file() and path.suffix != ".png":
            shutil.copy2(path, folder)
    return folder


def _figures_close(_gallery: dict, _file: str) -> None:
    """What examples may have left: open figures, the settings of the last one."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    plt.rcdefaults()


sphinx_gallery_conf = {
    "examples_dirs": [str(_run_copies())],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": "torch_module" if find_spec("torchax") is None else "__init__",
    "within_subsection_order": "reference.Taught",
    "image_scrapers": ("matplotlib", "reference.drawn_without_pyplot"),
    "reset_modules": (_figures_close,),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("softjax",),
    "reference_url": {"softjax": None},
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "write_computation_times": False,
    "capture_repr": (),
    "image_srcset": ["2x"],
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
