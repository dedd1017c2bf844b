"""A shop for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tools.shops import TOKEN, Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    monkeypatch.setenv("SHOP_AUTH", f"Bearer {TOKEN}")
    return Shop(tmp_path)
