"""The `versus` fixture, and the ratios at the end of a run."""

import os

os.environ.setdefault("EQX_ON_ERROR", "nan")  # before equinox: host callbacks would be timed too

from typing import Any

import jax
import pytest
from timing import Versus

REPORT = pytest.StashKey[list[str]]()


@pytest.fixture
def versus(benchmark: Any, request: pytest.FixtureRequest) -> Versus:
    return Versus(benchmark, request.config.stash.setdefault(REPORT, []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    device = jax.devices()[0]
    terminalreporter.section(f"ratios on {device.platform}: {device.device_kind}, {os.cpu_count()} CPU cores")
    for line in config.stash.get(REPORT, []):
        terminalreporter.write_line(line)
