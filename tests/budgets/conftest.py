"""The upstream that is asked under budgets, and the processes that ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.spawner import Spawner
from tests.crash.stores import ENGINES, Stores
from tests.models.upstreams import LLMock, serving


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMock]:
    with serving(LLMock, tmp_path_factory.mktemp("llmock")) as server:
        yield server


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
