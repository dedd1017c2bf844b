"""A call whose thread is lost, or whose step has ended, while it is under way: its end is nobody's any more, and nobody is
to be told of it."""

import asyncio
import gc
from typing import Any

import pytest
from pydantic import BaseModel
from tests.promises.bench import Watched, app_on
from tests.unit.runs import Work, chain, kinds, proven

from turnout import END, Budget, Context, Failed, Finished, Graph, Retry, Settings, tool
from turnout.errors import StaleWriter
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app


class S(BaseModel):
    done: str = ""


async def test_a_write_that_ends_after_its_thread_was_lost_leaves_no_unheard_error(tmp_path):
    begun, unheard = asyncio.Event(), []

    @tool(effect="write")
    async def act() -> str:
        begun.set()
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            pass
        return "done"

    graph = Graph("g", state=S, tools=[act])

    @graph.node
    async def go(state: S, ctx: Context) -> dict:
        return {"done": await ctx.call(act)}

    graph.start(go)
    graph.edge(go, END)

    async def taken_over(change):
        if any(row.kind == "effect.settled" for row in change.rows):
            raise StaleWriter("thread 't' is in epoch 2 now")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context["message"]))
    store = Watched(SqliteStore(str(tmp_path / "t.db")), taken_over)
    async with app_on(store, graph) as app:
        await app.start("g", {}, thread="t")
        await begun.wait()
        app.worker._tasks["t"].cancel()  # what a worker does that has lost the lease
        await asyncio.sleep(0.1)
    gc.collect()
    assert unheard == []


def stubborn(effect, **options):
    """A graph of one call. The first one doesn't stop when it is told to, and answers while the second is under way."""
    calls, answered = [], asyncio.Event()

    @tool(effect=effect)
    async def act(q: str) -> str:
        calls.append(q)
        if len(calls) == 2:
            await asyncio.wait_for(answered.wait(), 10)
            await asyncio.sleep(0.05)
            return "the second"
        while len(calls) < 2:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass
        answered.set()
        return "the first"

    async def go(state: Work, ctx: Context) -> dict:
        return {"log": [await ctx.call(act, q="x")]}

    return chain(go, tools=[act], time_limit=1.0, **options)


@pytest.mark.parametrize("budgets", [(), (Budget(name="b", per="run", calls=5),)], ids=["free", "counted"])
@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_call_that_was_left_behind_says_nothing_of_the_same_call_of_the_next_run(effect, budgets):
    """It has the same place in the same step: what the first one comes to must not be taken for what the second does."""
    graph = stubborn(effect)
    async with open_test_app(graphs=[graph], settings=Settings(grace=0.05), budgets=budgets) as app:
        first, second = [await app.start("g", {}, thread="t") for _ in range(2)]
        assert isinstance(await app.wait(first, timeout=10), Failed)
        done = await app.wait(second, timeout=10)
        assert isinstance(done, Finished)
        assert done.state.log == ["the second"]
        ended = [x for x in await app.entries("t") if x.kind in ("effect.recorded", "effect.settled")]
        assert [(x.run, x.body.result) for x in ended] == [(2, "the second")]
        await proven(app)


async def test_a_call_that_was_left_behind_says_nothing_of_the_next_attempt_of_its_step():
    """What a step that is tried again finds on record is from a call that it has waited for."""
    graph = stubborn("read", retry=Retry(attempts=2, wait=0))
    async with open_test_app(graphs=[graph], settings=Settings(grace=0.05)) as app:
        done = await asyncio.wait_for(app.run("g", {}, thread="t"), 10)
        assert isinstance(done, Finished)
        assert done.state.log == ["the second"]
        ended = [x.body.result for x in await app.entries("t") if x.kind == "effect.recorded"]
        assert ended == ["the second"]
        await proven(app)


async def test_a_call_that_nobody_waits_for_is_not_begun_after_the_step_has_ended() -> None:
    sent: list[int] = []
    left: list[Any] = []

    @tool(effect="write")
    async def send() -> str:
        sent.append(1)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        left.append(asyncio.ensure_future(ctx.call(send)))
        return {"n": 1}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        await asyncio.wait(left, timeout=1)
        assert isinstance(ended, Finished)
        assert "is over" in str(left[0].exception())
        written = await kinds(app)
        assert written.count("effect.intended") == len(sent) == written.count("effect.settled")
        await proven(app)
