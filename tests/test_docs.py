"""The site: its pages name what exists, link to what exists, run as printed; in a browser it needs nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from public_names import PUBLIC, unlisted
from report.chromium import FOUND, tab

import softjax as sj

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"api", "gallery", "_build"} & set(path.parts))
AS_USERS = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"} | {"MPLBACKEND": "Agg"}
READ = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def name(path):
    return str(path.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(path):
    """Links of a page to files and headings of the repository that are not there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        generated = target.is_relative_to(DOCS / "gallery") or target.is_relative_to(DOCS / "api")
        if not generated and not (target.exists() and (not anchor or anchor in anchors(target))):
            yield link


@pytest.mark.parametrize("path", READ, ids=name)
def test_links_lead_somewhere(path):
    assert not list(broken(path))


def resolved(dotted):
    thing = sj
    for part in dotted.split("."):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=name)
def test_every_name_of_the_package_that_a_page_mentions_exists(path):
    for dotted in set(re.findall(r"\bsj\.([a-zA-Z_][\w.]*\w)", path.read_text())):
        assert resolved(dotted) is not None


def test_every_argument_of_a_public_name_stands_in_a_list():
    assert [told for name, thing in PUBLIC.items() for told in unlisted(name, thing)] == []


def test_an_argument_that_is_not_told_is_found():
    def scaled(x, factor):
        """Scaled x.

        * `x`: a number.
        """

    assert list(unlisted("scaled", scaled)) == ["scaled: factor"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site without the figures of its gallery, every warning an error."""
    pytest.importorskip("sphinx_gallery")
    built = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(built / "doctrees"), "-D", "plot_gallery=0"]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(built / "html")]
    done = subprocess.run(command, env=AS_USERS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built / "html"


@pytest.mark.slow
def test_every_public_name_has_its_entry(site):
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        objects = dict(InventoryFile.load(file, "", lambda base, path: path))
    entries = {entry for kind, named in objects.items() if kind.startswith("py:") for entry in named}
    names = [one for one in vars(sj)["__all__"] if not one.startswith("_")]
    modules = {layer for layer in names if isinstance(getattr(sj, layer), type(sj))}
    assert {f"softjax.{name}" for name in names if name not in modules} <= entries
    assert all((site / "api" / f"{layer}.html").exists() for layer in modules)


@pytest.mark.slow
@pytest.mark.skipif(FOUND is None, reason="needs Chromium (Debian's package chromium)")
def test_in_a_browser_maths_is_drawn_search_finds_and_nothing_is_asked_for(site, tmp_path):
    with tab(tmp_path / "profile") as browser:
        browser.open((site / "theory.html").as_uri())
        assert waited(browser, "document.querySelectorAll('mjx-container svg').length") > 50
        assert browser.value("document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length") == 0
        heard(browser, site)
        browser.open((site / "search.html").as_uri() + "?q=critical_point")
        assert waited(browser, "document.querySelectorAll('#search-results li').length") > 0
        assert "critical_point" in browser.value("document.getElementById('search-results').innerText")
        heard(browser, site)


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site):
    texts = {path: path.read_text() for path in site.rglob("*.html") if "_modules" not in path.parts}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    lost = []
    for path, text in texts.items():
        for link in set(re.findall(r'\bhref="([^"]+)"', text)):
            file, _, place = unquote(link.split("?")[0]).partition("#")
            target = (path.parent / file).resolve() if file else path
            if "://" not in link and not (target.exists() and (not place or place in places.get(target, {place}))):
                lost.append(f"{path.name}: {link}")
    assert not lost


def waited(browser, expression):
    """A value, as soon as it is not 0, or 0 after ten seconds."""
    await_it = "new Promise(done => { let n = 0; const ask = () => { const v = %s; if (v || n++ > 100) done(v);"
    await_it += " else setTimeout(ask, 100); }; ask(); })"
    told = browser.send("Runtime.evaluate", expression=await_it % expression, awaitPromise=True, returnByValue=True)
    return told["result"]["value"]


def heard(browser, site):
    """No word on the console, and no request but to the files of the site."""
    assert not browser.events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    asked = [said["params"]["request"]["url"] for said in browser.events("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith(("data:", "blob:", site.as_uri()))] == []


@pytest.mark.slow
def test_the_python_of_the_pages_runs_as_printed(tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "doc_blocks.py"), *map(str, PAGES)]
    haste = AS_USERS | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=haste, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_spelling():
    codespell = Path(sys.executable).with_name("codespell")
    where = [str(ROOT / name) for name in ("docs", "examples", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    skipped = "*.js,*.png,*/_build,*/api,*/gallery"
    done = subprocess.run([codespell, "--skip", skipped, *where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
