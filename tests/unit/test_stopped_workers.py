"""Workers that were stopped for a while: one that is past its lease is no worker of its threads any more."""

import asyncio
from typing import Any

import pytest
from tests.unit.doors import Door
from tests.unit.runs import Work, chain, proven, until

from turnout import DID_NOT_HAPPEN, Context, Finished, Graph, Landed, Settings, tool
from turnout.ports.rows import Append
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app


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
