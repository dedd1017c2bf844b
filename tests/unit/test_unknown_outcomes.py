"""Writes of which nobody knows what became: what is sent again, what is claimed, and who is asked."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    Cancelled,
    Context,
    Finished,
    Landed,
    Paused,
    Settings,
    did_not_happen,
    landed,
    tool,
)
from turnout.testing import VirtualClock, open_test_app


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


async def test_a_sync_write_that_is_still_going_on_is_not_sent_again_and_not_said_to_be_undone() -> None:
    """A time limit leaves the thread behind, which lands the write later. `reconcile` can't see that coming."""
    sent: list[str] = []
    may_land, begun = threading.Event(), []

    async def look() -> Any:
        return Landed("landed") if sent else DID_NOT_HAPPEN

    @tool(effect="write", reconcile=look, time_limit=0.05)
    def send() -> str:
        begun.append(1)
        may_land.wait(5)
        sent.append("landed")
        return "landed"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[send])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: begun, clock)
        await asyncio.sleep(0.2)
        assert begun == [1]
        may_land.set()
        await until(lambda: sent)
        await asyncio.sleep(0.05)
        await clock.advance(10)
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.log == ["landed"]
        assert sent == ["landed"]
        await proven(app)


async def test_of_a_cancelled_sync_write_that_is_still_going_on_nothing_is_claimed() -> None:
    may_land, begun = threading.Event(), []

    async def look() -> Any:
        return DID_NOT_HAPPEN

    @tool(effect="write", reconcile=look)
    def send() -> str:
        begun.append(1)
        may_land.wait(5)
        return "landed"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: begun)
        await app.cancel("t")
        ended = await app.wait(run, timeout=5)
        may_land.set()
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["unknown"]


async def test_a_time_limit_of_ours_proves_nothing_whatever_the_tool_says_of_timeouts() -> None:
    """`did_not_happen=(TimeoutError,)` speaks of the tool's own errors, not of our cutting it off."""
    sent: list[int] = []

    @tool(effect="write", did_not_happen=(TimeoutError,), time_limit=0.05)
    async def send() -> str:
        sent.append(1)
        await asyncio.sleep(5)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Paused)
        assert ended.reviews[0].purpose == "outcome"


async def test_a_second_sending_that_did_not_happen_says_nothing_of_the_first() -> None:
    world: list[str] = []
    tries: list[int] = []

    @tool(effect="write", did_not_happen=(ConnectionRefusedError,))
    async def send(idempotency_key: str) -> str:
        tries.append(1)
        if len(tries) == 1:
            world.append(idempotency_key)
            raise OSError("the line broke after it was sent")
        if len(tries) == 2:
            raise ConnectionRefusedError("down for a moment")
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[send])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: tries, clock)
        await clock.settle()
        await clock.advance(30)
        await until(lambda: len(tries) >= 2, clock)
        await clock.advance(600)
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished), ended
        assert ended.state.log == ["sent"]
        await proven(app)


async def test_a_run_can_be_cancelled_although_its_tool_takes_other_arguments_now(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def look(amount: Any) -> Any:
        return CANNOT_TELL

    @tool(effect="write", name="send", reconcile=look)
    async def old(amount: int) -> str:
        raise OSError("who knows")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call("send", amount=1)]}

    clock = VirtualClock()
    async with open_test_app(store, graphs=[chain(node, tools=[old])], clock=clock) as app:
        await app.start("g", {}, thread="t")
        await asyncio.sleep(0.1)
        assert "effect.settled" in await kinds(app)

    @tool(effect="write", name="send", reconcile=look)
    async def new(amount: list[str]) -> str:
        return "sent"

    async with open_test_app(store, graphs=[chain(node, tools=[new])], clock=clock) as app:
        await app.cancel("t")
        ended = await app.wait("t/1", timeout=3)
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["unknown"]


async def test_a_write_that_is_lost_twice_is_asked_about_in_two_reviews(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    tries: list[int] = []

    @tool(effect="write")
    async def send() -> str:
        tries.append(1)
        await asyncio.sleep(30)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    settings = Settings(grace=0.05)
    asked = []
    for i in (1, 2):
        async with open_test_app(store, graphs=[chain(node, tools=[send])], settings=settings) as app:
            if i == 1:
                await app.start("g", {}, thread="t")
            else:
                paused = await app.wait("t/1", timeout=5)
                assert isinstance(paused, Paused)
                asked.append(paused.reviews[0].id)
                await app.resolve(asked[-1], did_not_happen(by="dana"))
            await until(lambda i=i: len(tries) == i)
    async with open_test_app(store, graphs=[chain(node, tools=[send])], settings=settings) as app:
        paused = await app.wait("t/1", timeout=5)
        assert isinstance(paused, Paused)
        asked.append(paused.reviews[0].id)
        await app.resolve(asked[-1], landed("yes", by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert asked[0] != asked[1]
        assert [r.status for r in await app.reviews(status="", thread="t")] == ["did_not_happen", "landed"]
