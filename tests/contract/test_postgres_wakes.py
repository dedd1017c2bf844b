"""Wake-ups on Postgres: enqueued with their cause, one each, for whom they concern, and heard once."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from tests.postgres import fresh_database

from turnout.errors import HeadMoved, StoreError
from turnout.stores.postgres import PostgresStore
from turnout.testing.contract import change


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url:
        yield url


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    found = PostgresStore(database)
    yield found
    await found.close()


def now() -> int:
    return time.time_ns() // 1000


def queued(database: str) -> list[tuple[str, str]]:
    """The wake-ups that were ever enqueued (queue, thread), in their order; they are taken away."""
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(
            "DELETE FROM turnout.pgqueuer RETURNING id, entrypoint, payload"
        ).fetchall()
    return [(queue, thread.decode()) for _, queue, thread in sorted(found)]


@asynccontextmanager
async def listening(
    store: PostgresStore, worker: str, graphs: list[str], heard: Callable[[str], None]
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that hears: it is ready when it has heard of a first thread."""
    ready, first = asyncio.Event(), f"first {uuid.uuid4().hex}"

    def hear(thread: str) -> None:
        if thread == first:
            ready.set()
        else:
            heard(thread)

    task = asyncio.ensure_future(store.hear(worker, graphs, hear, 0.01))
    await store.append(change(first, 0, wake=1, graph=first))
    assert await store.claim(worker, 1, 2, 1, [first])
    async with asyncio.timeout(10):
        while not ready.is_set():
            await store.wake([first], now())
            await asyncio.sleep(0.1)
            assert not task.done(), task.result()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_wake_up_is_enqueued_with_its_cause_or_not_at_all(
    store: PostgresStore, database: str
) -> None:
    await store.append(change("a", 0, wake=now(), at=now()))
    assert queued(database) == [("graph desk", "a")]
    with pytest.raises(HeadMoved):
        await store.append(change("a", 0, wake=now(), at=now()))
    with pytest.raises(HeadMoved):
        await store.append(change("a", 7, wake=now(), wakes=["a"]))
    with pytest.raises(RuntimeError, match="undone"):  # noqa: PT012
        async with store.transaction() as transaction:
            await transaction.append(change("a", 1, wake=now(), at=now(), wakes=["b"]))
            raise RuntimeError("undone")
    assert queued(database) == []
    async with store.transaction() as transaction:
        await transaction.append(change("a", 1, wake=now(), at=now()))
    assert queued(database) == [("graph desk", "a")]


async def test_whether_a_wake_up_is_due_is_by_the_server_s_clock(
    store: PostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = now()
    await store.append(change("a", 0))
    await store.append(change("b", 0, wake=1))
    for wrong in (-3_600_000_000, 3_600_000_000):
        monkeypatch.setattr(time, "time_ns", lambda by=wrong: (real + by) * 1000)
        queued(database)
        await store.wake(["a"], real)
        [lease] = await store.claim("w", real, real + 100, 1, thread="b")
        assert await store.release(lease, 1, real)
        assert [thread for _, thread in queued(database)] == ["a", "b"]
        [lease] = await store.claim("w", real, real + 100, 1, thread="a")
        assert await store.release(lease, 1, real + 60_000_000)
        assert queued(database) == []


async def test_a_step_enqueues_nothing_and_a_thread_that_waits_neither(
    store: PostgresStore, database: str
) -> None:
    await store.append(change("a", 0, wake=1))
    [lease] = await store.claim("w", 2, 10**18, 1)
    queued(database)
    for head in range(1, 21):
        await store.append(replace(change("a", head, epoch=1), same=True, progress=True))
    await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(5)))
    await store.append(change("a", 21, epoch=1, release=True, wake=None))
    await store.append(change("b", 0, wake=now() + 3_600_000_000, at=now()))
    assert await store.release(lease, 22, None)
    assert queued(database) == []


async def test_an_append_from_outside_tells_the_holder_and_a_child_its_parent(
    store: PostgresStore, database: str
) -> None:
    await store.append(change("held", 0, wake=1))
    await store.claim("w", 2, 10**18, 1)
    await store.append(change("child", 0))
    queued(database)
    await store.append(
        change("held", 1, epoch=1, wake=now(), at=now())
    )  # an input, say: from outside, in the holder's epoch
    assert queued(database) == [("worker w", "held")]
    await store.append(change("child", 1, at=now(), wakes=["held"]))
    assert queued(database) == [("worker w", "held")]
    await store.append(
        change("held", 2, epoch=1, at=now(), release=True, wake=None)
    )  # it must look again: it was told
    assert queued(database) == [("graph desk", "held")]


async def test_a_wake_up_is_heard_by_exactly_one_of_two_workers_and_by_none_of_another_graph(
    store: PostgresStore, database: str
) -> None:
    other = PostgresStore(database)
    heard: dict[str, list[str]] = {"v": [], "w": [], "x": []}
    async with (
        listening(store, "v", ["desk"], heard["v"].append),
        listening(other, "w", ["desk"], heard["w"].append),
        listening(other, "x", ["elsewhere"], heard["x"].append),
    ):
        names = [f"t{n:03}" for n in range(100)]
        for name in names:
            await store.append(change(name, 0, wake=now(), at=now()))
        await until(lambda: len(heard["v"] + heard["w"]) >= len(names))
        assert sorted(heard["v"] + heard["w"]) == names
        assert heard["x"] == []
        [lease] = await store.claim("x", now(), 10**18, 1, ["desk"])
        await other.wake([lease.thread], now())  # its holder hears of it, though it isn't of its graphs
        await until(lambda: heard["x"])
        assert heard["x"] == [lease.thread]
        await asyncio.sleep(0.1)
        assert len(heard["v"] + heard["w"]) == len(names)
    await other.close()


async def test_a_listener_that_is_cut_off_says_so_at_once_and_hears_when_it_is_called_again(
    store: PostgresStore, database: str
) -> None:
    heard: list[str] = []
    for _ in range(3):
        async with listening(store, "w", ["desk"], heard.append) as task:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
                )
            with pytest.raises(StoreError):
                await asyncio.wait_for(asyncio.shield(task), 5)
    async with listening(store, "w", ["desk"], heard.append):
        await store.append(change("a", 0, wake=now(), at=now()))
        await until(lambda: heard == ["a"])


async def test_every_connection_cut_at_once_ends_hearing_with_an_error_of_ours(
    store: PostgresStore, database: str
) -> None:
    for _ in range(5):
        async with listening(store, "w", ["desk"], lambda thread: None) as task:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            with pytest.raises(StoreError):
                await asyncio.wait_for(asyncio.shield(task), 10)


async def test_hearing_that_is_cancelled_lets_go_of_its_connection(
    store: PostgresStore, database: str
) -> None:
    async with listening(store, "w", ["desk"], lambda thread: None):
        pass
    with psycopg.connect(database, autocommit=True) as connection:
        left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        await until(lambda: connection.execute(left).fetchone() == (0,))


async def test_what_is_heard_comes_soon(store: PostgresStore, database: str) -> None:
    """Measured, and bounded only so far that a look every few seconds would be noticed."""
    other, took, came = PostgresStore(database), [], asyncio.Event()
    async with listening(store, "w", ["desk"], lambda thread: came.set()):
        for n in range(60):
            came.clear()
            begun = time.perf_counter()
            await other.append(change(f"t{n}", 0, wake=now(), at=now()))
            async with asyncio.timeout(10):
                await came.wait()
            took.append((time.perf_counter() - begun) * 1000)
    await other.close()
    took.sort()
    print(
        f"\nfrom the append to its being heard: p50 {statistics.median(took):.1f} ms, p99 {took[-1]:.1f} ms"
    )
    assert statistics.median(took) < 2000
