"""The fixtures of the benchmarks: `measure`, `versus` and `record`; what was recorded is saved when a run ends."""

import os

os.environ.setdefault("EQX_ON_ERROR", "nan")  # before equinox: host callbacks would be timed too

from collections.abc import Callable
from typing import Any

import pytest
import results
from timing import Measure, Versus

REPORT = pytest.StashKey[list[str]]()
RECORDS = pytest.StashKey[dict[str, list[dict[str, Any]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    says = "default: for two cores; small: to try that everything runs, not kept; large: for a GPU"
    parser.addoption("--sizes", choices=("small", "default", "large"), default="default", help=says)


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[Any, Any, Any], Any]:
    """Chooses among what is measured at small, default and large sizes."""
    place = ("small", "default", "large").index(request.config.getoption("--sizes"))
    return lambda *choices: choices[place]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keeps numbers, and the sizes that they belong to, for the page."""
    name = f"{request.node.path.name}::{request.node.name}"
    kept = request.config.stash.setdefault(RECORDS, {}).setdefault(name, [])
    return lambda **numbers: kept.append(numbers)


@pytest.fixture
def measure(benchmark: Any) -> Measure:
    return Measure(benchmark)


@pytest.fixture
def versus(measure: Measure, record: Callable[..., None], request: pytest.FixtureRequest) -> Versus:
    return Versus(measure, record, request.config.stash.setdefault(REPORT, []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    about = results.machine()
    terminalreporter.section(f"ratios on {about['device']}, {about['cores']} cores, {about['precision']}")
    for line in config.stash.get(REPORT, []):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    records = {name: kept for name, kept in session.config.stash.get(RECORDS, {}).items() if kept}
    kept = session.config.getoption("--sizes") != "small" or "SOFTJAX_BENCHMARK_RESULTS" in os.environ
    if records and kept:
        results.save(records)
