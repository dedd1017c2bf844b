"""What the crash tests share: a spawner of processes, and stores of both engines."""

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
