"""A store that is slow, that is away, or whose answer is lost: what a worker and its journal do then."""

import asyncio
import gc
from typing import Any

import pytest
from tests.unit.doors import Door
from tests.unit.runs import Work, chain, kinds, until

from turnout import Context, Finished, Settings, tool
from turnout.core import entries as e
from turnout.errors import StoreUnavailable
from turnout.ports.rows import Append
from turnout.runtime.clock import SystemClock
from turnout.runtime.journal import Journal
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app
from turnout.wiring import open_store


async def test_a_worker_that_closes_while_it_reads_a_journal_gives_the_thread_back() -> None:
    inner = SqliteStore(":memory:")
    reading = asyncio.Event()

    class Slow(Door):
        async def snapshot(self, thread: str) -> Any:
            if (await self.inner.thread(thread)).owner:
                reading.set()
                await asyncio.sleep(60)
            return await self.inner.snapshot(thread)

    store: Any = Slow(inner)
    async with open_test_app(store, graphs=[chain(_nothing)], settings=Settings(grace=0.05)) as app:
        await app.start("g", {}, thread="t")
        await asyncio.wait_for(reading.wait(), 5)
    row = await inner.thread("t")
    assert row is not None
    assert (row.owner, row.head) == ("", 1)
    async with open_test_app(Door(inner), graphs=[chain(_nothing)]) as app:  # type: ignore[arg-type]
        assert isinstance(await app.wait("t/1", timeout=5), Finished)


async def test_a_journal_whose_commit_failed_does_not_read_on() -> None:
    """The commit is there, but nobody was told so: what is read then is what the journal believes to be new."""
    store: Any = Door(SqliteStore(":memory:"))
    async with open_test_app(store, graphs=[chain(_nothing)], work=False) as app:
        await app.start("g", {}, thread="t")
        now = SystemClock().now()
        [lease] = await store.claim("w", now, now + 10**9, 1)
        journal = await Journal.load(store, SystemClock(), "t", lease=lease)
        journal.stage([e.Draft(1, "", e.RunStarted(graph="g", fingerprint="f", delta={}))])

        async def no_answer(change: Append) -> None:
            raise StoreUnavailable("the line broke")

        store.after = no_answer
        with pytest.raises(StoreUnavailable):
            await journal.commit()
        with pytest.raises(StoreUnavailable):
            await journal.refresh()
        assert await kinds(app) == ["input.received", "run.started"]


async def test_a_journal_that_could_not_read_what_was_new_does_not_go_on() -> None:
    """Somebody was quicker, and then the store was away: what was to be put behind that is lost."""
    store: Any = Door(SqliteStore(":memory:"))

    async def away(thread: str) -> None:
        raise StoreUnavailable("not now")

    async with open_test_app(store, graphs=[chain(_nothing)], work=False) as app:
        await app.start("g", {}, thread="t")
        now = SystemClock().now()
        [lease] = await store.claim("w", now, now + 10**9, 1)
        journal = await Journal.load(store, SystemClock(), "t", lease=lease)
        await app.signal("t", "hello")
        journal.stage([e.Draft(1, "", e.RunStarted(graph="g", fingerprint="f", delta={}))])
        store.thread = away
        with pytest.raises(StoreUnavailable):
            await journal.commit()
        del store.thread
        journal.stage([e.Draft(1, "", e.Decision(graph="g@f", target="_nothing", rule="start"))])
        with pytest.raises(StoreUnavailable):
            await journal.refresh()
        with pytest.raises(StoreUnavailable):
            await journal.commit()
        assert await kinds(app) == ["input.received", "signal.received"]


async def _nothing(state: Work, ctx: Context) -> None: ...


async def test_a_worker_that_begins_while_the_store_is_away_hears_of_other_processes_later(
    tmp_path: Any,
) -> None:
    class Away(Door):
        away = True

        def changed(self) -> Any:
            if self.away:
                raise StoreUnavailable("not now")
            return self.inner.changed()

    url = f"sqlite:///{tmp_path / 'a.db'}"
    store = Away(open_store(url))
    async with (
        open_test_app(store, graphs=[chain(_nothing)], settings=Settings(sweep=0.05)) as app,  # type: ignore[arg-type]
        open_test_app(url, graphs=[chain(_nothing)], work=False) as other,
    ):
        await asyncio.sleep(0.05)
        store.away = False
        await other.start("g", {}, thread="t")
        assert isinstance(await app.wait("t/1", timeout=2), Finished)


async def test_a_write_that_is_cut_off_leaves_no_error_that_nobody_took(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held, fails = asyncio.Event(), asyncio.Event()

    @tool(effect="write")
    async def write() -> None: ...

    async def no_store(change: Append) -> None:
        if change.rows and change.rows[-1].kind == "effect.settled":
            held.set()
            await fails.wait()
            raise StoreUnavailable("gone")

    async def node(state: Work, ctx: Context) -> None:
        await ctx.call(write)

    store: Any = Door(SqliteStore(":memory:"))
    store.before = no_store
    async with open_test_app(store, graphs=[chain(node, tools=[write])]) as app:
        await app.start("g", {}, thread="t")
        await asyncio.wait_for(held.wait(), 5)
        assert app.worker is not None
        app.worker._tasks["t"].cancel()  # as when the lease was lost
        await asyncio.sleep(0.01)
        fails.set()
        await until(lambda: app.worker is not None and not app.worker.busy)
    gc.collect()
    assert [r.message for r in caplog.records if "never retrieved" in r.message] == []
