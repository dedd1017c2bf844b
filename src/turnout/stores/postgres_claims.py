"""Claims on Postgres: what could be taken, what there is room for, and taking it, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from turnout.core.entries import Micros
from turnout.core.notices import Notice
from turnout.ports.rows import Lease, LimitRow
from turnout.stores import postgres_outbox
from turnout.stores.claims import Asked, Due, Room, pick, stopped
from turnout.stores.postgres_connections import Connection
from turnout.stores.postgres_statements import run

log = logging.getLogger("turnout.store")


async def claim(connection: Connection, asked: Asked, until: Micros) -> list[Lease]:
    """Take what is due and has room, the longest due first; set aside what killed its workers too often."""
    limits = [LimitRow(*row) for row in await run(connection, "limits")]
    if not await _found(connection, asked, limits):  # a look costs no commit
        return []
    async with connection.transaction():
        room = await _room(connection, asked, limits)
        plan = pick(await _found(connection, asked, limits), asked, room)
        for due in plan.aside:
            reason = stopped(due.tried, due.owner, due.lease_until)
            if await run(connection, "give_up", [due.thread, due.epoch, asked.now, reason, due.tried]):
                log.error("thread %s was set aside: %s", due.thread, reason)
                await postgres_outbox.add(connection, asked.told(due, reason))
        if not plan.take:
            return []
        values = [[due.thread for due in plan.take], asked.worker, until, [due.epoch for due in plan.take],
                  [due.tried for due in plan.take], asked.now]  # fmt: skip
        taken = {row[0]: Lease(row[0], asked.worker, row[1], row[2])
                 for row in await run(connection, "take", values)}  # fmt: skip
    return [taken[due.thread] for due in plan.take if due.thread in taken]


async def _found(connection: Connection, asked: Asked, limits: list[LimitRow]) -> list[Due]:
    """What could be taken: free threads, those whose lease ran out, and suspects; each the longest due first."""
    graphs = list(asked.graphs) if asked.graphs is not None else None
    if asked.thread:
        return [Due(*row) for row in await run(connection, "due_one", [asked.thread, asked.now, graphs])]
    free = ("due", [asked.now, graphs, asked.limit])
    if limits:
        room = Room(limits, await run(connection, "held", [asked.now]))
        full = [room.full("graph"), room.full("tenant")]
        free = ("due_by_tenant", [asked.now, graphs, asked.limit, *full])
    rows = await run(connection, *free)
    rows += await run(connection, "run_out", [asked.now, graphs, asked.limit])
    rows += await run(connection, "suspect", [asked.now, graphs, 1])
    return [Due(*row) for row in rows]


async def _room(connection: Connection, asked: Asked, limits: list[LimitRow]) -> Room:
    """With limits one claim follows another: two that count at once would both take the last place."""
    if not limits:
        return Room((), ())
    await run(connection, "lock_limits")
    return Room(limits, await run(connection, "held", [asked.now]))


async def set_aside(
    connection: Connection, threads: Sequence[str], reason: str, notices: Sequence[Notice]
) -> list[str]:
    """Those of the threads that weren't aside before. `notices` of these go out with it."""
    async with connection.transaction():
        await run(connection, "lock", [list(threads)])
        done = {row[0] for row in await run(connection, "set_aside", [list(threads), reason])}
        await postgres_outbox.add(connection, [notice for notice in notices if notice.thread in done])
    return [thread for thread in threads if thread in done]
