"""Fixtures of the unit tests: a store in memory that several apps open, one after the other."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.slots import Kept

from turnout.ports.store import Store
from turnout.stores.sqlite import SqliteStore


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    kept = Kept(":memory:")
    yield kept  # type: ignore[misc]
    await SqliteStore.close(kept)
