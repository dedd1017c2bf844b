"""What the tests of events share: threads that have been run, and what a watcher is told of them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from typing import Any

from tests.api.conftest import Served

from turnout.service.live.watching import Live, News

Events = AsyncGenerator[Any]


async def flat(watch: Events) -> Events:
    """Event by event what a watcher is told in lists."""
    async with contextlib.aclosing(watch) as lists:
        async for found in lists:
            for event in found:
                yield event


async def take(events: Events, count: int) -> list[Any]:
    """The next `count` events."""
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


def seqs(events: list[Any]) -> list[int]:
    return [event.entry.seq for event in events if isinstance(event, News)]


def places(events: list[Any]) -> list[tuple[str, int]]:
    return [(event.entry.thread, event.entry.seq) for event in events if isinstance(event, News)]


async def finished(desk: Served, thread: str, graph: str = "talks", **more: Any) -> int:
    """Run a thread to its end or rest; how many entries it has then."""
    await desk.app.wait(
        await desk.app.start(graph, {"order": "A"} if graph == "refunds" else {}, thread=thread, **more)
    )
    row = await desk.app.store.thread(thread)
    assert row is not None
    return row.head


def live(desk: Served) -> Live:
    return desk.site.live


@contextlib.asynccontextmanager
async def broken_entry(path: Any, thread: str, seq: int) -> AsyncGenerator[None]:
    """An entry of that thread can't be read meanwhile."""
    db = sqlite3.connect(path)
    where = "WHERE seq = ? AND number = (SELECT number FROM threads WHERE thread = ?)"
    with db:
        [(body,)] = db.execute(f"SELECT body FROM entries {where}", (seq, thread)).fetchall()
        db.execute(f"UPDATE entries SET body = x'7b22' {where}", (seq, thread))
    try:
        yield
    finally:
        with db:
            db.execute("UPDATE entries SET body = ? " + where, (body, seq, thread))
        db.close()
