"""What a claim costs in SQLite: the same, however many threads wait, are due, or are at a limit."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from turnout.stores import sqlite_claims as claims
from turnout.stores.sqlite import SqliteStore
from turnout.stores.sqlite_writes import SQL

NOW = 1_767_225_600_000_000
FEW, MANY = 200, 10_000
INSERT = (
    "INSERT INTO threads (thread, graph, fingerprint, status, run, head, digest, epoch, wake_at, created_at, updated_at,"
    " tenant, priority) VALUES (?, ?, '', 'running', 1, 1, x'00', 0, ?, 0, 0, ?, ?)"
)


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(":memory:")
    yield opened
    await opened.close()


def add(db: sqlite3.Connection, name: str, count: int, wake: int | None, **more: Any) -> None:
    """`count` threads, all of one graph, tenant and priority."""
    rest = (more.get("graph", "g"), wake, more.get("tenant", ""), more.get("priority", 0))
    db.executemany(INSERT, [(f"{name}-{n}", *rest) for n in range(count)])


def work(db: sqlite3.Connection, job: Callable[[], Any]) -> int:
    """How many instructions of SQLite's machine `job` takes, in tens."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(count, 10)
    try:
        job()
    finally:
        db.set_progress_handler(None, 0)
    return steps


def asked(limit: int = 4, **more: Any) -> claims.Asked:
    given = {"graphs": ("g", "h"), "thread": "", "tries": 5, "suspects": True, **more}
    return claims.Asked("w", NOW, limit, **given)


CROWDS: dict[str, Callable[[sqlite3.Connection, int], None]] = {
    "due": lambda db, n: add(db, "crowd", n, NOW - 5),
    "paused": lambda db, n: add(db, "crowd", n, None),
    "asleep at a higher priority": lambda db, n: add(db, "crowd", n, NOW + 5, priority=9),
    "of another graph": lambda db, n: add(db, "crowd", n, NOW - 5, graph="z"),
    "set aside": lambda db, n: (
        add(db, "crowd", n, NOW - 5),
        db.execute("UPDATE threads SET aside = 'it rings' WHERE thread LIKE 'crowd%'"),
    ),
    "of a graph at its limit": lambda db, n: (
        add(db, "crowd", n, NOW - 5, priority=3),
        db.execute("INSERT OR REPLACE INTO limits VALUES ('graph', 'g', 0)"),
    ),
    "of a tenant at its limit": lambda db, n: (
        add(db, "crowd", n, NOW - 5, tenant="acme", priority=3),
        db.execute("INSERT OR REPLACE INTO limits VALUES ('tenant', 'acme', 0)"),
    ),
    "of a tenant with little room": lambda db, n: (
        add(db, "crowd", n, NOW - 5, tenant="acme", priority=3),
        db.execute("INSERT OR REPLACE INTO limits VALUES ('tenant', 'acme', 2)"),
    ),
}


@pytest.mark.parametrize("crowd", CROWDS)
async def test_a_claim_costs_the_same_however_many_threads_are(store: SqliteStore, crowd: str) -> None:
    db = store._writer.db
    add(db, "here", 20, NOW - 1, graph="h")
    CROWDS[crowd](db, FEW)
    few = work(db, lambda: claims.plan(db, asked()))
    assert len(claims.plan(db, asked()).take) == 4
    db.execute("DELETE FROM threads WHERE thread LIKE 'crowd%'")
    CROWDS[crowd](db, MANY)
    many = work(db, lambda: claims.plan(db, asked()))
    assert len(claims.plan(db, asked()).take) == 4
    assert many <= few * 1.2 + 5, (few, many)


async def test_a_lease_that_is_renewed_while_somebody_claims_it_stays(store: SqliteStore) -> None:
    db = store._writer.db
    add(db, "t", 1, NOW - 30)
    [lease] = await store.claim("slow", NOW - 20, NOW - 10, 1)
    seen = claims.plan(db, asked())
    assert len(seen.take) == 1
    assert await store.renew("slow", [lease], NOW + 10) == []
    assert claims.claim(db, asked(), NOW + 20, seen) == []
    row = await store.thread("t-0")
    assert row is not None
    assert (row.owner, row.epoch) == ("slow", lease.epoch)


@pytest.mark.parametrize("crowd", ["due", "paused", "asleep at a higher priority", "of another graph"])
async def test_counting_what_is_due_costs_the_same_however_many_threads_are(
    store: SqliteStore, crowd: str
) -> None:
    db = store._writer.db
    CROWDS[crowd](db, FEW)
    few = work(db, lambda: claims.due(db, NOW, ["g", "h"], 1, True))
    db.execute("DELETE FROM threads")
    CROWDS[crowd](db, MANY)
    assert work(db, lambda: claims.due(db, NOW, ["g", "h"], 1, True)) <= few * 1.2 + 5


async def test_a_worker_s_own_threads_are_found_without_reading_the_others(store: SqliteStore) -> None:
    db = store._writer.db
    add(db, "crowd", MANY, None)
    add(db, "here", 20, NOW - 1, graph="h")
    assert len(await store.claim("w", NOW, NOW + 10, 9, ["h"])) == 9
    values = {
        "owner": "w", "aside": False, "after": "", "graph": "", "status": "", "tenant": "", "search": "", "since": 0, "limit": 99,
    }  # fmt: skip
    assert len(db.execute(SQL["threads_of_owner"], values).fetchall()) == 9
    assert work(db, lambda: db.execute(SQL["threads_of_owner"], values).fetchall()) < 100


@pytest.mark.parametrize(
    "name", ["due", "due_by_tenant", "due_graphs", "run_out", "held", "count_due", "count_held"]
)
async def test_no_statement_of_a_claim_reads_the_table_from_end_to_end(store: SqliteStore, name: str) -> None:
    values = {
        "now": 1, "graphs": '["g"]', "limit": 1, "full": "[]", "held": True, "thread": "t",
    }  # fmt: skip
    plan = [row[3] for row in store._writer.db.execute("EXPLAIN QUERY PLAN " + claims.SQL[name], values)]
    looks = [line for line in plan if " threads" in line or " d " in line or " t " in line]
    assert looks
    for line in looks:
        assert "SEARCH" in line or "USING COVERING INDEX threads_due" in line or "threads_by_owner" in line, (
            plan
        )
