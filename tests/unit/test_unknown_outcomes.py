"""Writes of which nobody knows what became: what is sent again, what is claimed, and who is asked."""

import asyncio
from typing import Any

from tests.unit.runs import Work, chain

from turnout import CANNOT_TELL, Context, Finished, Landed, tool
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
