"""A write whose thread is lost while it is under way: its end is nobody's any more, and nobody is to be told of it twice."""

import asyncio
import gc

from pydantic import BaseModel
from tests.promises.bench import Watched, app_on

from turnout import END, Context, Graph, tool
from turnout.errors import StaleWriter
from turnout.stores.sqlite import SqliteStore


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
