"""The outbox on Postgres: its statements and their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

from psycopg import AsyncRawCursor

from turnout.core.entries import Micros
from turnout.core.notices import Notice
from turnout.ports.rows import Append, OutboxRow
from turnout.stores.postgres_connections import Connection
from turnout.stores.statements import statements

SQL = statements("postgres_outbox.sql")


def row(found: Sequence[Any]) -> OutboxRow:
    """A notice on its way, as it was read."""
    return OutboxRow(Notice(*found[:10]), *found[10:])


async def write(connection: Connection, changes: Iterable[Append], done: set[str]) -> None:
    """What the appends that are `done` (by their threads) put into the outbox and take out of it, in their transaction."""
    written = [change for change in changes if change.thread in done]
    for change in written:
        if change.withdrawn:
            await _run(connection, "withdraw", [sorted(change.withdrawn), change.at])
    await add(connection, [notice for change in written for notice in change.outbox])


async def add(connection: Connection, notices: Sequence[Notice]) -> None:
    """Put notices into the outbox, in the transaction that `connection` is in."""
    if notices:
        columns = [list(column) for column in zip(*map(astuple, notices), strict=True)]
        await _run(connection, "add", columns)


async def take(
    connection: Connection, owner: str, channel: str, now: Micros, until: Micros, limit: int
) -> list[OutboxRow]:
    """See `Store.claim_outbox`."""
    [(waits,)] = await _run(connection, "waits", [channel, now])
    if not waits:  # a look costs no commit
        return []
    taken = [row(found) for found in await _run(connection, "take", [owner, channel, now, until, limit])]
    return sorted(taken, key=lambda one: one.due_at)


async def settle(connection: Connection, given: OutboxRow, owner: str) -> bool:
    """See `Store.settle_outbox`."""
    values = [
        given.notice.thread, given.notice.id, owner, given.attempts, given.status, given.due_at, given.settled_at,
        given.error,
    ]  # fmt: skip
    return bool(await _run(connection, "settle", values))


async def resend(connection: Connection, at: Micros, notices: Sequence[str] | None, tenant: str) -> list[str]:
    """See `Store.resend_outbox`."""
    named = list(notices) if notices is not None else None
    done = await _run(connection, "resend", [at, named, tenant])
    if named is None:
        return [found[0] for found in sorted(done, key=lambda found: (found[1], found[0]))]
    ids = {found[0] for found in done}
    return [notice for notice in named if notice in ids]


async def _run(connection: Connection, name: str, values: Sequence[Any]) -> list[Any]:
    cursor = await AsyncRawCursor(connection).execute(SQL[name], values or None, binary=True)
    return await cursor.fetchall() if cursor.description else []
