"""SQLite passes the store contract, in a file and in memory."""

import asyncio

import pytest

from turnout.stores.sqlite import SqliteStore
from turnout.testing.contract import StoreContract, change


class TestSqliteFile(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path):
        store = SqliteStore(str(tmp_path / "turnout.db"))
        yield store
        await store.close()

    async def open_again(self, store):
        return SqliteStore(store.path)

    @pytest.mark.parametrize("quick", [True, False])
    async def test_appends_made_at_once_share_commits(self, store, quick):
        commits = []
        store._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        store._typical = 0.0 if quick else 1.0  # commit in place, or on the writer thread
        await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(100)))
        assert len(commits) <= 3
        assert len(await store.threads()) == 100


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    async def store(self):
        store = SqliteStore(":memory:")
        yield store
        await store.close()
