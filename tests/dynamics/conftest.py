from collections.abc import Callable

import pytest

from softjax.dynamics import _brownian, _dpm, _engines


@pytest.fixture
def replace_noise(monkeypatch) -> Callable:
    """Gives both engines another source of (W, H). What is compiled already keeps the old one: pass a new observe."""

    def replace(noise: Callable) -> None:
        for module in (_brownian, _dpm, _engines):
            monkeypatch.setattr(module, "interval_noise", noise)

    return replace
