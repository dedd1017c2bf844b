"""Wake-ups through PgQueuer: a job for every thread that somebody should look at, enqueued in the transaction of the
entry that is the cause.

A job is a hint. It goes to who holds the thread, else to any worker that has the thread's graph; it may come twice, or
be lost with its worker, for a worker also looks every now and then what is due. So the queue's tables are unlogged.

PgQueuer's own psycopg driver listens and asks on one connection, where a question waits up to a second for the listener
to let go (measured; docs/adr/0024-postgres.md). Hence a driver of our own: it listens on one connection and asks on
those of the pool.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from psycopg import AsyncRawCursor, sql
from psycopg.rows import dict_row

from turnout.core.entries import Micros
from turnout.stores.postgres_connections import Connection

Lent = Callable[[float | None], AbstractAsyncContextManager[Connection]]
"""Lends a connection; given how many seconds to wait for one (None: as long as usual)."""
NAMES = DBSettings(
    prefix="", db_schema="turnout", channel=Channel("turnout_wakes"), function="pgqueuer_changed", queue_table="pgqueuer",
    queue_table_log="pgqueuer_log", statistics_table="pgqueuer_statistics", schedules_table="pgqueuer_schedules",
    queue_status_type="pgqueuer_status", trigger="pgqueuer_changed", durability=Durability.volatile,
)  # fmt: skip
ENQUEUE = QueryQueueBuilder(NAMES).build_enqueue_query()
LOOK = timedelta(seconds=5)
"""How often the queue is asked although no notice came."""
SOON = 1_000_000
"""Microseconds: a thread that is due so soon counts as due (clocks differ); who hears of it too early looks again."""
ENDING = 3.0
"""Seconds that the queue's own tasks are given to end."""
KEEP_ALIVE = timedelta(seconds=30)


async def install(connection: Connection) -> None:
    """PgQueuer's tables, in the schema `turnout`."""
    await connection.execute(QueryBuilderEnvironment(NAMES).build_install_query(create_schema=False))


def place(graph: str, owner: str) -> str:
    """The queue that a wake-up of a thread goes into: its holder's, else that of its graph."""
    return f"worker {owner}" if owner else f"graph {graph}"


async def enqueue(connection: Connection, woken: Iterable[tuple[str, str, str]]) -> None:
    """Enqueue wake-ups (thread, graph, owner) in the transaction that `connection` is in."""
    found = list(woken)
    count = len(found)
    values: list[Any] = [
        [0] * count, [place(graph, owner) for _, graph, owner in found], [thread.encode() for thread, _, _ in found],
        [timedelta(0)] * count, [None] * count, [None] * count,
    ]  # fmt: skip
    if found:
        await AsyncRawCursor(connection).execute(ENQUEUE, values)


async def enqueue_due(
    connection: Connection, rows: Iterable[tuple[str, str, str, int | None]], now: Micros
) -> None:
    """The same for those of `rows` (thread, graph, owner, wake_at) that are due by `now`, which is by the server's clock:
    that of this machine may be wrong."""
    due = [(thread, graph, owner) for thread, graph, owner, at in rows if at is not None and at <= now + SOON]
    await enqueue(connection, due)


class PoolDriver:
    """PgQueuer's port to the database: questions go to the pool, notices come in on a connection of their own.

    That one has to listen before PgQueuer starts: the first thing it does is to send a notice to itself, and when that
    isn't heard within ten seconds it gives up. (With questions on a pool the notice is quicker than its own LISTEN.)
    """

    def __init__(self, lent: Lent, listener: Connection) -> None:
        self._lent = lent
        self._listener = listener
        self._callbacks: list[Callable[[str | bytes | bytearray], None]] = []
        self._early: list[str] = []  # notices that came before somebody wanted them
        self.ending = False
        self.shutdown = asyncio.Event()
        self.tm = TaskManager()

    def _connection(self) -> AbstractAsyncContextManager[Connection]:
        """On the way out PgQueuer says what it has done, several times if need be: that mustn't hold up the process."""
        return self._lent(0.5 if self.ending else None)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async with self._connection() as connection:
            cursor = AsyncRawCursor(connection, row_factory=dict_row)
            await cursor.execute(query, args or None)
            return await cursor.fetchall()

    async def execute(self, query: str, *args: object) -> str:
        async with self._connection() as connection:
            cursor = AsyncRawCursor(connection)
            await cursor.execute(query, args or None)
            return cursor.statusmessage or ""

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def listen(self, channel: str) -> None:
        await self._listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

    async def add_listener(self, channel: str, callback: Callable[[str | bytes | bytearray], None]) -> None:
        """There is one channel, and `listen` has begun already."""
        self._callbacks.append(callback)
        early, self._early = self._early, []
        for payload in early:
            callback(payload)

    async def watch(self) -> None:
        """Hand on what arrives, until the connection is lost."""
        async for note in self._listener.notifies():
            if not self._callbacks:
                self._early.append(note.payload)
            for callback in self._callbacks:
                callback(note.payload)

    async def __aenter__(self) -> PoolDriver:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shutdown.set()


async def hear(
    lent: Lent,
    listener: Connection,
    worker: str,
    graphs: Sequence[str],
    heard: Callable[[str], None],
) -> None:
    """Call `heard(thread)` for the wake-ups of this worker's threads and graphs. Ends only with an error."""
    driver = PoolDriver(lent, listener)
    queries = Queries(
        driver, QueryBuilderEnvironment(NAMES), QueryQueueBuilder(NAMES), QuerySchedulerBuilder(NAMES)
    )
    manager = QueueManager(queries, channel=NAMES.channel)
    manager.queue_manager_id = uuid.uuid4()  # type: ignore[assignment]

    async def look(job: Job) -> None:
        heard((job.payload or b"").decode())

    for queue in [place("", worker), *(place(graph, "") for graph in graphs)]:
        manager.entrypoint(queue)(look)
    await driver.listen(NAMES.channel)
    watching = asyncio.create_task(driver.watch())
    running = asyncio.create_task(
        manager.run(
            dequeue_timeout=LOOK,
            batch_size=20,
            shutdown_on_listener_failure=True,
            heartbeat_timeout=KEEP_ALIVE,
        )
    )
    try:
        done, _ = await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        driver.ending = True
        manager.shutdown.set()
        running.cancel()
        watching.cancel()
        await asyncio.wait({running, watching}, timeout=ENDING)
