"""Transactions on SQLite: what a tool may do on its connection, and what it can't do to the store."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import EffectRefused, StoreUnavailable
from turnout.stores.sqlite import SqliteStore
from turnout.testing.contract import change


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = SqliteStore(":memory:" if request.param == "memory" else str(tmp_path / "s.db"), patience=0.5)
    async with found.transaction() as tx:
        tx.connection.execute("CREATE TABLE booked (n INTEGER PRIMARY KEY)")
    await found.append(change("a", 0))
    yield found
    await found.close()


async def booked(store: SqliteStore) -> list[int]:
    async with store.transaction() as tx:
        return [n for (n,) in tx.connection.execute("SELECT n FROM booked ORDER BY n")]


async def call(store: SqliteStore, tool: Callable[[sqlite3.Connection], Any]) -> Any:
    """A tool that books 1 and then does something, in a transaction with an append."""
    async with store.transaction() as tx:
        tx.connection.execute("INSERT INTO booked VALUES (1)")
        found = tool(tx.connection)
        await tx.append(change("a", 1))
        return found


async def undone(store: SqliteStore) -> None:
    """Nothing of the call is there, and the store goes on."""
    assert await booked(store) == []
    await asyncio.wait_for(store.append(change("a", 1)), timeout=5)
    await call_again(store)


async def call_again(store: SqliteStore) -> None:
    async with store.transaction() as tx:
        tx.connection.execute("INSERT INTO booked VALUES (2)")
    assert await booked(store) == [2]


# --- what a tool may not do --------------------------------------------------------------------------------------

ENDINGS: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "COMMIT": lambda db: db.commit(),
    "ROLLBACK": lambda db: db.rollback(),
    "BEGIN": lambda db: db.execute("BEGIN"),
    "commit in SQL": lambda db: db.execute("/* */ commit"),
    "end": lambda db: db.execute("END"),
    "the connection as a context": lambda db: db.__exit__(None, None, None),
    "a script": lambda db: db.executescript("INSERT INTO booked VALUES (7); COMMIT;"),
    "a script without an end": lambda db: db.executescript("INSERT INTO booked VALUES (7)"),
}


@pytest.mark.parametrize("way", ENDINGS)
async def test_a_tool_can_not_end_the_transaction(store: SqliteStore, way: str) -> None:
    with pytest.raises(EffectRefused, match="Turnout commits when the function returns"):
        await call(store, ENDINGS[way])
    await undone(store)


async def test_a_refused_end_that_the_tool_hides_changes_nothing(store: SqliteStore) -> None:
    def tool(db: sqlite3.Connection) -> None:
        for end in (db.commit, db.rollback):
            with contextlib.suppress(EffectRefused):
                end()

    await call(store, tool)
    assert await booked(store) == [1]
    assert [r.seq for r in await store.read("a")] == [1, 2]


OURS = (
    "INSERT INTO limits VALUES ('graph', 'g', 1)",
    "UPDATE threads SET head = 0",
    "DELETE FROM entries",
    "DELETE FROM ENTRIES",
    "REPLACE INTO stored_values VALUES ('a', x'00')",
    "DROP TABLE heads",
    "ALTER TABLE runs RENAME TO mine",
    "ALTER TABLE runs ADD COLUMN mine",
    "CREATE INDEX mine ON entries (kind)",
    "DROP INDEX threads_due",
    "CREATE TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END",
    "CREATE TEMP TABLE threads (n INTEGER)",
    "CREATE TEMP VIEW threads AS SELECT 1",
)


@pytest.mark.parametrize("statement", OURS)
async def test_a_tool_can_not_write_or_change_turnouts_own_tables(store: SqliteStore, statement: str) -> None:
    with pytest.raises(
        EffectRefused, match="is Turnout's own: a tool can read it, but not write or change it"
    ):
        await call(store, lambda db: db.execute(statement))
    await undone(store)


async def test_nor_by_a_trigger_of_its_own(store: SqliteStore) -> None:
    def tool(db: sqlite3.Connection) -> None:
        db.execute("CREATE TRIGGER mine AFTER INSERT ON booked BEGIN DELETE FROM entries; END")
        db.execute("INSERT INTO booked VALUES (9)")

    with pytest.raises(EffectRefused, match="the table entries is Turnout's own"):
        await call(store, tool)
    await undone(store)


@pytest.mark.parametrize(
    ("statement", "says"),
    [("ATTACH ':memory:' AS other", "can't ATTACH"), ("PRAGMA writable_schema = ON", "PRAGMA writable_schema"),
     ("PRAGMA query_only = OFF", "PRAGMA query_only"), ("PRAGMA synchronous = OFF", "PRAGMA synchronous")],
)  # fmt: skip
async def test_a_tool_can_not_attach_files_or_change_how_the_store_works(
    store: SqliteStore, statement: str, says: str
) -> None:
    async def attach() -> None:
        async with store.transaction() as tx:
            tx.connection.execute(statement).fetchall()

    with pytest.raises(EffectRefused, match=says):
        await attach()
    await undone(store)


async def test_the_line_that_was_refused_is_in_the_errors_traceback(store: SqliteStore) -> None:
    with pytest.raises(EffectRefused) as caught:
        await call(store, ENDINGS["COMMIT"])
    assert any("db.commit()" in str(entry.statement) for entry in caught.traceback)


async def test_another_error_after_a_refused_statement_is_told_as_it_is(store: SqliteStore) -> None:
    def tool(db: sqlite3.Connection) -> None:
        with contextlib.suppress(EffectRefused):
            db.commit()
        db.execute("INSERT INTO booked VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        await call(store, tool)
    await undone(store)


# --- what a tool may do ------------------------------------------------------------------------------------------


async def test_a_tool_has_a_plain_connection_of_its_own(store: SqliteStore) -> None:
    def tool(db: sqlite3.Connection) -> Any:
        assert isinstance(db, sqlite3.Connection)
        assert (db.row_factory, db.in_transaction) == (None, True)
        db.row_factory = lambda cursor, row: {"row": list(row)}
        db.text_factory = bytes
        db.create_function("max", 2, lambda a, b: 0)
        db.execute("CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT REFERENCES booked)")
        db.execute("CREATE INDEX by_name ON names (name)")
        db.execute("CREATE TEMP TABLE scratch AS SELECT 1 AS one")
        db.execute("SAVEPOINT mine")
        db.execute("INSERT INTO booked VALUES (5)")
        db.execute("ROLLBACK TO mine")
        db.execute("RELEASE mine")
        db.executemany("INSERT INTO booked VALUES (?)", [(3,), (4,)])
        assert db.execute("PRAGMA table_info(booked)").fetchall()
        assert db.execute("SELECT count(*) FROM entries").fetchall() == [{"row": [1]}]
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            db.execute("INSERT INTO names VALUES (1, 'nobody')")
        return db.execute("INSERT INTO booked VALUES (6) RETURNING n").fetchone()

    assert await call(store, tool) == {"row": [6]}
    assert await booked(store) == [1, 3, 4, 6]
    assert [r.seq for r in await store.read("a")] == [1, 2]

    async with store.transaction() as tx:  # the next one finds nothing of what was set
        assert tx.connection.execute("SELECT max(1, 2), 'text'").fetchone() == (2, "text")
        assert tx.connection.execute("SELECT name FROM sqlite_temp_master").fetchall() == []


async def test_a_statement_that_was_left_half_read_holds_up_nothing(store: SqliteStore) -> None:
    kept: list[sqlite3.Cursor] = []

    def tool(db: sqlite3.Connection) -> None:
        db.executemany("INSERT INTO booked VALUES (?)", [(n,) for n in range(2, 500)])
        kept.append(db.execute("SELECT * FROM booked"))
        kept.append(db.execute("INSERT INTO booked VALUES (500), (501) RETURNING n"))
        assert kept[0].fetchone() == (1,)

    await call(store, tool)
    assert await booked(store) == list(range(1, 502))
    with pytest.raises(sqlite3.ProgrammingError):
        kept[0].fetchone()

    def failing(db: sqlite3.Connection) -> None:
        for _ in db.execute("SELECT * FROM booked"):
            raise ZeroDivisionError

    async with store.transaction() as tx:
        tx.connection.execute("DELETE FROM booked")
    with pytest.raises(ZeroDivisionError) as caught:
        await call(store, failing)
    await store.append(change("a", 2))
    assert caught.traceback  # which held the cursor until here


async def test_others_read_the_store_while_a_transaction_is_open(store: SqliteStore) -> None:
    async with store.transaction() as tx:
        tx.connection.row_factory = lambda cursor, row: {}
        tx.connection.text_factory = bytes
        tx.connection.execute("INSERT INTO booked VALUES (1)")
        tx.connection.execute("CREATE TABLE more (n INTEGER)")
        assert [r.seq for r in await store.read("a")] == [1]
        assert [t.thread for t in await store.threads()] == ["a"]
        assert store.changed() is not None
        assert tx.connection.row_factory is not None


# --- what SQLite, or a tool, ends by itself ----------------------------------------------------------------------


async def test_a_constraint_that_is_checked_at_the_end_undoes_all(store: SqliteStore) -> None:
    def tool(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE lines (n INTEGER REFERENCES booked DEFERRABLE INITIALLY DEFERRED)")
        db.execute("INSERT INTO lines VALUES (99)")

    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        await call(store, tool)
    await undone(store)


async def test_a_transaction_that_sqlite_has_undone_keeps_nothing_of_what_comes_after(
    store: SqliteStore,
) -> None:
    def tool(db: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute("INSERT OR ROLLBACK INTO booked VALUES (1)")

    with pytest.raises(EffectRefused, match="let such an error through"):
        await call(store, tool)

    def tool_goes_on(db: sqlite3.Connection) -> None:
        tool(db)
        db.execute("INSERT INTO booked VALUES (3)")

    with pytest.raises(EffectRefused, match="SQLite undid it after an error"):
        await call(store, tool_goes_on)
    await undone(store)


NEVER: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "close": lambda db: db.close(),
    "set_authorizer": lambda db: db.set_authorizer(None),
    "set_progress_handler": lambda db: db.set_progress_handler(None, 1),
    "blobopen": lambda db: db.blobopen("entries", "body", 1),
}


@pytest.mark.parametrize("name", NEVER)
async def test_a_tool_can_not_slip_past_its_guard(store: SqliteStore, name: str) -> None:
    with pytest.raises(EffectRefused, match=rf"can't call {name}\(\) on its connection; leave it to Turnout"):
        await call(store, NEVER[name])
    await undone(store)


@pytest.mark.parametrize("name", ["isolation_level", "autocommit"])
async def test_a_tool_can_not_change_how_its_connection_commits(store: SqliteStore, name: str) -> None:
    """Python commits in the moment when these are set."""
    with pytest.raises(EffectRefused, match=f"can't set {name} of its connection"):
        await call(store, lambda db: setattr(db, name, None))
    await undone(store)


# --- who is left behind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_thread_that_goes_on_with_the_connection_writes_nothing_any_more(
    store: SqliteStore, ends: str
) -> None:
    errors: list[str] = []

    def go_on(db: sqlite3.Connection) -> None:
        for n in range(1000, 3000):
            try:
                if n % 2:
                    db.execute("INSERT INTO booked VALUES (?)", (n,))
                else:
                    db.executemany("INSERT INTO booked VALUES (?)", [(10 * n + i,) for i in range(9)])
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
                if len(errors) > 20:
                    return
            time.sleep(0.0002)

    thread: threading.Thread | None = None
    seen: list[int] = []

    async def work() -> None:
        nonlocal thread
        async with store.transaction() as tx:
            thread = threading.Thread(target=go_on, args=(tx.connection,), daemon=True)
            thread.start()
            await asyncio.sleep(0.02)
            await tx.append(change("a", 1))
            if ends == "rollback":
                raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        await work()
    seen = await booked(store)
    assert bool(seen) == (ends == "commit")
    assert thread is not None
    await asyncio.to_thread(thread.join, 5)
    assert set(errors) == {"ProgrammingError: the call that this connection was for is over"}
    assert await booked(store) == seen
    await store.append(change("b", 0))


async def test_a_long_statement_of_a_thread_that_was_left_behind_is_stopped(store: SqliteStore) -> None:
    errors: list[str] = []

    def count(db: sqlite3.Connection) -> None:
        long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
        try:
            db.execute(long)
        except sqlite3.Error as error:
            errors.append(str(error))

    begun = time.monotonic()
    with contextlib.suppress(ZeroDivisionError):
        async with store.transaction() as tx:
            thread = threading.Thread(target=count, args=(tx.connection,), daemon=True)
            thread.start()
            await asyncio.sleep(0.05)
            raise ZeroDivisionError
    await asyncio.to_thread(thread.join, 5)
    assert errors == ["interrupted"], errors
    assert time.monotonic() - begun < 3
    await store.append(change("b", 0))


# --- beside others -----------------------------------------------------------------------------------------------


async def test_appends_wait_for_a_transaction_for_longer_than_for_another_process(store: SqliteStore) -> None:
    async with store.transaction() as tx:
        waiting = [asyncio.ensure_future(store.append(change(f"t{n}", 0))) for n in range(5)]
        await asyncio.sleep(0.8)  # the store's patience is 0.5 s
        assert not any(task.done() for task in waiting)
        await tx.append(change("a", 1))
    assert await asyncio.gather(*waiting) == [None] * 5


async def test_transactions_and_batches_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of either kind doesn't keep the other from getting through."""
    monkeypatch.setattr("turnout.stores.sqlite_writer.QUICK", -1.0)  # a disk that really syncs
    monkeypatch.setattr("turnout.stores.sqlite_writer.BEARABLE", -1.0)
    store, order = SqliteStore(str(tmp_path / "s.db")), []

    async def append(name: str) -> None:
        await store.append(change(name, 0))
        order.append(name)

    async def transact(name: str) -> None:
        async with store.transaction():
            order.append(name)

    async with store.transaction():
        tasks = [asyncio.ensure_future(each) for each in (transact("first"), append("a"), transact("second"))]
        await asyncio.sleep(0.01)
    store._writer.lane.put(lambda: time.sleep(0.05))  # the batch is being committed ...
    for _ in range(5):
        await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(append("b")))  # ... while the next one gathers
    await asyncio.wait_for(asyncio.gather(*tasks), timeout=5)
    assert order == ["a", "first", "b", "second"]
    await store.close()


async def test_another_process_waits_as_for_any_lock(tmp_path: Path) -> None:
    first = SqliteStore(str(tmp_path / "s.db"), patience=0.3)
    second = SqliteStore(first.path, patience=0.3)
    async with first.transaction() as tx:
        late = asyncio.ensure_future(second.append(change("b", 0)))
        await asyncio.sleep(0.1)
        await tx.append(change("a", 0))
    await late
    async with first.transaction():
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await second.append(change("c", 0))
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            async with second.transaction():
                raise AssertionError("never begun")
        cancelled = asyncio.ensure_future(booked(second))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    await second.append(change("c", 0))
    async with second.transaction() as tx:
        await tx.append(change("d", 0))
    await first.close()
    await second.close()


async def test_a_file_that_is_replaced_meanwhile_gets_nothing(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    path, aside = Path(store.path), tmp_path / "aside"
    await store.append(change("a", 0))

    async def work() -> None:
        async with store.transaction() as tx:
            tx.connection.execute("CREATE TABLE mine (n INTEGER)")
            await tx.append(change("a", 1))
            path.rename(aside)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await work()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await work()
    assert not path.exists()
    aside.rename(path)
    await store.append(change("a", 1))
    await store.close()


@pytest.mark.parametrize("turns", range(12))
async def test_who_is_cancelled_while_the_commit_is_on_its_way_leaves_all_or_nothing(
    tmp_path: Path, turns: int
) -> None:
    """On a slow disk."""
    store = SqliteStore(str(tmp_path / "s.db"))
    store._writer.typical = 1.0

    async def work() -> None:
        async with store.transaction() as tx:
            tx.connection.execute("CREATE TABLE mine (n INTEGER)")
            await tx.append(change("a", 0))

    task = asyncio.ensure_future(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    [ended] = await asyncio.gather(task, return_exceptions=True)
    assert ended is None or isinstance(ended, asyncio.CancelledError)
    await asyncio.wait_for(store.append(change("b", 0)), timeout=5)
    async with store.transaction() as tx:
        tables = tx.connection.execute("SELECT name FROM sqlite_master WHERE name = 'mine'").fetchall()
    assert len(tables) == len(await store.threads(search="a"))
    await store.close()


async def test_a_path_may_have_any_name(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "a?b#c %20 d.db"))
    async with store.transaction() as tx:
        tx.connection.execute("CREATE TABLE mine (n INTEGER)")
        await tx.append(change("a", 0))
    assert [r.seq for r in await store.read("a")] == [1]
    await store.close()


async def test_two_stores_in_memory_have_nothing_in_common() -> None:
    first, second = SqliteStore(":memory:"), SqliteStore(":memory:")
    async with first.transaction() as tx:
        await tx.append(change("a", 0))
    assert [t.thread for t in await first.threads()] == ["a"]
    assert await second.threads() == []
    await first.close()
    await second.close()
