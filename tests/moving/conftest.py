"""Two homes for each test, of the kinds in `homes.PAIRS`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.moving.homes import KINDS, PAIRS, Home

from turnout.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
async def homes(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[tuple[Home, Home]]:
    made = []
    for name, kind in zip(("old", "new"), request.param, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        made.append(KINDS[kind](folder, clock))
    yield made[0], made[1]
    for home in made:
        await home.close()


@pytest.fixture
def old(homes: tuple[Home, Home]) -> Home:
    return homes[0]


@pytest.fixture
def new(homes: tuple[Home, Home]) -> Home:
    return homes[1]


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "house.jsonl")
