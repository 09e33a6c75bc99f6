"""Pages of small results: their structure, what they must not hold, and what has no page."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from report.chromium import FOUND, tab
from sweep_units import walks

import softjax as sj
from softjax import cli
from softjax.cli._report import Report
from softjax.experiments import patch
from softjax.experiments.configs import PatchConfig, Probe, TimeGrid
from softjax.report import page
from softjax.report._result import read
from softjax.report._tables import over_axes
from softjax.sweeps import DamagedResult, load, run
from softjax.sweeps._run import Filler
from softjax.sweeps._store import FAILED

pytestmark = pytest.mark.slow
SMALL = PatchConfig(
    grid_size=16, patch_size=3, num_trajectories=2, time=TimeGrid(num_steps=20), probe=Probe(max_shell=4)
)
AXES = {"p_global": [0.5, 0.8], "beta": [0.5, 1.0]}
SHOWN = """JSON.stringify({
  said: [...document.querySelectorAll("p.frame")].filter(e => e.offsetParent).map(e => e.dataset.frame),
  pictures: [...document.querySelectorAll("img.state")].filter(e => e.offsetParent).map(e => e.alt),
  complete: [...document.images].every(e => e.naturalWidth > 0),
  curves: [...document.querySelectorAll("g.frame")].filter(e => getComputedStyle(e).display != "none")
    .map(e => e.dataset.frame),
})"""
WIDTHS = "[document.documentElement.scrollWidth, innerWidth].join()"
FIGURE = 'document.querySelector(".zoomed svg").getBoundingClientRect().width'
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes and text; refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def of(self, tag, **attributes):
        wanted = {"tag": tag, **attributes}
        return [one for one in self.elements if wanted.items() <= one.items()]

    def texts(self, tag):
        return [" ".join(one["text"].split()) for one in self.of(tag)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("patch")
    patch.run(SMALL, out / "data.zarr")
    return out


@pytest.fixture(scope="module")
def dataset(folder):
    return load(folder)


@pytest.fixture(scope="module")
def text(folder):
    return page(folder)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of which one unit has failed."""
    out = tmp_path_factory.mktemp("sweep")
    piece = Filler._piece

    def failing(self, owner, positions):
        values, states = piece(self, owner, positions)
        return values, np.where(positions == 1, FAILED, states)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Filler, "_piece", failing)
        run(patch.sweep(SMALL, AXES), out / "data.zarr", failures="keep")
    return out


@pytest.fixture(scope="module")
def sweep_text(swept):
    return page(swept)


@pytest.fixture(autouse=True)
def surroundings_as_before(monkeypatch):
    """Commands say where programs are kept, and how figures are drawn, to what they start."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "MPLBACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_the_page_says_what_was_asked_what_was_found_and_how(text, dataset):
    parsed = Page(text)
    assert parsed.texts("title") == parsed.texts("h1") == ["softjax patch"]
    assert parsed.texts("h2") == [
        *("What was asked", "What was found", "Figure", "One trajectory, from noise to data"),
        *("Summary", "Configuration", "Provenance"),
    ]
    command = "softjax patch --grid-size 16 --patch-size 3 --num-trajectories 2 --time.num-steps 20 --probe.max-shell 4"
    assert command in parsed.texts("code")
    assert "side L of the periodic lattice (sites): 16 (default 64)" in text
    rows = patch.summary(dataset)
    assert " ".join(patch.findings(dataset, rows).split()) in parsed.texts("p")
    named = {*parsed.texts("th")}
    assert {row.name for row in rows} <= named
    assert {"grid_size", "time.num_steps", "random key", "float type", "device", "store, its seal"} <= named
    peak = next(row for row in rows if row.name == "peak of median xi_eq")
    assert peak.interval is not None
    assert "[{:.4g}, {:.4g}]".format(*peak.interval) in parsed.texts("td")
    assert dataset.attrs["key"] in parsed.texts("td")


def test_the_store_itself_has_the_same_page(text, folder):
    assert sj.report.page(folder / "data.zarr") == text


@pytest.mark.parametrize("name", ["text", "sweep_text"])
def test_nothing_is_fetched_and_everything_has_a_name(name, request):
    text = request.getfixturevalue(name)
    parsed = Page(text)
    assert "://" not in text
    assert len(text.encode()) < 5e6
    sources = [one[key] for one in parsed.elements for key in ("src", "href", "xlink:href") if key in one]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    ids = [one["id"] for one in parsed.elements if "id" in one]
    assert len(ids) == len({*ids})
    used = {*re.findall(r'xlink:href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)}
    assert used <= {*ids}
    assert all(one.get("alt") for one in parsed.of("img"))
    assert all(one["role"] == "img" and one["aria-label"] for one in parsed.of("svg"))
    assert all(one["aria-label"] or one["text"].strip() for one in parsed.of("button"))
    assert {one["for"] for one in parsed.of("label")} == {one["id"] for one in parsed.of("input")}
    assert all(one.get("scope") in ("col", "row") for one in parsed.of("th"))
    assert len(parsed.of("caption")) == len(parsed.of("table"))


def test_every_instant_has_its_words_its_curves_and_a_picture(text):
    parsed = Page(text)
    (slider,) = parsed.of("input", type="range")
    number = int(slider["max"]) + 1
    instants = [one for one in parsed.of("p") if "data-frame" in one]
    assert [one["data-frame"] for one in instants] == [str(frame) for frame in range(number)]
    assert number == 21  # all of the grid
    curves = [one["data-frame"] for one in parsed.of("g", **{"class": "frame"})]
    assert {curves.count(str(frame)) for frame in range(number)} == {4}
    pictures = [one["data-picture"] for one in parsed.elements if "data-picture" in one]
    assert {one["data-shows"] for one in instants} == {*pictures} == {str(picture) for picture in range(8)}


def test_a_sweep_has_its_cells_a_figure_of_each_number_and_what_failed(sweep_text):
    parsed = Page(sweep_text)
    assert parsed.texts("h1") == ["softjax sweep of patch"]
    assert not parsed.of("input")
    names = parsed.texts("th")
    cells = [f"p_global = {p}, beta = {beta:g}" for p in AXES["p_global"] for beta in AXES["beta"]]
    assert [name for name in names if name in cells] == cells
    assert [caption for caption in parsed.texts("figcaption")] == cells
    assert "peak of median xi_eq (t)" in names
    assert len(parsed.of("svg")) == 7
    assert "1 failed unit" in parsed.texts("h2")
    assert any("p_global = 0.5, beta = 0.5, trajectory 1" in text for text in parsed.texts("li"))
    assert "--axis p_global=0.5,0.8 --axis beta=0.5,1" in sweep_text


def test_a_sweeps_table_is_read_where_it_is(swept, tmp_path):
    (tmp_path / "data.zarr").symlink_to(swept / "data.zarr")
    computed = over_axes(read(swept))
    lines = computed.to_dataframe()
    lines.to_csv(tmp_path / "table.csv")
    xr.testing.assert_allclose(over_axes(read(tmp_path)), computed, rtol=1e-12)
    lines[1:].to_csv(tmp_path / "table.csv")
    with pytest.raises(ValueError, match=r"table\.csv is not the table of this sweep"):
        page(tmp_path)


@pytest.mark.parametrize(
    ("written", "quantity"),
    [
        ('{"quantity": "rayleigh"}', "rayleigh"),
        ('{"quantity": "<script>"}', "magnitude"),
        ('{"quantity": []}', "magnitude"),
        ("[]", "magnitude"),
        ("{", "magnitude"),
    ],
)
def test_the_figure_is_drawn_as_it_was_asked_for(written, quantity, folder, tmp_path):
    (tmp_path / "data.zarr").symlink_to(folder / "data.zarr")
    (tmp_path / "config.json").write_text(written)
    assert read(tmp_path).config.quantity == quantity


def test_text_from_files_is_shown_not_executed(dataset):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    known = dict(dataset.attrs, device=evil, failed=[evil], config={**dataset.attrs["config"], f"{evil}_sha256": evil})
    text = page(dataset.assign_attrs(known))
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert evil in Page(text).texts("td")
    assert len(Page(text).of("script")) == 1
    assert "store, its seal" not in Page(text).texts("th")  # of a dataset in memory


def test_what_has_no_page_says_so_in_one_line(folder, dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="there are no results at"):
        page(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises((FileExistsError, FileNotFoundError)):
        page(tmp_path / "other")
    with pytest.raises(ValueError, match="lacks 3 units"):
        page(dataset.assign_attrs(unfinished=3))
    with pytest.raises(ValueError, match="every unit has failed"):
        page(dataset.isel(trajectory=slice(0)).assign_attrs(failed=["trajectory 0: magnitude is not finite"]))
    with pytest.raises(ValueError, match="'gone', which is no experiment here; pages are made for .*patch"):
        page(dataset.assign_attrs(config={"experiment": "gone"}))
    with pytest.raises(ValueError, match="another version of softjax: grid_size must be"):
        page(dataset.assign_attrs(config={**dataset.attrs["config"], "grid_size": -1}))


def test_a_sweep_of_ones_own_and_a_damaged_result_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="is a result of no experiment"):
        page(run(walks()))
    shutil.copytree(folder / "data.zarr", tmp_path / "data.zarr")
    chunk = next((tmp_path / "data.zarr" / "magnitude").glob("c*"))
    chunk.write_bytes(chunk.read_bytes()[:-9] + b"123456789")
    with pytest.raises(DamagedResult, match="magnitude"):
        page(tmp_path)


def test_the_command_writes_the_page_and_opens_it(folder, text, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
    cli.main(["report", str(folder), "--open"])
    assert (folder / "report.html").read_text(encoding="utf-8") == text
    assert opened == [(folder / "report.html").resolve().as_uri()]
    printed = capsys.readouterr().out
    assert f"Page {folder / 'report.html'} (" in printed
    assert "open the file yourself" in printed
    assert {path.name for path in folder.iterdir()} == {"data.zarr", "report.html"}
    assert Report(folder / "data.zarr").target == folder / "report.html"


def test_the_command_lists_what_failed_and_ends_with_1(swept, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", str(swept)])
    assert stop.value.code == 1
    assert "failed: p_global = 0.5, beta = 0.5, trajectory 1" in capsys.readouterr().err
    assert (swept / "report.html").exists()
    with pytest.raises(SystemExit, match="softjax: there are no results at"):
        cli.main(["report", str(swept / "nothing")])


@pytest.mark.skipif(FOUND is None, reason="needs Chromium (Debian's package chromium)")
def test_in_a_browser_the_slider_moves_the_picture_and_nothing_is_asked_for(text, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    with tab(tmp_path / "profile") as browser:
        browser.open(file.as_uri())
        first = json.loads(browser.value(SHOWN))
        assert first == {"said": ["0"], "pictures": ["state at t = 6"], "complete": True, "curves": ["0"] * 4}
        browser.value('document.getElementById("instant").focus()')
        browser.press("ArrowRight")
        assert json.loads(browser.value(SHOWN))["said"] == ["1"]
        browser.press("End")
        last = json.loads(browser.value(SHOWN))
        assert last == {"said": ["20"], "pictures": ["state at t = 0.001"], "complete": True, "curves": ["20"] * 4}
        assert browser.value('document.getElementById("instant").getAttribute("aria-valuetext")') == "t = 0.001"

        before = browser.value(FIGURE)
        browser.value("document.querySelector('[data-zoom=\"in\"]').click()")
        assert browser.value(FIGURE) > 1.3 * before
        browser.value("document.querySelector('[data-zoom=\"fit\"]').click()")
        assert browser.value(FIGURE) == before

        browser.send("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=2, mobile=True)
        wide, window = browser.value(WIDTHS).split(",")
        assert (wide, window) == ("390", "390")

        assert not browser.events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        asked = [said["params"]["request"]["url"] for said in browser.events("Network.requestWillBeSent")]
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]


def test_the_default_run_stays_below_five_megabytes():
    assert len(page(patch.run()).encode()) < 5e6
