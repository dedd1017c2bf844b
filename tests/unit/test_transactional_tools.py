"""Transactional tools: what they write and what is put on record of it come together, or not at all."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    END,
    App,
    Cancelled,
    Context,
    Failed,
    Finished,
    Graph,
    Paused,
    Retry,
    Settings,
    Tool,
    approve,
    did_not_happen,
    landed,
    open_sync,
    parallel,
    tool,
)
from turnout.core import entries as e
from turnout.errors import StoreUnavailable, ToolFailed
from turnout.ports.rows import Append
from turnout.runtime.clock import SystemClock
from turnout.runtime.journal import Journal
from turnout.runtime.outside import append_outside
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app

SOON = Settings(lease=0.3, sweep=0.02)
"""A thread that was left because the store failed is taken up again soon."""


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = SqliteStore(":memory:" if request.param == "memory" else str(tmp_path / "s.db"))
    async with found.transaction() as tx:
        tx.connection.execute("CREATE TABLE booked (n INTEGER)")
    yield found
    await found.close()


async def booked(store: Any) -> list[int]:
    async with store.transaction() as tx:
        return [n for (n,) in tx.connection.execute("SELECT n FROM booked ORDER BY n")]


def insert(transaction: sqlite3.Connection, n: int) -> None:
    transaction.execute("INSERT INTO booked VALUES (?)", (n,))


@tool(effect="write", transactional=True)
async def book(n: int, transaction: sqlite3.Connection) -> int:
    insert(transaction, n)
    return n


@tool(effect="write", transactional=True)
def sync_book(n: int, transaction: sqlite3.Connection) -> int:
    insert(transaction, n)
    return n


def booking(*tools: Tool[Any, Any], **options: Any) -> Graph:
    """A graph of one step that books 1 with each tool."""

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": sum([await ctx.call(each, n=1) for each in tools])}

    return chain(node, tools=tools, **options)


async def settled(app: App, thread: str = "t") -> list[tuple[str, str, str]]:
    """What became of the writes: outcome, how it is known, and the error's type."""
    found = [x.body for x in await app.entries(thread) if isinstance(x.body, e.EffectSettled)]
    return [(body.outcome, body.how, body.error.type if body.error else "") for body in found]


# --- it lands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [book, sync_book], ids=["async", "sync"])
async def test_the_write_and_its_entries_are_one_commit(store: SqliteStore, each: Tool[Any, Any]) -> None:
    appended: list[list[str]] = []
    inner = store.append

    async def append(change: Append) -> None:
        appended.append([row.kind for row in change.rows])
        await inner(change)

    store.append = append  # type: ignore[method-assign]
    async with open_test_app(store, graphs=[booking(each)]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.n == 1  # type: ignore[attr-defined]
        assert await booked(store) == [1]
        assert (await kinds(app))[2:6] == ["decision", "effect.intended", "effect.settled", "step.finished"]
        assert await settled(app) == [("landed", "transaction", "")]
        assert "effect.intended" not in {kind for kinds in appended for kind in kinds}
        await proven(app)


async def test_the_tool_is_given_its_arguments_typed_its_key_and_a_connection(store: SqliteStore) -> None:
    seen: list[Any] = []

    @tool(effect="write", transactional=True)
    def note(when: Path, transaction: sqlite3.Connection, idempotency_key: str, more: int = 7) -> None:
        seen.append((when, more, len(idempotency_key), isinstance(transaction, sqlite3.Connection)))

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(note, when="a/b")
        return {}

    async with open_test_app(store, graphs=[chain(node, tools=[note])]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        [intended] = [x.body for x in await app.entries("t") if isinstance(x.body, e.EffectIntended)]
        assert seen == [(Path("a/b"), 7, 32, True)]
        assert intended.args == {"when": "a/b", "more": 7}
        assert len(intended.idempotency_key) == 32


async def test_a_resumed_step_gets_the_result_from_the_journal(store: SqliteStore) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        n = await ctx.call(book, n=1)
        await ctx.review("go on?")
        return {"n": n}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert await booked(store) == [1]
        await proven(app)


async def test_a_table_may_be_made_by_the_tool(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def first(n: int, transaction: sqlite3.Connection) -> int:
        transaction.execute("CREATE TABLE IF NOT EXISTS own (n INTEGER)")
        transaction.execute("INSERT INTO own VALUES (?)", (n,))
        return n

    async with open_test_app(store, graphs=[booking(first, first)]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        async with store.transaction() as tx:
            assert tx.connection.execute("SELECT * FROM own").fetchall() == [(1,), (1,)]


def test_sync_nodes_and_sync_callers_have_them_too(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mine.db") as db:  # any connection that makes the table beforehand
        db.execute("PRAGMA user_version")
    db.close()

    def node(state: Work, ctx: Any) -> dict[str, Any]:
        return {"n": ctx.call(sync_book, n=1)}

    url = f"sqlite:///{tmp_path / 's.db'}"
    with open_sync(url, graphs=[]):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as db, db:
        db.execute("CREATE TABLE booked (n INTEGER)")
    with open_sync(url, graphs=[chain(node, tools=[sync_book])]) as app:
        assert isinstance(app.run("g", {}, thread="t"), Finished)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as db:
        assert db.execute("SELECT n FROM booked").fetchall() == [(1,)]


async def test_entries_are_told_to_the_world_only_after_the_commit(store: SqliteStore) -> None:
    told: list[tuple[str, bool]] = []
    open_now: list[bool] = []

    @contextlib.asynccontextmanager
    async def around(tx: Any) -> AsyncIterator[Any]:
        open_now.append(True)
        async with tx as inner:
            yield inner
        open_now.pop()

    between(store, around)
    async with open_test_app(store, graphs=[booking(book)]) as app:
        app._hub.watch(lambda thread, event: told.append((event.kind, bool(open_now))))
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
    assert ("effect.settled", False) in told
    assert not any(early for _, early in told)


# --- it is undone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_error_undoes_all_and_proves_that_it_did_not_happen(store: SqliteStore, kind: str) -> None:
    tries: list[str] = []

    def work(n: int, transaction: sqlite3.Connection, idempotency_key: str) -> int:
        tries.append(idempotency_key)
        insert(transaction, n)
        if len(tries) < 3:
            raise ConnectionError("which would prove nothing of another write")
        return n

    async def work_async(n: int, transaction: sqlite3.Connection, idempotency_key: str) -> int:
        return work(n, transaction, idempotency_key)

    pay = tool(effect="write", transactional=True, name="pay")(work if kind == "sync" else work_async)
    async with open_test_app(store, graphs=[booking(pay, retry=Retry(attempts=3, wait=0.001))]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert await booked(store) == [1]
        undone = ("did_not_happen", "transaction", "ConnectionError")
        assert await settled(app) == [undone, undone, ("landed", "transaction", "")]
        assert len(set(tries)) == 1
        assert await app.reviews() == []
        await proven(app)


async def test_a_node_may_catch_the_error_and_go_on(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def refuse(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        raise LookupError("no such account")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(refuse, n=1)
        except ToolFailed as error:
            return {"log": [error.cause, str(error)], "n": await ctx.call(book, n=2)}
        return {}

    async with open_test_app(store, graphs=[chain(node, tools=[refuse, book])]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["LookupError", "tool refuse: LookupError: no such account"]  # type: ignore[attr-defined]
        assert await booked(store) == [2]
        await proven(app)


async def test_a_result_of_another_type_undoes_all(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def wrong(n: int, transaction: sqlite3.Connection) -> int:
        insert(transaction, n)
        return "text"  # type: ignore[return-value]

    async with open_test_app(store, graphs=[booking(wrong)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "isn't its declared type" in failed.error.message
        assert await booked(store) == []
        assert await settled(app) == [("did_not_happen", "transaction", "InputInvalid")]
        await proven(app)


async def test_a_tool_that_wants_to_commit_fails_with_a_word_on_it(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def commits(n: int, transaction: sqlite3.Connection) -> None:
        with transaction:
            insert(transaction, n)

    async with open_test_app(store, graphs=[booking(commits)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "Turnout commits when the function returns" in failed.error.message
        assert await booked(store) == []
        [(_, _, kind)] = await settled(app)
        assert kind == "EffectRefused"


async def test_a_constraint_that_is_checked_at_the_commit_undoes_all_and_is_the_tools_error(
    store: SqliteStore,
) -> None:
    @tool(effect="write", transactional=True)
    async def dangles(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        transaction.execute(
            "CREATE TABLE lines (n INTEGER REFERENCES heads (thread) DEFERRABLE INITIALLY DEFERRED)"
        )
        transaction.execute("CREATE TABLE parts (n INTEGER REFERENCES wholes DEFERRABLE INITIALLY DEFERRED)")
        transaction.execute("CREATE TABLE wholes (n INTEGER PRIMARY KEY)")
        transaction.execute("INSERT INTO parts VALUES (9)")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        at = await ctx.now()  # staged, and not durable yet
        try:
            await ctx.call(dangles, n=1)
        except ToolFailed as error:
            return {
                "log": [error.cause],
                "n": await ctx.call(book, n=2),
                "data": str(at) == str(await ctx.now()),
            }
        return {}

    async with open_test_app(store, graphs=[chain(node, tools=[dangles, book])]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["IntegrityError"]  # type: ignore[attr-defined]
        assert await booked(store) == [2]
        assert await settled(app) == [
            ("did_not_happen", "transaction", "IntegrityError"), ("landed", "transaction", ""),
        ]  # fmt: skip
        recorded = [x.body.effect for x in await app.entries("t") if isinstance(x.body, e.EffectRecorded)]
        assert recorded == ["now", "now"]
        await proven(app)


# --- it takes too long -------------------------------------------------------------------------------------------


async def test_a_thread_over_its_time_limit_is_left_behind_and_nothing_of_it_lands(
    store: SqliteStore,
) -> None:
    late: list[str] = []

    @tool(effect="write", transactional=True, time_limit=0.1)
    def slow(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        time.sleep(0.4)
        try:
            insert(transaction, n + 1)
        except sqlite3.Error as error:
            late.append(str(error))

    async with open_test_app(store, graphs=[booking(slow), booking(book, name="other")]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "longer than its 0.1 s" in failed.error.message
        assert await settled(app) == [("did_not_happen", "transaction", "CallTimeout")]
        assert late == []  # it still sleeps
        assert isinstance(await app.run("other", {}, thread="u"), Finished)
        await until(lambda: late)
        assert late == ["the call that this connection was for is over"]
        assert await booked(store) == [1]


async def test_the_settings_limit_a_tool_that_has_no_limit_of_its_own(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def slow(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        await asyncio.sleep(60)

    async with open_test_app(store, graphs=[booking(slow)], settings=Settings(transaction=0.1)) as app:
        failed = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10)
        assert isinstance(failed, Failed)
        assert "longer than its 0.1 s" in failed.error.message
        assert await booked(store) == []


async def test_a_coroutine_that_does_not_stop_is_left_behind_too(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.runtime.calls.GRACE", 0.1)
    ended = asyncio.Event()

    @tool(effect="write", transactional=True, time_limit=0.1)
    async def stubborn(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        for _ in range(10):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        with contextlib.suppress(sqlite3.Error):
            insert(transaction, n)
        ended.set()

    async with open_test_app(store, graphs=[booking(stubborn)]) as app:
        failed = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10)
        assert isinstance(failed, Failed)
        assert "longer than its 0.1 s, and didn't stop then" in failed.error.message
        assert not ended.is_set()
        await asyncio.wait_for(ended.wait(), timeout=5)
        assert await booked(store) == []


async def test_a_tool_that_waits_for_the_store_itself_runs_into_its_limit(store: SqliteStore) -> None:
    """On SQLite every other write of the process waits for the transaction."""
    box: list[App] = []

    @tool(effect="write", transactional=True, time_limit=0.2)
    async def entangled(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        await box[0].start("g", {}, thread="another")

    async with open_test_app(store, graphs=[booking(entangled)]) as app:
        box.append(app)
        failed = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10)
        assert isinstance(failed, Failed)
        assert await booked(store) == []


# --- somebody comes in between -----------------------------------------------------------------------------------


def between(store: SqliteStore, around: Callable[[Any], Any], times: int = 1_000) -> None:
    """Have the next transactions of the store made by `around(transaction)`."""
    inner, left = store.transaction, [times]

    def transaction() -> Any:
        left[0] -= 1
        return around(inner()) if left[0] >= 0 else inner()

    store.transaction = transaction  # type: ignore[method-assign]


def before(do: Callable[[], Any]) -> Callable[[Any], Any]:
    """Do something right before a transaction begins, as another process may."""

    @contextlib.asynccontextmanager
    async def around(tx: Any) -> AsyncIterator[Any]:
        await do()
        async with tx as inner:
            yield inner

    return around


async def test_an_append_from_outside_is_put_before_it_and_it_is_made_once(store: SqliteStore) -> None:
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        calls.append(n)
        insert(transaction, n)
        return n

    async def ring() -> None:
        await append_outside(
            store,
            SystemClock(),
            "t",
            lambda view: [e.Draft(0, "", e.SignalReceived(name="bell", payload=1, by=""))],
        )

    async with open_test_app(store, graphs=[booking(pay)]) as app:
        between(store, before(ring), 1)
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        assert (calls, await booked(store)) == ([1], [1])
        assert (await kinds(app))[2:7] == [
            "decision", "signal.received", "effect.intended", "effect.settled", "step.finished",
        ]  # fmt: skip
        await proven(app)


async def test_a_run_that_was_cancelled_before_is_not_sent(store: SqliteStore) -> None:
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> None:
        calls.append(n)
        insert(transaction, n)

    async def cancel() -> None:
        await append_outside(
            store, SystemClock(), "t", lambda view: [e.Draft(1, "", e.CancelRequested(by="ops"))]
        )

    async with open_test_app(store, graphs=[booking(pay)]) as app:
        between(store, before(cancel), 1)
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Cancelled)
        assert await booked(store) == []
        assert [known.outcome for known in ended.writes] == ["did_not_happen"]
        assert await settled(app) == [("did_not_happen", "transaction", "Cancelled")]
        await proven(app)


async def test_a_cancel_cuts_the_function_off_and_undoes_what_it_did(store: SqliteStore) -> None:
    begun = asyncio.Event()

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        begun.set()
        await asyncio.sleep(60)

    async with open_test_app(store, graphs=[booking(pay)]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(begun.wait(), timeout=5)
        app.worker._drivers["t"][0]._tell_ending()  # type: ignore[union-attr]  # SQLite holds up who would tell it
        cancelling = asyncio.ensure_future(app.cancel("t", by="ops"))
        ended = await app.wait(run, timeout=5)
        await cancelling
        assert isinstance(ended, Cancelled)
        assert await booked(store) == []
        assert await settled(app) == [("did_not_happen", "transaction", "Cancelled")]
        await proven(app)


async def test_a_node_that_cleans_up_after_a_cancel_may_still_write(store: SqliteStore) -> None:
    waiting = asyncio.Event()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(book, n=1)
            waiting.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await ctx.call(book, n=-1)
            raise
        return {}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(waiting.wait(), timeout=5)
        await app.cancel("t", by="ops")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Cancelled)
        assert [known.outcome for known in ended.writes] == ["landed", "landed"]
        assert await booked(store) == [-1, 1]
        await proven(app)


async def test_a_step_over_its_time_limit_undoes_the_write_and_may_try_again(store: SqliteStore) -> None:
    tries: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        insert(transaction, n)
        tries.append(n)
        if len(tries) == 1:
            await asyncio.sleep(60)
        return n

    graph = booking(pay, time_limit=0.2, retry=Retry(attempts=2, wait=0.001))
    async with open_test_app(store, graphs=[graph]) as app:
        assert isinstance(await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10), Finished)
        assert (tries, await booked(store)) == ([1, 1], [1])
        assert await settled(app) == [
            ("did_not_happen", "transaction", "Cancelled"), ("landed", "transaction", ""),
        ]  # fmt: skip
        await proven(app)


async def test_an_execution_that_was_left_behind_writes_nothing_beside_the_next_one(
    store: SqliteStore,
) -> None:
    """The step's time is up while its write waits to read the journal anew: the next attempt makes it."""
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        calls.append(n)
        insert(transaction, n)
        return n

    thread, slow = store.thread, asyncio.Event()

    async def ring() -> None:
        await append_outside(
            store,
            SystemClock(),
            "t",
            lambda view: [e.Draft(0, "", e.SignalReceived(name="bell", payload=1, by=""))],
        )
        store.thread = slowly  # type: ignore[method-assign]

    async def slowly(name: str) -> Any:
        store.thread = thread  # type: ignore[method-assign]
        await asyncio.sleep(0.8)
        slow.set()
        return await thread(name)

    graph = booking(pay, time_limit=0.1, retry=Retry(attempts=3, wait=0.001))
    async with open_test_app(store, graphs=[graph], settings=Settings(grace=0.05)) as app:
        between(store, before(ring), 1)
        done = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10)
        assert slow.is_set()
        assert isinstance(done, Finished | Failed)
        assert await booked(store) == ([1] if isinstance(done, Finished) else [])
        await proven(app)


async def test_a_writer_whose_lease_is_anothers_writes_nothing(store: SqliteStore) -> None:
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        calls.append(n)
        insert(transaction, n)
        return n

    taken: list[Any] = []

    async def take() -> None:
        row = await store.thread("t")
        assert row is not None
        taken.extend(await store.claim("other", row.lease_until + 1, row.lease_until + 2, 1, thread="t"))

    async with open_test_app(store, graphs=[booking(pay)]) as app:
        between(store, before(take), 1)
        run = await app.start("g", {}, thread="t")
        await until(lambda: calls and not app.worker.busy)  # type: ignore[union-attr]
        assert await booked(store) == []
        assert "effect.intended" not in await kinds(app)
        [lease] = taken
        assert await store.release(lease, (await store.thread("t")).head, 0)  # type: ignore[union-attr]
        assert isinstance(await app.wait(run, timeout=5), Finished)
        assert (calls, await booked(store)) == ([1, 1], [1])
        await proven(app)


# --- the store fails ---------------------------------------------------------------------------------------------


def fails(place: str) -> Callable[[Any], Any]:
    """A transaction that fails: when it begins, before its commit, or after it (then it *is* committed)."""

    @contextlib.asynccontextmanager
    async def around(tx: Any) -> AsyncIterator[Any]:
        if place == "begin":
            raise StoreUnavailable("the store is locked")
        async with tx as inner:
            yield inner
            if place == "before":
                raise StoreUnavailable("the line is dead")
        if place == "after":
            raise StoreUnavailable("the line is dead")

    return around


@pytest.mark.parametrize("place", ["begin", "before", "after"])
async def test_when_the_end_of_the_commit_is_not_known_the_journal_tells(
    store: SqliteStore, place: str
) -> None:
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        calls.append(n)
        insert(transaction, n)
        return n

    async with open_test_app(store, graphs=[booking(pay)], settings=SOON) as app:
        between(store, fails(place), 1)
        assert isinstance(await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10), Finished)
        assert len(calls) == {"begin": 1, "before": 2, "after": 1}[place]
        assert await booked(store) == [1]
        assert await settled(app) == [("landed", "transaction", "")]
        await proven(app)


@pytest.mark.parametrize("place", ["before", "after"])
async def test_after_an_end_that_is_not_known_the_journal_takes_nothing_more(
    store: SqliteStore, place: str
) -> None:
    journal = await Journal.load(store, SystemClock(), "t")
    bell = e.SignalReceived(name="bell", payload=1, by="")
    journal.stage([e.Draft(0, "", bell)])
    between(store, fails(place), 1)

    async def do(connection: Any) -> None:
        insert(connection, 1)

    with pytest.raises(StoreUnavailable, match="the line is dead"):
        await journal.transact(do, lambda: [e.Draft(0, "", bell)])
    journal.stage([e.Draft(0, "", bell)])
    with pytest.raises(StoreUnavailable, match="the line is dead"):
        await journal.commit()
    with pytest.raises(StoreUnavailable, match="the line is dead"):
        await journal.transact(do, lambda: [e.Draft(0, "", bell)])
    there = 0 if place == "before" else 2
    assert len(await store.read("t")) == there
    assert len(await booked(store)) == there // 2


async def test_an_error_of_a_store_that_the_function_uses_is_the_functions(store: SqliteStore) -> None:
    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> None:
        insert(transaction, n)
        raise StoreUnavailable("another store")

    async with open_test_app(store, graphs=[booking(pay)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "StoreUnavailable: another store" in failed.error.message
        assert await booked(store) == []


# --- beside other steps ------------------------------------------------------------------------------------------


async def test_a_step_beside_it_commits_while_its_function_runs(store: SqliteStore) -> None:
    """Not a deadlock: on SQLite that commit waits for the transaction, which must not wait for it."""
    begun = asyncio.Event()

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        insert(transaction, n)
        begun.set()
        await asyncio.sleep(0.05)
        return n

    @tool(effect="write")
    async def send(n: int) -> int:
        return n

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        async def later(n: int) -> int:
            await begun.wait()
            return int(await ctx.call(send, n=n))

        found = await asyncio.gather(
            ctx.call(pay, n=1), later(2), later(3), ctx.call(pay, n=4), ctx.call(book, n=5), later(6)
        )
        return {"n": sum(found)}

    async with open_test_app(store, graphs=[chain(node, tools=[pay, send, book])]) as app:
        done = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=10)
        assert isinstance(done, Finished)
        assert done.state.n == 21  # type: ignore[attr-defined]
        assert await booked(store) == [1, 4, 5]
        await proven(app)


async def test_parallel_branches_and_many_threads_each_book_once(store: SqliteStore) -> None:
    graph = Graph("g", state=Work, tools=[book, sync_book])

    @graph.node
    async def split(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [str(await ctx.now())]}

    @graph.node
    async def left(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(book, n=1)}

    @graph.node
    async def right(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(sync_book, n=2)}

    @graph.node
    async def join(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(book, n=10 * state.n)}

    graph.start(split)
    graph.edge(split, parallel(left, right, join=join))
    graph.edge(left, join)
    graph.edge(right, join)
    graph.edge(join, END)
    async with open_test_app(store, graphs=[graph]) as app:
        done = await asyncio.wait_for(
            asyncio.gather(*(app.run("g", {}, thread=f"t{n}") for n in range(12))), timeout=30
        )
        assert all(isinstance(outcome, Finished) and outcome.state.n == 33 for outcome in done)  # type: ignore[attr-defined]
        assert await booked(store) == [1] * 12 + [2] * 12 + [30] * 12
        for n in range(12):
            await proven(app, f"t{n}")


async def test_a_journal_whose_rereading_fails_is_broken_and_the_next_load_goes_on(
    store: SqliteStore,
) -> None:
    """What is staged would be lost otherwise, and its step never be run again."""
    failing: list[bool] = []
    append, thread = store.append, store.thread

    async def append_late(change: Append) -> None:
        if any(row.kind == "effect.intended" for row in change.rows) and not failing:
            failing.append(True)
            bell = e.SignalReceived(name="bell", payload=1, by="")
            store.append = append  # type: ignore[method-assign]
            await append_outside(store, SystemClock(), "t", lambda view: [e.Draft(0, "", bell)])
            store.thread = unavailable  # type: ignore[method-assign]
        await append(change)

    async def unavailable(name: str) -> Any:
        store.thread = thread  # type: ignore[method-assign]
        raise StoreUnavailable("for once")

    @tool(effect="write")
    async def send(n: int) -> int:
        return n

    store.append = append_late  # type: ignore[method-assign]
    async with open_test_app(store, graphs=[booking(send)], settings=SOON) as app:
        run = await app.start("g", {}, thread="t")
        async with asyncio.timeout(30):
            while not failing or store.thread == unavailable:  # whoever waits reads the thread's row, too
                await asyncio.sleep(0.005)
        assert isinstance(await app.wait(run, timeout=30), Finished)
        await proven(app)


# --- afterwards --------------------------------------------------------------------------------------------------


async def test_explain_shows_how_it_is_known(store: SqliteStore) -> None:
    async with open_test_app(store, graphs=[booking(book)]) as app:
        await app.run("g", {}, thread="t")
        [call] = (await app.explain("t")).calls
        assert (call.write, call.outcome, [s.how for s in call.settled]) == (True, "landed", ["transaction"])
        from turnout.cli.lines import call_row

        assert "says the store's transaction" in call_row(call, 200)[2].plain


async def test_replay_and_what_if_do_not_perform_it(store: SqliteStore) -> None:
    calls: list[int] = []

    @tool(effect="write", transactional=True)
    async def pay(n: int, transaction: sqlite3.Connection) -> int:
        calls.append(n)
        insert(transaction, n)
        if n == 1 and len(calls) == 1:
            raise ValueError("the first time")
        return n

    graph = booking(pay, retry=Retry(attempts=2, wait=0.001))

    async def another(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(pay, n=1) + await ctx.call(pay, n=99)}

    async with open_test_app(store, graphs=[graph]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        await proven(app)
        same = await app.whatif("t", graph)
        assert same.same, same
        other = await app.whatif("t", chain(another, tools=[pay], retry=Retry(attempts=2, wait=0.001)))
        assert other.gap is not None
        assert "99" in other.gap.actual
        assert calls == [1, 1]
        assert await booked(store) == [1]


async def test_a_fork_has_what_was_written_and_does_not_write_it_again(store: SqliteStore) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        n = await ctx.call(book, n=1)
        await ctx.signal("bell")
        return {"n": n}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        assert isinstance(await app.wait(await app.start("g", {}, thread="t"), timeout=5), Paused)
        branch = await app.fork("t", name="u")
        await app.signal("u", "bell")
        assert isinstance(await app.wait(branch, timeout=5), Finished)
        assert await booked(store) == [1]
        await proven(app, "u")


@pytest.mark.parametrize("word", ["landed", "did not happen"])
async def test_what_another_version_left_unknown_is_decided_by_a_person(tmp_path: Path, word: str) -> None:
    """Before it was declared transactional it was sent like any write, and nobody knows what became of it."""

    @tool(effect="write", name="pay")
    async def old(n: int, idempotency_key: str) -> int:
        raise SystemError("gone")

    @tool(effect="write", name="pay", transactional=True)
    async def new(n: int, transaction: sqlite3.Connection, idempotency_key: str) -> int:
        transaction.execute("CREATE TABLE booked (n INTEGER)")
        insert(transaction, n)
        return n

    def graph(pay: Tool[Any, Any]) -> Graph:
        async def node(state: Work, ctx: Context) -> dict[str, Any]:
            return {"n": await ctx.call(pay, n=1)}

        return chain(node, tools=[pay])

    url = f"sqlite:///{tmp_path / 's.db'}"
    async with open_test_app(url, graphs=[graph(old)]) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(1000):
            if ("unknown", "resend", "SystemError") in await settled(app):
                break
            await asyncio.sleep(0.002)
    async with open_test_app(url, graphs=[graph(new)]) as app:
        paused = await app.wait(run, timeout=10)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        await app.resolve(review, landed(7, by="dana") if word == "landed" else did_not_happen(by="dana"))
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.n == (7 if word == "landed" else 1)  # type: ignore[attr-defined]
        if word != "landed":
            assert await booked(app.store) == [1]
        await proven(app)
