"""Cancelling: it reaches the call in flight, lets a node clean up, and says what is known of its writes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    DID_NOT_HAPPEN,
    Cancelled,
    Context,
    Failed,
    Finished,
    Landed,
    Paused,
    Settings,
    SyncContext,
    tool,
)
from turnout.errors import UnknownRun, UnknownThread
from turnout.testing import VirtualClock, open_test_app


async def test_a_read_in_flight_is_stopped() -> None:
    state_of: list[str] = []

    @tool(effect="read")
    async def slow() -> int:
        state_of.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            state_of.append("stopped")
        return 1

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(slow)}

    async with open_test_app(graphs=[chain(node, tools=[slow])]) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: state_of)
        await app.cancel("t", by="dana", reason="wrong order")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Cancelled)
        assert (ended.by, ended.reason, ended.writes) == ("dana", "wrong order", [])
        assert state_of == ["began", "stopped"]
        await proven(app)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (Landed("yes"), "landed"),
        (DID_NOT_HAPPEN, "did_not_happen"),
        (ValueError("shut"), "unknown"),
        (None, "unknown"),
    ],
)
async def test_of_a_write_in_flight_it_is_said_what_reconcile_knows(said: Any, outcome: str) -> None:
    began = asyncio.Event()
    asked: list[int] = []

    async def reconcile(amount: int) -> Any:
        asked.append(amount)
        if isinstance(said, Exception):
            raise said
        return said

    @tool(effect="write", reconcile=None if said is None else reconcile)
    async def pay(amount: int) -> str:
        began.set()
        await asyncio.sleep(60)
        return "paid"

    async def node(state: Work, ctx: Context) -> None:
        await ctx.call(pay, amount=5)

    async with open_test_app(graphs=[chain(node, tools=[pay])]) as app:
        run = await app.start("g", {}, thread="t")
        await began.wait()
        await app.cancel("t")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Cancelled)
        [write] = ended.writes
        assert (write.name, write.outcome) == ("pay", outcome)
        assert asked == ([] if said is None else [5])
        await proven(app)


@pytest.mark.parametrize("caught", ["finally", "except", "swallow"])
async def test_a_node_paused_in_a_review_cleans_up_with_calls_of_its_own(caught: str) -> None:
    done: list[str] = []

    @tool(effect="write")
    async def reserve() -> str:
        done.append("reserved")
        return "r-1"

    @tool(effect="write")
    async def free(reservation: str) -> None:
        done.append(f"freed {reservation}")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        reservation = await ctx.call(reserve)
        kept = False
        try:
            kept = (await ctx.review("keep?")).approved
        except asyncio.CancelledError:
            if caught != "finally":
                await ctx.call(free, reservation=reservation)
            if caught == "swallow":
                return {"log": ["carried on"]}
            raise
        finally:
            if caught == "finally" and not kept:
                await ctx.call(free, reservation=reservation)
        return {"log": ["kept"]}

    async with open_test_app(graphs=[chain(node, tools=[reserve, free])]) as app:
        run = await app.start("g", {}, thread="t")
        assert isinstance(await app.wait(run, timeout=5), Paused)
        assert done == ["reserved"]
        await app.cancel("t", by="dana")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Cancelled)
        assert done == ["reserved", "freed r-1"]
        assert [w.outcome for w in ended.writes] == ["landed", "landed"]
        assert [r.status for r in await app.reviews(status="")] == ["withdrawn"]
        assert (await app.state("t"))["log"] == []
        await proven(app)


async def test_a_clean_up_that_wants_to_wait_is_told_off_and_one_that_hangs_is_cut() -> None:
    async def waits(state: Work, ctx: Context) -> None:
        try:
            await ctx.review("ok?")
        finally:
            await ctx.review("may I stop?")

    async def hangs(state: Work, ctx: Context) -> None:
        try:
            await ctx.review("ok?")
        finally:
            if ending[0]:
                await asyncio.sleep(60)

    ending = [False]

    settings = replace(Settings(), grace=0.1)
    async with open_test_app(
        graphs=[chain(waits, name="waits"), chain(hangs, name="hangs")], settings=settings
    ) as app:
        for name in ("waits", "hangs"):
            ending[0] = False
            run = await app.start(name, {}, thread=name)
            assert isinstance(await app.wait(run, timeout=5), Paused)
            ending[0] = True
            await app.cancel(name)
            assert isinstance(await app.wait(run, timeout=5), Cancelled)
            assert (await kinds(app, name)).count("review.requested") == 1


async def test_a_clean_up_that_breaks_is_on_record_and_the_run_is_cancelled_all_the_same() -> None:
    async def node(state: Work, ctx: Context) -> None:
        try:
            await ctx.review("ok?")
        except asyncio.CancelledError:
            raise ValueError("clean-up broke") from None

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        await app.wait(run, timeout=5)
        await app.cancel("t")
        assert isinstance(await app.wait(run, timeout=5), Cancelled)
        [body] = [e.body for e in await app.entries("t") if e.kind == "step.cancelled"]
        assert body.error.message == "clean-up broke"  # type: ignore[attr-defined]


async def test_a_queued_run_is_cancelled_without_having_begun() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?")
        return {"n": 1}

    async with open_test_app(graphs=[chain(node)]) as app:
        first = await app.start("g", {}, thread="t")
        assert isinstance(await app.wait(first, timeout=5), Paused)
        second = await app.start("g", {"data": 2}, thread="t")
        third = await app.start("g", {"data": 3}, thread="t")
        await app.cancel("t", run=second.number, by="dana")
        await app.cancel("t", run=first.number)
        assert isinstance(await app.wait(first, timeout=5), Cancelled)
        assert isinstance(await app.wait(second, timeout=5), Cancelled)
        assert isinstance(await app.wait(third, timeout=5), Paused)
        assert (await app.state("t"))["data"] == 3
        started = [e.run for e in await app.entries("t") if e.kind == "run.started"]
        assert started == [1, 3]
        with pytest.raises(UnknownRun):
            await app.cancel("t", run=2)
        await proven(app)


async def test_a_run_that_waits_for_time_or_a_signal_or_a_retry_is_cancelled_at_once() -> None:
    from turnout import Retry

    async def sleeps(state: Work, ctx: Context) -> None:
        await ctx.sleep(10_000)

    async def listens(state: Work, ctx: Context) -> None:
        await ctx.signal("never")

    async def fails(state: Work, ctx: Context) -> None:
        raise ValueError("again")

    graphs = [chain(sleeps, name="sleeps"), chain(listens, name="listens"),
              chain(fails, name="fails", retry=Retry(attempts=9, wait=1000))]  # fmt: skip
    clock = VirtualClock()
    async with open_test_app(graphs=graphs, clock=clock) as app:
        for graph in graphs:
            run = await app.start(graph.name, {}, thread=graph.name)
            await clock.advance(1)
            await app.cancel(graph.name)
            assert isinstance(await app.wait(run, timeout=5), Cancelled)
            await proven(app, graph.name)


async def test_a_sync_node_hears_of_a_cancel_at_its_next_call() -> None:
    import threading

    go, seen = threading.Event(), []

    def node(state: Work, ctx: SyncContext) -> None:
        seen.append("began")
        go.wait(10)
        try:
            ctx.now()
            seen.append("answered")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: seen)
        await app.cancel("t")
        assert isinstance(await app.wait(run, timeout=5), Cancelled)
        go.set()
        await until(lambda: len(seen) > 1)
        assert "answered" not in seen


async def test_cancelling_what_is_not_there_or_twice_is_clear() -> None:
    async def node(state: Work, ctx: Context) -> None:
        await ctx.review("ok?")

    async with open_test_app(graphs=[chain(node)]) as app:
        with pytest.raises(UnknownThread):
            await app.cancel("nobody")
        run = await app.start("g", {}, thread="t")
        await app.wait(run, timeout=5)
        await app.cancel("t", by="first")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Cancelled)
        assert ended.by == "first"
        with pytest.raises(UnknownRun, match="nothing to cancel"):
            await app.cancel("t")


async def test_a_run_that_finishes_in_the_same_moment_is_either_and_never_both() -> None:
    for delay in range(12):

        async def node(state: Work, ctx: Context) -> dict[str, Any]:
            await ctx.once("look", lambda: 1)
            return {"n": 1}

        async with open_test_app(graphs=[chain(node, node_two)]) as app:
            run = await app.start("g", {}, thread="t")
            for _ in range(delay):
                await asyncio.sleep(0)
            try:
                await app.cancel("t")
            except UnknownRun:
                pass
            ended = await app.wait(run, timeout=5)
            assert isinstance(ended, Cancelled | Finished)
            ends = [k for k in await kinds(app) if k in ("run.finished", "run.cancelled", "run.failed")]
            assert len(ends) == 1
            await proven(app)


async def node_two(state: Work, ctx: Context) -> dict[str, Any]:
    await ctx.now()
    return {"log": ["two"]}


async def test_a_failing_branch_lets_the_other_clean_up() -> None:
    from turnout import END, Graph, parallel

    freed: list[str] = []

    @tool(effect="write")
    async def free() -> None:
        freed.append("freed")

    graph = Graph("g", state=Work, tools=[free])

    @graph.node
    async def begin(state: Work, ctx: Context) -> None: ...

    @graph.node
    async def waits(state: Work, ctx: Context) -> None:
        try:
            await ctx.review("ok?")
        except asyncio.CancelledError:
            await ctx.call(free)
            raise

    @graph.node
    async def breaks(state: Work, ctx: Context) -> None:
        await ctx.once("a moment", asyncio.sleep, 0.05)
        raise ValueError("no")

    graph.start(begin)
    graph.edge(begin, parallel(waits, breaks, join=END))
    graph.edge(waits, END)
    graph.edge(breaks, END)
    async with open_test_app(graphs=[graph]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        if isinstance(ended, Paused):  # the first look was before the other branch broke
            ended = await app.wait("t/1", timeout=5)
        assert isinstance(ended, Failed)
        assert freed == ["freed"]
        await proven(app)
