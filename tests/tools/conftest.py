"""A shop for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tools.shops import TOKEN, Shop, served


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    monkeypatch.setenv("SHOP_AUTH", f"Bearer {TOKEN}")
    return Shop(tmp_path)


@pytest.fixture(params=["stdio", "http"])
def open_shop(request: pytest.FixtureRequest, shop: Shop) -> Iterator[Shop]:
    """The shop as a process, and over HTTP."""
    if request.param == "stdio":
        yield shop
        return
    with served(shop) as (address, _):
        shop.write(where=address)
        yield shop
