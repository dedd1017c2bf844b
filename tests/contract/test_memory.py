"""The simulation's model of a store passes the contract, too: it may speak for the others."""

import pytest
from tests.simulation.memory_store import MemoryStore

from turnout.testing.contract import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    async def store(self):
        store = MemoryStore()
        yield store
        await store.close()

    async def open_again(self, store):
        return MemoryStore(store.data)
