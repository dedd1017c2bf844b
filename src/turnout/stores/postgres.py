"""The scale-out store: Postgres, for any number of processes on any machines.

All appends that a process makes at once go out in one statement and one commit: while one commit is under way, what
arrives forms the next batch. Reads and claims use a pool. Wake-ups go through PgQueuer, in the append's transaction.
When a connection is lost in the middle of an append, the digests of its entries tell on the next one whether it was
committed: see docs/adr/0024-postgres.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from turnout.core.budgets import Account, Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.core.notices import Notice, Rules
from turnout.errors import StoreUnavailable, TurnoutError
from turnout.ports.rows import (
    Append,
    Census,
    CostRow,
    HeadRow,
    KeyRow,
    Lease,
    LimitRow,
    NodeRow,
    OutboxRow,
    ReviewRow,
    Row,
    RunRow,
    ScheduleRow,
    TallyRow,
    ThreadRow,
    TokenRow,
)
from turnout.ports.store import Store
from turnout.stores import (
    ledger,
    postgres_budgets,
    postgres_claims,
    postgres_outbox,
    postgres_schema,
    postgres_wakes,
)
from turnout.stores.claims import Asked
from turnout.stores.postgres_connections import Connection, Connections, settings
from turnout.stores.postgres_errors import checked, lost, masked, translated
from turnout.stores.postgres_statements import run
from turnout.stores.postgres_writer import Transaction, Writer

log = logging.getLogger("turnout.store")
TIDY = 300.0
"""Seconds between two looks for wake-ups that nobody fetched."""
SettleClock = Callable[[Micros, int], None]
"""Told the server's time (microseconds since 1970) and this machine's steady time (nanoseconds) of that moment."""


class PostgresStore:
    """A store in the schema `turnout` of one Postgres database. It connects when it is first used."""

    exclusive = False
    notices: Callable[[], Rules | None] | None = None

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        patience: float = 10.0,
        pool: int = 8,
        clock: SettleClock | None = None,
    ) -> None:
        """`url` is what libpq takes: `postgresql://user:password@host:5432/database?sslmode=require`.

        `patience` (seconds) is how long a connection that was lost is sought again before `StoreUnavailable`; `pool`
        the number of connections for reads and claims, and as many again, when they are needed, for transactions of tools;
        beside them are one for appends and one for wake-ups.
        """
        self._conninfo = checked(url)
        self.url = masked(url)
        self._create = create
        self._patience = patience
        self._settle_clock = clock
        self._opening = asyncio.Lock()
        self._opened = False
        self._closed = False
        self._ahead = 0  # of this machine's steady clock, in microseconds
        self._may_write = False
        self._closing = asyncio.Event()
        self._appending = self._ears = 0
        self._writer = Writer(self._connect, self._known, patience)
        self._pool = Connections(url, patience, pool, self.url)
        # Who is in a transaction may have to read before it can append: then it must not wait for itself.
        self._transactions = Connections(url, patience, pool, f"transactions of {self.url}", least=0)

    # --- opening -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and see to the schema. Raises `StoreUnavailable`, `StoreNewer`."""
        async with self._opening:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if self._opened:
                return
            with self._translated():
                connection = await AsyncConnection.connect(self._conninfo, **self._settings())
                async with connection:
                    await postgres_schema.check(connection, self._conninfo, create=self._create)
                    await self._tell_time(connection)
                await self._pool.open()
                await self._transactions.open()
            self._opened = True

    async def migrate(self) -> list[str]:
        """Make the schema, or bring it up to date; returns the names of the migrations that were made."""
        with self._translated():
            connection = await AsyncConnection.connect(self._conninfo, **self._settings())
            async with connection:
                return await postgres_schema.migrate(connection, self._conninfo)

    def _settings(self) -> dict[str, Any]:
        return settings(self._conninfo, self._patience)

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(self._conninfo, **self._settings())

    async def _tell_time(self, connection: Connection) -> None:
        """Leases and due times are by the server's clock: a worker whose own is wrong must not take what others hold."""
        before = time.monotonic_ns()
        [(now,)] = await run(connection, "clock", [])
        steady = (before + time.monotonic_ns()) // 2
        self._ahead = now - steady // 1000
        if self._settle_clock is not None:
            self._settle_clock(now, steady)

    def _now(self) -> Micros:
        """What the server's clock says."""
        return time.monotonic_ns() // 1000 + self._ahead

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, PoolTimeout, UnicodeError) as error:
            raise translated(error, self._conninfo) from error

    def _known(self, error: Exception) -> TurnoutError:
        return translated(error, self._conninfo)

    @contextlib.asynccontextmanager
    async def _connection(self, patience: float | None = None) -> AsyncIterator[Connection]:
        if not self._opened or self._closed:
            await self.open()
        with self._translated():
            async with self._pool.lent(patience) as connection:
                yield connection

    async def _fetch(self, name: str, *values: Any, prepare: bool | None = None) -> list[Any]:
        """The rows of one statement, as `run` has them."""
        async with self._connection() as connection:
            return await run(connection, name, values, prepare=prepare)

    async def _look(self, name: str, *values: Any, prepare: bool | None = None) -> list[Any]:
        """The same for what only reads: when the connection is lost meanwhile, it is asked once more."""
        try:
            return await self._fetch(name, *values, prepare=prepare)
        except StoreUnavailable as error:
            if error.__cause__ is None or not lost(error.__cause__):
                raise
            return await self._fetch(name, *values, prepare=prepare)

    # --- writing -----------------------------------------------------------------------------------------------

    async def append(self, change: Append) -> None:
        self._appending += 1
        try:
            if not self._opened or self._closed:
                await self.open()
            await self._writer.append(change)
        finally:
            self._appending -= 1

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        if not self._opened or self._closed:
            await self.open()
        lent, ending = contextlib.AsyncExitStack(), False
        with self._translated():
            connection = await lent.enter_async_context(self._transactions.lent())
        async with lent:
            try:
                async with connection.transaction():
                    yield Transaction(connection, self._known, self._patience)
                    ending = True
                if connection.closed:  # psycopg leaves such a transaction without a word: it is not committed
                    raise psycopg.OperationalError("the connection was closed inside a transaction")
            except psycopg.Error as error:
                if ending or connection.closed:  # else it is the tool's own error
                    raise translated(error, self._conninfo) from error
                raise

    # --- who may write -----------------------------------------------------------------------------------------

    async def claim(
        self,
        worker: str,
        now: Micros,
        until: Micros,
        limit: int,
        graphs: Sequence[str] | None = None,
        thread: str = "",
        *,
        tries: int = 0,
        suspects: bool = True,
    ) -> list[Lease]:
        named = tuple(graphs) if graphs is not None else None
        asked = Asked(worker, now, limit, named, thread, tries, suspects, self.notices)
        if limit <= 0:
            return []
        async with self._connection() as connection:
            await self._check_rights(connection)
            return await postgres_claims.claim(connection, asked, until)

    async def _check_rights(self, connection: Connection) -> None:
        """Once: a worker that may only read would look for work, and find some, and never say that it can't take any."""
        if not self._may_write:
            [(self._may_write,)] = await run(connection, "may_write", [])
        if not self._may_write:
            raise psycopg.errors.InsufficientPrivilege("this role may only read in schema turnout")

    async def due(
        self, now: Micros, graphs: Sequence[str] | None = None, limit: int = 1, *, held: bool = True
    ) -> int:
        named = list(graphs) if graphs is not None else None
        [(count,)] = await self._look("count_due", now, named, limit, held)
        return int(count)

    async def renew(self, worker: str, threads: Sequence[Lease], until: Micros) -> list[Lease]:
        if not threads:
            return []
        held = await self._fetch(
            "renew", worker, until, [lease.thread for lease in threads], [lease.epoch for lease in threads]
        )
        return [lease for lease in threads if (lease.thread, lease.epoch) not in set(held)]

    async def release(self, lease: Lease, head: int, wake_at: Micros | None) -> bool:
        return bool(await self._wake("release", [lease.thread, lease.epoch, head, wake_at]))

    async def wake(self, threads: Sequence[str], at: Micros) -> None:
        if threads:
            names = sorted(set(threads))
            await self._wake("wake", [names, [at] * len(names)], lock=names)

    async def set_aside(
        self, threads: Sequence[str], reason: str, outbox: Sequence[Notice] = ()
    ) -> list[str]:
        async with self._connection() as connection:
            return await postgres_claims.set_aside(connection, threads, reason, outbox)

    async def take_back(self, threads: Sequence[str], at: Micros, outbox: Sequence[Notice] = ()) -> list[str]:
        done = await self._wake("take_back", [list(threads), at], lock=threads, outbox=outbox)
        return [thread for thread in threads if thread in done]

    async def _wake(
        self, name: str, values: Sequence[Any], lock: Sequence[str] = (), outbox: Sequence[Notice] = ()
    ) -> list[str]:
        """Run a statement that may make threads due, and enqueue their wake-ups and notices with it."""
        async with self._connection() as connection, connection.transaction():
            if lock:
                await run(connection, "lock", [list(lock)])
            rows = await run(connection, name, values)
            await postgres_wakes.enqueue_due(connection, rows, self._now())
            done = [row[0] for row in rows]
            await postgres_outbox.add(connection, [notice for notice in outbox if notice.thread in done])
        return done

    async def limits(self) -> list[LimitRow]:
        return [LimitRow(*row) for row in await self._look("limits")]

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        if at_once is None:
            await self._fetch("drop_limit", kind, name)
        else:
            await self._fetch("put_limit", kind, name, at_once)

    # --- reading -----------------------------------------------------------------------------------------------

    async def thread(self, thread: str) -> ThreadRow | None:
        found = await self._look("thread", thread)
        return ThreadRow(*found[0]) if found else None

    async def read(self, thread: str, after: int = 0, upto: int | None = None) -> list[Row]:
        row = await self.thread(thread)
        if row is None:
            return []
        last = row.head if upto is None else min(upto, row.head)
        shared: list[Row] = []
        if row.base_thread is not None and after < row.base_seq:
            shared = await self.read(row.base_thread, after, min(last, row.base_seq))
        return shared + [Row(thread, *r) for r in await self._look("read", thread, after, last)]

    async def values(self, addresses: Iterable[str]) -> dict[str, bytes]:
        wanted = list(addresses)
        return dict(await self._look("value", wanted)) if wanted else await self._nothing()

    async def _nothing(self) -> dict[str, bytes]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return {}

    async def snapshot(self, thread: str) -> tuple[int, bytes] | None:
        found = await self._look("snapshot", thread)
        return (found[0][0], found[0][1]) if found else None

    async def threads(
        self,
        *,
        graph: str = "",
        status: str = "",
        search: str = "",
        owner: str = "",
        tenant: str = "",
        aside: bool = False,
        since: Micros = 0,
        after: str = "",
        limit: int = 100,
    ) -> list[ThreadRow]:
        values = (after, graph, status, owner, search, tenant, aside, limit, since)
        return [ThreadRow(*row) for row in await self._look("threads", *values, prepare=False)]

    async def latest(
        self,
        *,
        graph: str = "",
        status: str = "",
        search: str = "",
        tenant: str = "",
        aside: bool = False,
        before: tuple[Micros, str] | None = None,
        limit: int = 100,
    ) -> list[ThreadRow]:
        values = (*(before or ((1 << 63) - 1, "")), graph, status, search, tenant, aside, limit)
        return [ThreadRow(*row) for row in await self._look("latest", *values, prepare=False)]

    async def tally(self, *, graph: str = "", search: str = "", tenant: str = "") -> list[TallyRow]:
        return [TallyRow(*row) for row in await self._look("tally", graph, search, tenant, prepare=False)]

    async def nodes(self, graph: str, sample: int = 200) -> list[NodeRow]:
        return [NodeRow(*row) for row in await self._look("nodes", graph, sample, prepare=False)]

    async def open_reviews(self, limit: int = 1000) -> int:
        return int((await self._look("open_reviews", limit))[0][0])

    async def closed_reviews(self, limit: int = 100) -> list[ReviewRow]:
        return [ReviewRow(*row) for row in await self._look("closed_reviews", limit)]

    async def held(self, limit: int = 1000) -> list[ThreadRow]:
        return [ThreadRow(*row) for row in await self._look("held_threads", limit)]

    async def census(self, now: Micros) -> Census:
        [counts] = await self._look("census", now)
        return Census(dict(await self._look("count_statuses")), *counts)

    async def runs(self, thread: str) -> list[RunRow]:
        return [RunRow(*row) for row in await self._look("runs", thread)]

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", after: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        found = await self._look("reviews", status, thread, review, limit, after, prepare=False)
        return [ReviewRow(*row) for row in found]

    async def key(self, key: str) -> KeyRow | None:
        found = await self._look("key", key)
        return KeyRow(*found[0]) if found else None

    async def keys(self, thread: str) -> list[KeyRow]:
        return [KeyRow(*row) for row in await self._look("keys", thread)]

    async def heads(self, thread: str = "") -> list[HeadRow]:
        return [HeadRow(*row) for row in await self._look("heads", thread, prepare=False)]

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        return [(row[0], row[1]) for row in await self._look("strays", thread, prepare=False)]

    # --- schedules ---------------------------------------------------------------------------------------------

    async def schedules(self, *, name: str = "", graph: str = "") -> list[ScheduleRow]:
        return [_schedule(row) for row in await self._look("schedules", name, graph, prepare=False)]

    async def due_schedules(self, now: Micros, graphs: Sequence[str], limit: int = 100) -> list[ScheduleRow]:
        return [_schedule(row) for row in await self._look("due_schedules", now, list(graphs), limit)]

    async def put_schedule(self, row: ScheduleRow) -> None:
        await self._fetch("put_schedule", *_columns(row))

    async def move_schedule(self, row: ScheduleRow, was: ScheduleRow) -> bool:
        return bool(await self._fetch("move_schedule", *_columns(row), was.next_at, was.updated_at))

    async def drop_schedule(self, name: str) -> bool:
        return bool(await self._fetch("drop_schedule", name))

    # --- the outbox --------------------------------------------------------------------------------------------

    async def outbox(
        self, *, status: str = "", tenant: str = "", notice: str = "", after: tuple[Micros, str] | None = None,
        limit: int = 100,
    ) -> list[OutboxRow]:  # fmt: skip
        values = (status, tenant, notice, limit, *(after or ((1 << 63) - 1, "")))
        found = await self._look("outbox", *values, prepare=False)
        return [postgres_outbox.row(row) for row in found]

    async def count_outbox(self) -> dict[str, int]:
        return dict(await self._look("count_outbox"))

    async def claim_outbox(
        self, owner: str, channel: str, now: Micros, until: Micros, limit: int
    ) -> list[OutboxRow]:
        async with self._connection() as connection:
            return await postgres_outbox.take(connection, owner, channel, now, until, limit)

    async def settle_outbox(self, row: OutboxRow, owner: str) -> bool:
        async with self._connection() as connection:
            return await postgres_outbox.settle(connection, row, owner)

    async def resend_outbox(
        self, at: Micros, notices: Sequence[str] | None = None, tenant: str = ""
    ) -> list[str]:
        async with self._connection() as connection:
            return await postgres_outbox.resend(connection, at, notices, tenant)

    async def forget_outbox(self, before: Micros) -> int:
        async with self._connection() as connection:
            cursor = await AsyncRawCursor(connection).execute(postgres_outbox.SQL["forget"], [before])
            return len(await cursor.fetchall())

    # --- budgets -----------------------------------------------------------------------------------------------

    async def budgets(self) -> list[Budget]:
        return [ledger.budget(row[0]) for row in await self._look("budgets.budgets")]

    async def put_budget(self, budget: Budget, at: Micros = 0) -> None:
        async with self._connection() as connection, connection.transaction():
            await postgres_budgets.put_budget(connection, budget, at)

    async def drop_budget(self, name: str) -> bool:
        return bool(await self._fetch("budgets.drop_budget", name))

    async def accounts(self, budget: str = "", *, limit: int = 100) -> list[Account]:
        found = await self._look("budgets.accounts", budget, limit, prepare=False)
        return [ledger.account(row) for row in found]

    async def charges(self, thread: str) -> list[ChargeRow]:
        return [ledger.charge(row) for row in await self._look("budgets.charges", thread)]

    async def book(self, rows: Sequence[ChargeRow]) -> None:
        async with self._connection() as connection, connection.transaction():
            await postgres_budgets.book(connection, rows)

    async def costs(
        self, by: str, since: Micros = 0, *, graph: str = "", tenant: str = "", thread: str = ""
    ) -> list[CostRow]:
        found = await self._look("budgets.costs", by, since, graph, tenant, thread, prepare=False)
        return [ledger.cost(row) for row in found]

    # --- who may come in ---------------------------------------------------------------------------------------

    async def tokens(self, *, token: str = "", kind: str = "", limit: int = 1000) -> list[TokenRow]:
        return [TokenRow(*row) for row in await self._look("tokens", token, kind, limit)]

    async def put_token(self, row: TokenRow) -> None:
        await self._fetch("put_token", *astuple(row))

    async def revoke_token(self, token: str, at: Micros) -> bool:
        return bool(await self._fetch("revoke_token", token, at))

    async def forget_sessions(self, before: Micros) -> int:
        return len(await self._fetch("forget_sessions", before))

    def within(self, tenant: str) -> Store:
        from turnout.stores.postgres_tenants import PostgresTenant

        return PostgresTenant(self, tenant)

    async def put_own_schedule(self, row: ScheduleRow) -> bool:
        """Write a schedule, unless that name is another tenant's: then False."""
        return bool(await self._fetch("put_own_schedule", *_columns(row)))

    async def drop_own_schedule(self, name: str, tenant: str) -> bool:
        """Forget a schedule, unless it is another tenant's: then False."""
        return bool(await self._fetch("drop_own_schedule", name, tenant))

    async def fetch_within(
        self, tenant: str, name: str, *values: Any, prepare: bool | None = None
    ) -> list[Any]:
        """The rows of one statement that are the tenant's. Raises `StoreUnavailable`, also when the role that sees to it
        is missing."""
        async with self._connection() as connection, connection.transaction():
            try:
                await run(connection, "narrow", [tenant])
            except (pg.InvalidParameterValue, pg.InsufficientPrivilege) as error:
                raise StoreUnavailable(
                    f"the database can't keep tenants apart yet ({error.diag.message_primary}); have a superuser run "
                    f"SELECT turnout.admit_tenants('ROLE'), with the role that Turnout connects as"
                ) from None
            return await run(connection, name, values, prepare=prepare)

    # --- hearing of what others did ----------------------------------------------------------------------------

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        if not self._opened or self._closed:
            await self.open()
        with self._translated():
            listener = await self._connect()
        tasks = [
            asyncio.create_task(postgres_wakes.hear(self._connection, listener, worker, graphs, heard)),
            asyncio.create_task(self._tidy()),
            asyncio.create_task(self._closing.wait()),
        ]
        self._ears += 1
        try:
            with self._translated():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            raise StoreUnavailable("the store is closed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=postgres_wakes.ENDING)
            await listener.close()
            self._ears -= 1

    async def _tidy(self) -> None:
        """Now and then: forget wake-ups that nobody fetched, and ask the server what time it is."""
        while True:
            with contextlib.suppress(TurnoutError, psycopg.Error):
                async with self._connection() as connection:
                    await self._tell_time(connection)
                    await run(connection, "forget_wakes", [])
                    await run(connection, "forget_wake_log", [])
            await asyncio.sleep(TIDY)

    def changed(self) -> int:
        """Postgres doesn't tell whether somebody has written: who waits for another process looks four times a second."""
        return int(time.monotonic() * 4)

    async def close(self) -> None:
        if self._closed:
            return
        self._closing.set()
        while self._appending or self._ears:  # what was begun is finished
            await asyncio.sleep(0.001)
        self._closed = True
        async with self._opening:  # it may be opening at this moment
            await self._writer.close()
            if self._opened:
                await self._pool.close()
                await self._transactions.close()


def _schedule(row: Sequence[Any]) -> ScheduleRow:
    return ScheduleRow(*row)


def _columns(row: ScheduleRow) -> list[Any]:
    return [
        row.name, row.graph, row.input, row.cron, row.zone, row.at, row.missed, row.overlap, row.paused, row.next_at,
        row.created_at, row.updated_at, row.last_at, row.last_thread, row.note, row.by, row.tenant, row.priority,
    ]  # fmt: skip
