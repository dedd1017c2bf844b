"""What the crash tests share: a spawner of processes, stores of both engines, and whether everything is to be tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.spawner import Spawner
from tests.crash.stores import ENGINES, Stores


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    found = Spawner()
    yield found
    found.close()


@pytest.fixture(scope="module", params=ENGINES)
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    found = Stores(request.param)
    yield found
    found.close()


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    """`make crash` (`-m crash`) tries every point; the default run tries a selection."""
    return bool(request.config.getoption("markexpr") == "crash")
