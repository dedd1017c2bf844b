"""What the tests of schedules share: hours on a virtual clock, graphs that are quick, slow or changed, and a store that stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from tests.unit.runs import chain

from turnout import END, App, Context, Graph, Schedule, Settings
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock

HOUR, DAY = 3600, 86_400
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # where a virtual clock begins
FAST = Settings(sweep=0.05, poll=0.005)


async def work(state: Any, ctx: Context) -> dict[str, Any]:
    return {"n": 1}


async def hold(state: Any, ctx: Context) -> dict[str, Any]:
    """Unfinished until somebody says so."""
    await ctx.signal("go")
    return {"n": 1}


quick, slow, other = chain(work), chain(hold), chain(work, name="other")


def narrow() -> Graph:
    """A later version of the graph, whose state is another."""

    class Narrow(BaseModel):
        m: int

    changed = Graph("g", state=Narrow)
    changed.node(work)
    changed.start(work)
    changed.edge(work, END)
    return changed


async def threads(app: App) -> list[str]:
    return [row.thread for row in await app.threads(limit=100_000)]


async def one(app: App, name: str = "s") -> Schedule:
    return next(found for found in await app.schedules() if found.name == name)


async def settled(clock: VirtualClock, seconds: float = 0) -> None:
    await clock.advance(seconds)
    await asyncio.sleep(0)
    await clock.settle(200)


class Kept(SqliteStore):
    """A store in memory that outlives the apps on it, as a file does, and is as quick as the clock is virtual."""

    async def close(self) -> None:
        """It is the test's to close."""
