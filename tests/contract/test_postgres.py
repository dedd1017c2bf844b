"""Postgres passes the store contract."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from tests.postgres import fresh_database

from turnout.stores.postgres import PostgresStore
from turnout.testing.contract import StoreContract, change


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url:
        yield url


class TestPostgres(StoreContract):
    @pytest.fixture
    async def store(self, database):
        store = PostgresStore(database)
        yield store
        await store.close()

    async def open_again(self, store):
        return PostgresStore(store._conninfo)

    async def test_appends_made_at_once_share_commits(self, store, database):
        await store.open()
        with psycopg.connect(database, autocommit=True) as other:
            await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(100)))
            made = other.execute("SELECT count(DISTINCT xmin::text) FROM turnout.threads").fetchone()
        assert made[0] <= 3
        assert len(await store.threads()) == 100

    async def test_open_transactions_keep_nobody_from_reading(self, database):
        """Whoever is in one may have to read the journal anew before it can append: it would wait for itself."""
        store = PostgresStore(database, pool=2, patience=3)
        try:
            await store.append(change("a", 0))
            async with store.transaction() as one, store.transaction() as other:
                assert (await store.thread("a")).head == 1
                await one.append(change("a", 1))
                await other.append(change("b", 0))
            assert [t.head for t in await store.threads()] == [2, 1]
        finally:
            await store.close()

    async def test_a_stray_entry_that_somebody_put_in_is_found(self, store, database):
        await store.append(change("a", 0, 2))
        with psycopg.connect(database, autocommit=True) as other:
            other.execute(
                "INSERT INTO turnout.entries SELECT thread, 9, kind, run, step, at, epoch, body, digest "
                "FROM turnout.entries LIMIT 1"
            )
        assert await store.strays() == [("a", 9)]
        assert await store.strays("b") == []
