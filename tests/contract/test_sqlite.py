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

    async def test_appends_made_at_once_share_commits(self, store):
        commits = []
        store._writer.db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        store._writer.typical = 1.0  # a disk that really syncs, so that the commits go to the writer thread
        await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(100)))
        assert len(commits) <= 3
        assert len(await store.threads()) == 100

    async def test_a_stray_entry_that_somebody_put_in_is_found(self, store):
        await store.append(change("a", 0, 2))
        store._writer.db.execute(
            "INSERT INTO entries SELECT number, 9, kind, run, step, at, epoch, body, digest FROM entries LIMIT 1"
        )
        assert await store.strays() == [("a", 9)]
        assert await store.strays("b") == []


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    async def store(self):
        store = SqliteStore(":memory:")
        yield store
        await store.close()
