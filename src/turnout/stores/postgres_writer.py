"""The writer of a process: all appends that it makes at once, in one transaction on one connection.

An append is refused without an error in the database (its rows are simply not written), so that its neighbours in the
transaction stay. What the database itself refuses (a key that is taken) fails the transaction; then each append is tried
by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncRawCursor
from psycopg import errors as pg

from turnout.errors import Conflict, HeadMoved, KeyReused, StaleWriter, StoreUnavailable, TurnoutError
from turnout.ports.rows import Append, ThreadRow
from turnout.stores import postgres_batch as batch
from turnout.stores import postgres_outbox, postgres_wakes
from turnout.stores.postgres_budgets import Ledger
from turnout.stores.postgres_connections import Connection, alive
from turnout.stores.postgres_errors import final, lost, passing
from turnout.stores.statements import statements

SQL = statements("postgres.sql")
Known = Callable[[Exception], TurnoutError]
TURNS = 8
"""Turns of the event loop without a new append after which a batch goes out, though not everybody is back: a step takes
about five from one append to the next."""
LOCKED = object()
"""(what became of an append:) nothing, somebody else had the thread's row locked at that moment."""


@dataclass(slots=True)
class Asked:
    """An append that somebody waits for. `doubtful`: a connection was lost on which it was sent, so that it may have
    been committed, or may yet be, for the server may not know that nobody listens any more."""

    change: Append
    future: asyncio.Future[Any]
    doubtful: bool = False


class Writer:
    """Appends, gathered. `connect` opens its connection, `known` puts a database error into our words."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], known: Known, patience: float) -> None:
        self._connect = connect
        self._known = known
        self._patience = patience
        self._queue: list[Asked] = []
        self._pumping: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._closed = False

    async def append(self, change: Append) -> None:
        """Make `change` durable, with what others append at this moment."""
        end, wait = time.monotonic() + self._patience, 0.001
        loop = asyncio.get_running_loop()
        asked = Asked(change, loop.create_future())
        while True:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._queue.append(asked)
            if self._pumping is None:
                self._pumping = asyncio.ensure_future(self._pump())
            if await asked.future is not LOCKED:
                return
            asked.future = loop.create_future()
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"thread {change.thread!r} is locked in the database by somebody; try again"
                )
            await asyncio.sleep(wait)
            wait = min(2 * wait, 0.05)

    async def close(self) -> None:
        """Finish what was begun."""
        if self._pumping is not None:
            await self._pumping
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def _pump(self) -> None:
        """Commit what has gathered, batch after batch, until nothing is left."""
        taken: list[Asked] = []
        try:
            while self._queue:
                taken = self._take()
                _answer(taken, await self._committed(taken))
                await self._gather(len(taken))
        except BaseException as error:  # the loop is being closed, or this is broken: nobody may wait
            trouble = StoreUnavailable(f"the writer of the store stopped: {error!r}")
            _answer(taken + self._queue, [trouble for _ in taken + self._queue])
            self._queue = []
            raise
        finally:
            self._pumping = None

    async def _gather(self, answered: int) -> None:
        """Those who were just answered have more in a few turns of the event loop, which then joins the next commit."""
        quiet = 0
        while len(self._queue) < answered and quiet < TURNS:
            before = len(self._queue)
            await asyncio.sleep(0)
            quiet = 0 if len(self._queue) > before else quiet + 1

    def _take(self) -> list[Asked]:
        """What has gathered; of each thread the first append, for one statement changes a row once."""
        taken, rest, threads = [], [], set()
        for asked in self._queue:
            if asked.change.thread in threads:
                rest.append(asked)
            else:
                threads.add(asked.change.thread)
                taken.append(asked)
        self._queue = rest
        return taken

    async def _committed(self, batch: list[Asked]) -> list[Any]:
        """What became of each: None, LOCKED, or the error it is refused with."""
        end = time.monotonic() + self._patience
        while True:
            try:
                connection = await self._connected(end)
                results = await write(connection, [asked.change for asked in batch], self._known)
                return [await self._settled(connection, *one) for one in zip(batch, results, strict=True)]
            except Exception as error:
                if passing(error) and time.monotonic() < end:
                    await asyncio.sleep(0.005)
                    continue
                if len(batch) > 1 and isinstance(error, psycopg.Error) and not lost(error):
                    return [(await self._committed([asked]))[0] for asked in batch]  # one bad append: find it
                if lost(error):
                    for asked in batch:
                        asked.doubtful = True
                    await self._dropped()
                if not lost(error) or time.monotonic() > end:
                    told = self._told(error)
                    return [told for _ in batch]
                await asyncio.sleep(0.05)

    def _told(self, error: Exception) -> Exception:
        return self._known(error) if isinstance(error, psycopg.Error | UnicodeError) else error

    async def _settled(self, connection: Connection, asked: Asked, result: Any) -> Any:
        """A doubtful append that is refused may be refused because it is in the journal already. The digest of its last
        entry says so, for it covers everything before."""
        last = asked.change.rows[-1] if asked.change.rows else None
        if asked.doubtful and last is not None and isinstance(result, Conflict):
            found = await _run(connection, "is_there", [asked.change.thread, last.seq])
            if found and found[0][0] == last.digest:
                return None
        return result

    async def _connected(self, end: float) -> Connection:
        """The connection, made anew when it is gone. Until `end` it is tried again while the server can't be reached."""
        if self._connection is not None and alive(self._connection):
            return self._connection
        await self._dropped()
        while True:
            try:
                self._connection = await self._connect()
                return self._connection
            except psycopg.OperationalError as error:
                if time.monotonic() > end or final(error):
                    raise self._known(error) from error
                await asyncio.sleep(0.1)

    async def _dropped(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


def _answer(taken: Sequence[Asked], results: Sequence[Any]) -> None:
    for asked, result in zip(taken, results, strict=True):
        if asked.future.done():
            continue
        if isinstance(result, Exception):
            asked.future.set_exception(result)
        else:
            asked.future.set_result(result)


class Transaction:
    """A transaction for a tool's own writes and an append; see `turnout.ports.store.Transaction`."""

    def __init__(self, connection: Connection, known: Known, patience: float) -> None:
        self.connection = connection
        self._known = known
        self._patience = patience

    async def append(self, change: Append) -> None:
        end = time.monotonic() + self._patience
        while True:
            async with self.connection.transaction():  # refused or not: what the tool has written stays
                [result] = await write(self.connection, [change], self._known)
            if isinstance(result, Exception):
                raise result
            if result is not LOCKED:
                return
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"thread {change.thread!r} is locked in the database by somebody; try again"
                )
            await asyncio.sleep(0.002)


async def write(connection: Connection, changes: Sequence[Append], known: Known) -> list[Any]:
    """Write appends, in one transaction. What became of each: None, LOCKED, or the error it is refused with."""
    charged = [change for change in changes if change.charges]
    if not charged and all(batch.usual(change) for change in changes):
        done = {row[0] for row in await _steps(connection, changes)}
        return [await _result(connection, change, done, {}) for change in changes]
    refused: dict[str, Any] = {}
    try:
        async with connection.transaction():
            ledger = await Ledger.open(connection, charged) if charged else None
            kept = changes
            if ledger is not None:
                refused = dict(ledger.refused)
                kept = [change for change in changes if change.thread not in refused]
            plain = [change for change in kept if batch.usual(change)]
            rich = [change for change in kept if not batch.usual(change)]
            done = await _everything(connection, plain, rich)
            if ledger is not None and not await ledger.close(connection, done):
                refused = dict.fromkeys(refused, LOCKED)
    except pg.UniqueViolation as error:
        if len(changes) > 1:
            raise
        return [await _key_reused(connection, changes[0]) or known(error)]
    return [await _result(connection, change, done, refused) for change in changes]


async def _result(connection: Connection, change: Append, done: set[str], refused: dict[str, Any]) -> Any:
    if change.thread in refused:
        return refused[change.thread]
    return None if change.thread in done else await _refusal(connection, change)


async def _steps(connection: Connection, changes: Sequence[Append]) -> list[Any]:
    if len(changes) == 1 and len(changes[0].rows) <= 2:
        return await _run(connection, f"step_of_{len(changes[0].rows)}", batch.step(changes[0]))
    return await _run(connection, "steps", batch.steps(changes))


async def _everything(connection: Connection, plain: Sequence[Append], rich: Sequence[Append]) -> set[str]:
    others = {other for change in rich for other in change.wakes}
    if others:
        names = sorted({*others, *(change.thread for change in (*plain, *rich))})
        await _run(connection, "lock", [names])
    done = {row[0] for row in await _steps(connection, plain)} if plain else set()
    if not rich:
        return done
    woken = await _run(connection, "appends", batch.appends(rich))
    done |= {row[0] for row in woken}
    await postgres_outbox.write(connection, rich, done)
    told = {change.thread for change in rich if change.release or isinstance(change.wake, int)}
    due = [row for row in woken if row[0] in told]
    wakes = {other: change.at for change in rich if change.thread in done for other in change.wakes}
    if wakes:
        due += await _run(connection, "wake", [list(wakes), list(wakes.values())])
    await postgres_wakes.enqueue_due(connection, due, max(change.at for change in rich))
    return done


async def _refusal(connection: Connection, change: Append) -> Any:
    """Why an append was not written."""
    reused = await _key_reused(connection, change)
    if reused is not None:
        return reused
    found = await _run(connection, "thread", [change.thread])
    if not found:
        return HeadMoved(f"thread {change.thread!r} isn't there any more") if change.head else LOCKED
    row = ThreadRow(*found[0])
    if row.epoch != change.epoch:
        return StaleWriter(
            f"thread {change.thread!r} is in epoch {row.epoch} now (held by {row.owner or 'nobody'}); an append of epoch "
            f"{change.epoch} was refused"
        )
    if row.head != change.head or change.head == 0 or change.base:
        return HeadMoved(f"the journal of thread {change.thread!r} is at entry {row.head}, not {change.head}")
    return LOCKED


async def _key_reused(connection: Connection, change: Append) -> KeyReused | None:
    for key in change.keys:
        for name, thread, run, _ in await _run(connection, "key", [key.key]):
            return KeyReused(f"the idempotency key {name!r} was used for run {run} of thread {thread!r}")
    return None


async def _run(connection: Connection, name: str, values: Sequence[Any]) -> list[Any]:
    cursor = await AsyncRawCursor(connection).execute(SQL[name], values, binary=True)
    return await cursor.fetchall() if cursor.description else []
