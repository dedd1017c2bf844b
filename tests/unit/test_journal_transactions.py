"""The journal on a store whose transactions don't hold up its other writes, as on Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Cancelled, Context, Finished, Tool, tool
from turnout.core import entries as e
from turnout.errors import HeadMoved, StaleWriter
from turnout.ports.rows import Append
from turnout.runtime.clock import SystemClock
from turnout.runtime.outside import append_outside
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app


class Changed:
    """An open transaction: what the tool wrote (a list), and the append that is committed with it."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.connection: list[int] = []
        self.change: Append | None = None

    async def append(self, change: Append) -> None:
        row = await self._store.thread(change.thread)
        assert row is not None
        if row.epoch != change.epoch:
            raise StaleWriter("another's")
        if row.head != change.head:
            raise HeadMoved("moved")
        self.change = change


class Beside(SqliteStore):
    """A store beside whose transactions others write. What tools wrote and was committed is `booked`."""

    exclusive = False

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.booked: list[int] = []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        opened = Changed(self)
        yield opened
        if opened.change is not None:
            await self.append(opened.change)
            self.booked += opened.connection


@pytest.fixture
def store() -> Beside:
    return Beside()


class Desk:
    """A transactional tool that waits until it is let go on."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    def tool(self) -> Tool[Any, Any]:
        @tool(effect="write", transactional=True)
        async def book(n: int, transaction: list[int]) -> int:
            self.calls.append(n)
            transaction.append(n)
            self.begun.set()
            await self.go_on.wait()
            return n

        return book


async def ring(store: Beside, body: e.Body) -> None:
    await append_outside(store, SystemClock(), "t", lambda view: [e.Draft(view.runs, "", body)])


async def test_other_steps_commit_while_the_function_runs(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    @tool(effect="write")
    async def send(n: int) -> int:
        return n

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        async def beside() -> int:
            await desk.begun.wait()
            n = await ctx.call(send, n=2)
            assert "effect.settled" in [row.kind for row in await store.read("t")]
            desk.go_on.set()
            return int(n)

        return {"n": sum(await asyncio.gather(ctx.call(book, n=1), beside()))}

    async with open_test_app(store, graphs=[chain(node, tools=[book, send])]) as app:
        done = await asyncio.wait_for(app.run("g", {}, thread="t"), timeout=4)
        assert isinstance(done, Finished)
        assert store.booked == [1]
        written = [x.body.name for x in await app.entries("t") if isinstance(x.body, e.EffectIntended)]
        assert written == ["send", "book"]
        await proven(app)


async def test_an_append_from_outside_while_the_function_runs_is_put_before_it(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        at = await ctx.now()  # staged: it rides along, whatever comes in between
        return {"n": await ctx.call(book, n=1), "log": [str(at)]}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(desk.begun.wait(), timeout=4)
        for n in range(3):
            await ring(store, e.SignalReceived(name="bell", payload=n, by=""))
        desk.go_on.set()
        assert isinstance(await app.wait(run, timeout=4), Finished)
        assert (desk.calls, store.booked) == ([1], [1])
        assert (await kinds(app))[3:] == [
            "signal.received", "signal.received", "signal.received", "effect.recorded", "effect.intended",
            "effect.settled", "step.finished", "decision", "run.finished",
        ]  # fmt: skip
        await proven(app)


async def test_a_cancel_is_heard_while_the_function_runs(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(book, n=1)}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(desk.begun.wait(), timeout=4)
        await app.cancel("t", by="ops")
        ended = await app.wait(run, timeout=4)
        assert isinstance(ended, Cancelled)
        assert [known.outcome for known in ended.writes] == ["did_not_happen"]
        assert store.booked == []
        await proven(app)


async def test_a_cancel_that_nobody_here_was_told_of_is_seen_at_the_commit(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(book, n=1)}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(desk.begun.wait(), timeout=4)
        await ring(store, e.CancelRequested(by="ops"))
        desk.go_on.set()
        ended = await app.wait(run, timeout=4)
        assert isinstance(ended, Cancelled)
        assert store.booked == []
        await proven(app)


async def test_a_thread_that_is_taken_over_while_the_function_runs_books_nothing_here(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(book, n=1)}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(desk.begun.wait(), timeout=4)
        row = await store.thread("t")
        assert row is not None
        [lease] = await store.claim("other", row.lease_until + 1, row.lease_until + 2, 1, thread="t")
        desk.go_on.set()
        await until(lambda: not app.worker.busy)  # type: ignore[union-attr]
        assert store.booked == []
        assert await store.release(lease, row.head, 0)
        assert isinstance(await app.wait(run, timeout=4), Finished)
        assert (desk.calls, store.booked) == ([1, 1], [1])
        await proven(app)


async def test_two_at_once_on_one_thread_are_both_booked(store: Beside) -> None:
    desk = Desk()
    book = desk.tool()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": sum(await asyncio.gather(*(ctx.call(book, n=n) for n in range(8))))}

    async with open_test_app(store, graphs=[chain(node, tools=[book])]) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: len(desk.calls) == 8)  # all of them are inside at once
        desk.go_on.set()
        assert isinstance(await app.wait(run, timeout=4), Finished)
        assert sorted(store.booked) == list(range(8))
        await proven(app)
