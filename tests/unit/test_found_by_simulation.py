"""What the simulation has found: each finding as a small test. (Those about one module are with its tests.)"""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    Context,
    DidNotHappen,
    Failed,
    Finished,
    Graph,
    Landed,
    Retry,
    Settings,
    tool,
)
from turnout.core import entries as e
from turnout.errors import StoreUnavailable, ToolFailed
from turnout.ports.rows import Append
from turnout.runtime.clock import SystemClock
from turnout.runtime.journal import Journal
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app
from turnout.wiring import open_store


class Door:
    """A real store behind a door: `before` and `after` see every append, and may hold it or its answer back."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.before: Callable[[Append], Any] | None = None
        self.after: Callable[[Append], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, change: Append) -> None:
        if self.before is not None:
            await self.before(change)
        await self.inner.append(change)
        if self.after is not None:
            await self.after(change)

    async def close(self) -> None:
        """Others have it, too."""


# --- children ----------------------------------------------------------------------------------------------------


async def test_a_step_that_is_tried_again_asks_for_a_new_child() -> None:
    tried: list[str] = []

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        tried.append(ctx.thread)
        if len(tried) == 1:
            raise ValueError("not today")
        return {"n": 7}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {}))["n"]}

    graphs = [chain(child, name="child"), chain(parent, retry=Retry(attempts=2, wait=0))]
    async with open_test_app(graphs=graphs) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.n == 7  # type: ignore[attr-defined]
        assert len(set(tried)) == 2
        await proven(app)


async def test_a_step_that_is_migrated_asks_for_a_new_child() -> None:
    store: Any = Door(SqliteStore(":memory:"))

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 7}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        got = await ctx.run("child", {})
        await ctx.signal("go")
        return {"n": got["n"]}

    async def newer(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        return {"n": (await ctx.run("child", {}))["n"] + 1}

    def version(fn: Any, before: str = "") -> Graph:
        graph = Graph("g", state=Work)
        graph.node(fn, name="parent")
        graph.start("parent")
        graph.edge("parent", "END")
        if before:
            graph.migration(before)
        return graph

    old, children = version(parent), chain(child, name="child")
    async with open_test_app(store, graphs=[old, children]) as app:
        await app.wait(await app.start("g", {}, thread="t"), timeout=5)
    async with open_test_app(store, graphs=[version(newer, old.fingerprint), children]) as app:
        await app.signal("t", "look")
        ended = await app.wait("t/1", timeout=2)
        assert isinstance(ended, Finished)
        assert ended.state.n == 8  # type: ignore[attr-defined]


# --- workers that were stopped for a while -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["write", "read"])
async def test_a_worker_that_was_stopped_past_its_lease_asks_nothing_of_the_world(what: str) -> None:
    """It was stopped after a commit. Another worker has taken the thread over and done what came next."""
    inner, clock, asked = SqliteStore(":memory:"), VirtualClock(), []
    stopped, goes_on = asyncio.Event(), asyncio.Event()

    async def look_into(number: int) -> Any:
        return Landed(number) if number in asked else DID_NOT_HAPPEN

    @tool(effect="write", reconcile=look_into)
    async def write(number: int) -> int:
        asked.append(number)
        return number

    @tool(effect="read")
    async def read(number: int) -> int:
        asked.append(number)
        return number

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.once("first", lambda: 1)
        await ctx.call(write if what == "write" else read, number=2)
        return {}

    async def stop(change: Append) -> None:
        """The worker is stopped with the answer of this commit in its hands."""
        last = "effect.intended" if what == "write" else "effect.recorded"
        if change.rows and change.rows[-1].kind == last and not stopped.is_set():
            stopped.set()
            await goes_on.wait()

    def graph() -> Graph:
        return chain(node, tools=[write, read])

    first, second = Door(inner), Door(inner)
    first.after = stop
    settings = Settings(lease=300)  # renewed every 100 s of real time, which don't pass here
    async with open_test_app(first, graphs=[graph()], clock=clock, settings=settings) as old:  # type: ignore[arg-type]
        run = await old.start("g", {}, thread="t")
        await asyncio.wait_for(stopped.wait(), 5)
        await clock.advance(400)
        async with open_test_app(second, graphs=[graph()], clock=clock, settings=settings) as new:  # type: ignore[arg-type]
            assert isinstance(await new.wait(run, timeout=20), Finished)
            assert asked == [2]
            goes_on.set()
            assert old.worker is not None
            await until(lambda: not old.worker.busy)
            assert asked == [2]
            await proven(new)


async def test_a_worker_that_was_stopped_for_a_while_and_lost_nothing_goes_on() -> None:
    inner, clock, sent = SqliteStore(":memory:"), VirtualClock(), []
    stopped, goes_on = asyncio.Event(), asyncio.Event()

    @tool(effect="write")
    async def write() -> str:
        sent.append(1)
        return "done"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(write)
        return {}

    async def stop(change: Append) -> None:
        if change.rows and change.rows[-1].kind == "effect.intended":
            stopped.set()
            await goes_on.wait()

    store: Any = Door(inner)
    store.after = stop
    async with open_test_app(store, graphs=[chain(node, tools=[write])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(stopped.wait(), 5)
        await clock.advance(60)
        goes_on.set()
        assert isinstance(await app.wait(run, timeout=5), Finished)
        assert sent == [1]
        assert {entry.epoch for entry in await app.entries("t")} == {0, 1}


async def test_a_lease_counts_from_its_own_claim_whatever_was_renewed_meanwhile() -> None:
    """The answer to a claim comes late; meanwhile what was held before is renewed, and this isn't."""
    clock, inner = VirtualClock(), SqliteStore(":memory:")
    claimed, goes_on, busy = asyncio.Event(), asyncio.Event(), asyncio.Event()
    order: list[str] = []

    class Slow(Door):
        async def claim(self, *args: Any, **options: Any) -> Any:
            leases = await self.inner.claim(*args, **options)
            if [lease.thread for lease in leases] == ["b"]:
                claimed.set()
                await goes_on.wait()
            return leases

        async def renew(self, worker: str, threads: Any, until: int) -> Any:
            order.append("renew " + " ".join(lease.thread for lease in threads))
            return await self.inner.renew(worker, threads, until)

    async def node(state: Work, ctx: Context) -> None:
        if ctx.thread == "a":
            await ctx.once("wait", busy.wait)
        await ctx.once("ask", order.append, ctx.thread)

    settings = Settings(lease=300)
    store: Any = Slow(inner)
    async with open_test_app(store, graphs=[chain(node)], clock=clock, settings=settings) as app:
        await app.start("g", {}, thread="a")
        await until(lambda: app.worker is not None and app.worker.busy == {"a"})
        await app.start("g", {}, thread="b")
        await asyncio.wait_for(claimed.wait(), 5)
        await clock.advance(250)
        assert app.worker is not None
        await app.worker._renew_leases()
        goes_on.set()
        await until(lambda: "b" in order)
        assert order == ["renew a", "renew a b", "b"]
        busy.set()


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


# --- a store that fails ------------------------------------------------------------------------------------------


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


# --- replay --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
async def test_a_step_replays_whose_task_group_was_broken_off_while_a_call_was_in_flight(depth: int) -> None:
    """The call that was cut off isn't on record; the step doesn't need it to fail as it did."""

    @tool(effect="read")
    async def fails() -> None:
        raise ConnectionError("no")

    @tool(effect="read")
    async def slow() -> None:
        await asyncio.sleep(60)

    async def group_of(depth: int, ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.call(slow))
            group.create_task(group_of(depth - 1, ctx) if depth > 1 else ctx.call(fails))
            group.create_task(ctx.call(slow))

    async def node(state: Work, ctx: Context) -> None:
        await group_of(depth, ctx)

    async with open_test_app(graphs=[chain(node, tools=[fails, slow])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Failed)
        assert ended.error.type == "ExceptionGroup"
        await proven(app)


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_step_replays_in_which_two_calls_failed_and_the_later_one_was_asked_first(kind: Any) -> None:
    """What the step fails with is what failed first, and the record knows which that was."""

    @tool(effect=kind)
    async def late() -> None:
        await asyncio.sleep(0.05)
        raise DidNotHappen("late")

    @tool(effect=kind)
    async def early() -> None:
        raise DidNotHappen("early")

    async def node(state: Work, ctx: Context) -> None:
        await ctx.once("first", lambda: 1)
        await asyncio.gather(ctx.call(late), ctx.call(early))

    async with open_test_app(graphs=[chain(node, tools=[late, early])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Failed)
        assert "early" in ended.error.message
        await proven(app)


async def test_a_step_replays_whose_group_was_broken_off_by_the_later_of_two_calls() -> None:
    @tool(effect="read")
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        if seconds < 0.05:
            raise ValueError(f"after {seconds}")
        return seconds

    async def twice(ctx: Context) -> None:
        await ctx.call(after, seconds=0.06)
        raise ValueError("never comes")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        log: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(twice(ctx))
                group.create_task(ctx.call(after, seconds=0.01))
        except* ToolFailed as errors:
            log += [str(error) for error in errors.exceptions]
        return {"log": log}

    async with open_test_app(graphs=[chain(node, tools=[after])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Finished)
        assert ended.state.log == ["tool after: ValueError: after 0.01"]  # type: ignore[attr-defined]
        await proven(app)


async def test_a_step_replays_that_takes_answers_as_they_come() -> None:
    @tool(effect="read")
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        calls = [ctx.call(after, seconds=seconds) for seconds in (0.06, 0.02, 0.04)]
        return {"log": [str(await call) for call in asyncio.as_completed(calls)]}

    async with open_test_app(graphs=[chain(node, tools=[after])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Finished)
        assert ended.state.log == ["0.02", "0.04", "0.06"]  # type: ignore[attr-defined]
        await proven(app)


# --- resting -----------------------------------------------------------------------------------------------------


async def test_a_worker_rests_when_a_write_is_due_that_its_step_does_not_ask_for_any_more() -> None:
    """A task group breaks off before the second write is asked for: here the node just leaves it out."""
    executions: list[str] = []
    known, left_out = False, False

    async def look_into(name: str) -> Any:
        return Landed("done") if known else CANNOT_TELL

    @tool(effect="write", reconcile=look_into)
    async def write(name: str) -> str:
        raise ConnectionError("no answer")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        executions.append(ctx.step)
        names = ["a"] if left_out else ["a", "b"]
        return {"log": list(await asyncio.gather(*(ctx.call(write, name=name) for name in names)))}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[write])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(1)
        left_out = True
        await clock.advance(10)
        await asyncio.sleep(0.2)
        assert 1 < len(executions) < 10
        known, left_out = True, False
        await clock.advance(600)
        assert isinstance(await app.wait(run, timeout=5), Finished)
