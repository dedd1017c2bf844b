"""What the crash tests share: a spawner of processes, and whether everything is to be tried or a selection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.spawner import Spawner


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    found = Spawner()
    yield found
    found.close()


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    """`make crash` (`-m crash`) tries every point; the default run tries a selection."""
    return bool(request.config.getoption("markexpr") == "crash")
