"""Connections to Postgres are cut in the worst moments: what was sent is there once, and the caller is told the truth."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.crash.proxy import Proxy
from tests.postgres import fresh_database

from turnout.errors import HeadMoved, KeyReused, StaleWriter, StoreUnavailable
from turnout.ports.rows import Append, KeyRow
from turnout.stores.postgres import PostgresStore
from turnout.stores.postgres_connections import settings
from turnout.testing.contract import change

pytestmark = pytest.mark.crash
COMMIT = b"COMMIT\0"


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url:
        yield url


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="cut-") as folder:  # a socket's path must be short
        found = Proxy(database, Path(folder))
        yield found
        found.close()


@pytest.fixture
async def store(proxy: Proxy) -> AsyncIterator[PostgresStore]:
    found = PostgresStore(proxy.url, patience=5.0)
    yield found
    await found.close()


@pytest.fixture
async def witness(database: str) -> AsyncIterator[PostgresStore]:
    """The same store over a line that nobody cuts."""
    found = PostgresStore(database)
    yield found
    await found.close()


def usual(thread: str, head: int, count: int = 1) -> Append:
    """A step that changes nothing of the thread's row but its head: it goes without a transaction of its own."""
    return replace(change(thread, head, count, epoch=1), same=True, progress=True)


async def begun(store: PostgresStore, *threads: str) -> None:
    """Threads that are held in epoch 1, with one entry each."""
    for thread in threads:
        await store.append(change(thread, 0, wake=0))
    assert len(await store.claim("w", 1, 10**18, 100)) == len(threads)


async def journal(store: PostgresStore, thread: str) -> list[int]:
    assert await store.strays() == []
    return [row.seq for row in await store.read(thread)]


@pytest.mark.parametrize("how", ["request", "answer"])
async def test_a_step_whose_connection_is_cut_is_appended_once(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy, how: str
) -> None:
    await begun(store, "a")
    step = usual("a", 1)
    cut = proxy.cut(step.rows[0].digest, how)
    await store.append(step)
    assert cut.happened.is_set()
    assert await journal(witness, "a") == [1, 2]
    with pytest.raises(HeadMoved):  # the same once more is another append
        await store.append(step)
    await store.append(usual("a", 2))
    assert await journal(witness, "a") == [1, 2, 3]


@pytest.mark.parametrize("how", ["request", "answer"])
async def test_a_batch_of_steps_and_more_whose_connection_is_cut_is_appended_once(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy, how: str
) -> None:
    """Steps, a new thread with a key, one that parks, one that is refused: all in one transaction, cut at its end."""
    await begun(store, "a", "b", "c", "d")
    taken = KeyRow("k", "new", 1, "digest")
    batch = [
        usual("a", 1, 2), usual("b", 1), change("new", 0, 2, keys=[taken]),
        change("c", 1, epoch=1, release=True, wake=None, wakes=["d"]), usual("d", 7),
    ]  # fmt: skip
    cut = proxy.cut(COMMIT, how)
    results = await asyncio.gather(*(store.append(one) for one in batch), return_exceptions=True)
    assert cut.happened.is_set()
    assert results[:4] == [None] * 4, results
    assert isinstance(results[4], HeadMoved)
    assert [await journal(witness, t) for t in ("a", "b", "new", "c", "d")] == [
        [1, 2, 3],
        [1, 2],
        [1, 2],
        [1, 2],
        [1],
    ]
    assert await witness.key("k") == taken
    with pytest.raises(KeyReused):
        await store.append(change("other", 0, keys=[replace(taken, thread="other")]))


@pytest.mark.parametrize("rich", [False, True])
async def test_an_append_that_lands_after_its_connection_was_cut_is_not_said_to_be_refused(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy, database: str, rich: bool
) -> None:
    """The server still works on it while the program is back and asks again: that finds the head moved, by itself."""
    await begun(store, "a")
    step = usual("a", 1)
    if rich:
        step = replace(step, same=False, keys=[KeyRow("k", "a", 1, "digest")])
    with psycopg.connect(database) as other:  # holds the row, so that both wait for it
        other.execute("SELECT FROM turnout.threads WHERE thread = 'a' FOR UPDATE")
        cut = proxy.cut(step.rows[0].digest.hex().encode() if rich else step.rows[0].digest, "late")
        appending = asyncio.ensure_future(store.append(step))
        assert await asyncio.to_thread(cut.happened.wait, 5)
        cut.delivered.set()
        await asyncio.sleep(0.3)
        other.rollback()
        assert await asyncio.to_thread(cut.answered.wait, 5) or rich
    await appending
    assert await journal(witness, "a") == [1, 2]
    await store.append(usual("a", 2))
    assert await journal(witness, "a") == [1, 2, 3]


async def test_an_append_that_landed_is_true_although_the_thread_was_taken_over_since(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy, database: str
) -> None:
    await begun(store, "a")
    step = usual("a", 1)
    late = usual("a", 2)
    cut = proxy.cut(step.rows[0].digest, "answer")
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "NEW.epoch := 2; NEW.owner := 'other'; RETURN NEW; END $$"
        )
        other.execute(
            "CREATE TRIGGER taken BEFORE UPDATE ON turnout.threads FOR EACH ROW EXECUTE FUNCTION taken()"
        )
        await store.append(step)
        assert cut.happened.is_set()
        other.execute("DROP TRIGGER taken ON turnout.threads")
    assert await journal(witness, "a") == [1, 2]
    with pytest.raises(StaleWriter):
        await store.append(late)
    assert await journal(witness, "a") == [1, 2]


async def test_every_connection_cut_at_once_and_again_and_again_loses_no_append(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy
) -> None:
    names, chance = [f"t{n}" for n in range(12)], random.Random(7)
    await begun(store, *names)
    cuts = 0

    async def work(thread: str) -> int:
        head = 1
        while cuts < 15:
            rich = head % 5 == 0
            await store.append(change(thread, head, epoch=1, wakes=["t0"]) if rich else usual(thread, head))
            head += 1
        return head

    working = asyncio.ensure_future(asyncio.gather(*(work(name) for name in names)))
    while not working.done():
        await asyncio.sleep(chance.uniform(0.02, 0.2))
        proxy.cut_all()
        cuts += 1
    for name, head in zip(names, await working, strict=True):
        assert await journal(witness, name) == list(range(1, head + 1))


async def test_a_transaction_whose_end_is_cut_says_that_nobody_knows(
    store: PostgresStore, witness: PostgresStore, proxy: Proxy, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE TABLE ledger (line text)")
    await begun(store, "a", "b")
    for how, thread in (("answer", "a"), ("request", "b")):
        cut = proxy.cut(COMMIT, how)
        with pytest.raises(StoreUnavailable):  # noqa: PT012
            async with store.transaction() as transaction:
                await transaction.connection.execute("INSERT INTO ledger VALUES (%s)", [thread])
                await transaction.append(change(thread, 1, epoch=1))
        assert cut.happened.is_set()
    assert await journal(witness, "a") == [1, 2]
    assert await journal(witness, "b") == [1]
    with psycopg.connect(database) as other:
        assert other.execute("SELECT * FROM ledger").fetchall() == [("a",)]


async def test_a_tool_s_own_database_error_stays_its_own(
    store: PostgresStore, witness: PostgresStore
) -> None:
    await begun(store, "a")
    with pytest.raises(psycopg.errors.UndefinedTable):  # noqa: PT012
        async with store.transaction() as transaction:
            await transaction.append(change("a", 1, epoch=1))
            await transaction.connection.execute("SELECT * FROM nowhere")
    assert await journal(witness, "a") == [1]


async def test_a_pool_that_is_used_up_is_a_clear_error_and_goes_on_afterwards(database: str) -> None:
    store = PostgresStore(database, pool=2, patience=0.5)
    await begun(store, "a")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE turnout.threads IN ACCESS EXCLUSIVE MODE")
        readers = [asyncio.create_task(store.thread("a")) for _ in range(2)]
        await asyncio.sleep(0.2)
        with pytest.raises(StoreUnavailable, match="gave no connection in time"):
            await store.thread("a")
        other.rollback()
        assert [row.thread for row in await asyncio.gather(*readers) if row] == ["a", "a"]
    await store.append(usual("a", 1))
    assert await journal(store, "a") == [1, 2]
    await store.close()


async def test_a_server_that_has_no_connection_left_is_a_clear_error(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        name = other.info.dbname
        other.execute("CREATE ROLE few LOGIN")
        other.execute("GRANT ALL ON SCHEMA turnout TO few")
        other.execute("GRANT ALL ON ALL TABLES IN SCHEMA turnout TO few")
        other.execute(f"ALTER ROLE few IN DATABASE {name} SET application_name = 'few'")
        try:
            store = PostgresStore(database.replace("postgres@", "few@"), patience=0.5)
            await store.open()
            # From now on the role gets none, and what the store's pool had is gone.
            other.execute("ALTER ROLE few CONNECTION LIMIT 0")
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")
            with pytest.raises(
                StoreUnavailable, match=r"too many connections.*raise max_connections or run fewer"
            ):
                await store.append(change("a", 0))
            other.execute("ALTER ROLE few CONNECTION LIMIT 2")
            await store.append(change("a", 0))
            assert await journal(store, "a") == [1]
            await store.close()
        finally:
            other.execute("DROP OWNED BY few")
            other.execute("DROP ROLE few")


async def test_connections_that_were_ended_while_they_rested_are_not_noticed(
    store: PostgresStore, database: str
) -> None:
    await begun(store, "a")
    with psycopg.connect(database, autocommit=True) as other:
        for head in range(1, 6):
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await store.append(usual("a", head))
            row = await store.thread("a")
            assert row is not None
            assert row.head == head + 1


async def test_a_read_whose_connection_is_cut_is_asked_once_more(store: PostgresStore, proxy: Proxy) -> None:
    await begun(store, "somewhere")
    for how in ("request", "answer"):
        cut = proxy.cut(b"somewhere", how)
        row = await store.thread("somewhere")
        assert cut.happened.is_set()
        assert row is not None


async def test_a_pool_full_of_dead_connections_costs_no_waiting(store: PostgresStore, proxy: Proxy) -> None:
    await begun(store, "a")
    for _ in range(3):
        async with AsyncExitStack() as held:
            for _ in range(8):
                await held.enter_async_context(store.transaction())
        proxy.cut_all()
        begun_at = time.monotonic()
        assert await store.thread("a") is not None
        assert time.monotonic() - begun_at < 0.9  # psycopg's own pool waits a second, then two, then four


def test_an_address_says_more_than_our_wishes(database: str) -> None:
    wished = settings(database, 7.5)
    assert (wished["connect_timeout"], wished["tcp_user_timeout"], wished["keepalives_idle"]) == (7, 7000, 7)
    assert "connect_timeout" not in settings(f"{database}&connect_timeout=3", 7.5)


async def test_who_is_cancelled_in_the_moment_of_getting_a_connection_is_cancelled(database: str) -> None:
    """asyncio.wait_for, which psycopg's pool waits with, loses a cancellation then (in Python 3.11)."""
    store, lost = PostgresStore(database, pool=1), 0
    await begun(store, "a")
    for turns in range(60):
        async with AsyncExitStack() as held:
            await held.enter_async_context(store.transaction())
            waiting = asyncio.ensure_future(store.thread("a"))
            await asyncio.sleep(0.02)
            leaving = asyncio.ensure_future(held.aclose())
            while turns % 20 and not leaving.done():
                await asyncio.sleep(0)
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            told = waiting.cancel()
            await leaving
        await asyncio.wait([waiting])
        lost += told and not waiting.cancelled()
    assert lost == 0
    assert await store.thread("a") is not None
    await store.close()
