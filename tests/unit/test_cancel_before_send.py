"""A cancel that is on record before a write is sent keeps it from being sent."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from turnout import END, Cancelled, Context, Graph, tool
from turnout.core import entries as e
from turnout.runtime.clock import SystemClock
from turnout.runtime.outside import append_outside
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app


class Job(BaseModel):
    done: bool = False


async def test_a_cancel_that_slips_in_before_the_intent_is_committed_stops_the_write() -> None:
    sent: list[int] = []

    @tool(effect="write")
    async def pay(n: int) -> None:
        sent.append(n)

    jobs = Graph("jobs", state=Job, tools=[pay])

    @jobs.node
    async def work(state: Job, ctx: Context) -> dict[str, Any]:
        await ctx.call(pay, n=1)
        return {"done": True}

    jobs.start(work)
    jobs.edge(work, END)
    store = SqliteStore(":memory:")
    inner = store.append

    async def append(change: Any) -> None:
        if any(row.kind == "effect.intended" for row in change.rows) and not cancelled:
            cancelled.append(True)
            # By another process, just before our commit: which is then refused and redone. Nobody here is told.
            await append_outside(
                store, SystemClock(), "t", lambda view: [e.Draft(1, "", e.CancelRequested(by="ops"))]
            )
        await inner(change)

    cancelled: list[bool] = []
    store.append = append  # type: ignore[method-assign]
    async with open_test_app(store, graphs=[jobs]) as app:
        outcome = await app.run("jobs", {}, thread="t")
    assert isinstance(outcome, Cancelled)
    assert sent == []
    assert [known.outcome for known in outcome.writes] == ["did_not_happen"]
