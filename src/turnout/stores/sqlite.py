"""The embedded store: one SQLite file in WAL mode, `synchronous=FULL`, and one commit for all who append at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from turnout.core.budgets import Account, Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.core.notices import Notice, Rules
from turnout.errors import (
    StoreUnavailable,
)
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
from turnout.stores import sqlite_budgets as budgeted
from turnout.stores import sqlite_claims as claims
from turnout.stores import sqlite_outbox as outgoing
from turnout.stores import sqlite_schedules as scheduled
from turnout.stores import sqlite_writes as writes
from turnout.stores.claims import Asked
from turnout.stores.lane import Lane
from turnout.stores.sqlite_errors import in_our_words
from turnout.stores.sqlite_guard import ToolConnection
from turnout.stores.sqlite_moving import SQL as MOVING
from turnout.stores.sqlite_opening import Opening, connected
from turnout.stores.sqlite_transactions import SqliteTransaction
from turnout.stores.sqlite_writer import SqliteWriter
from turnout.stores.sqlite_writes import SQL
from turnout.stores.statements import statements

if TYPE_CHECKING:
    from turnout.stores.sqlite_tenants import TenantReader

ACCESS = statements("sqlite_access.sql")
OVERVIEW = statements("sqlite_overview.sql")
T = TypeVar("T")
C = TypeVar("C", bound=sqlite3.Connection)
_memories = itertools.count(1)


class SqliteStore:
    """A store in one SQLite file, or in memory (`sqlite://`)."""

    exclusive = True
    notices: Callable[[], Rules | None] | None = None

    def __init__(self, path: str, *, create: bool = True, patience: float = 10.0) -> None:
        """Open `path`. `patience` is how long (seconds) to wait for another process's lock.

        Raises `StoreUnavailable` (no such file and not `create`, not writable, locked), `StoreDamaged` (not a
        Turnout database) or `StoreNewer`.
        """
        self.path = path
        self.url = f"sqlite:///{path}" if path != ":memory:" else "sqlite://"
        self._patience = patience
        self._closed = False
        self._read_lock = threading.Lock()
        self._memory = path == ":memory:"
        # In memory a transaction has a connection of its own, too: hence a name that this process can open twice.
        self._address = f"file:/turnout-{next(_memories)}?vfs=memdb" if self._memory else path
        if not self._memory and not create and not Path(path).exists():
            raise StoreUnavailable(
                f"there is no store at {path}; name another one with --store URL or TURNOUT_STORE"
            )
        with in_our_words(path):
            db = self._connect(sqlite3.Connection, patience)
            try:
                Opening(db, path, patience).prepare()
            except BaseException:
                db.close()
                raise
            self._reader = db if self._memory else self._connect(sqlite3.Connection, patience)
            db.execute("PRAGMA busy_timeout = 0")
        self._writer = SqliteWriter(
            db, path, patience, memory=self._memory, lend=lambda: self._connect(ToolConnection, 0)
        )
        self._reads = self._writer.lane if self._memory else Lane(f"turnout-reader {path}")
        self._tenants: TenantReader | None = None

    # --- opening ----------------------------------------------------------------------------------------------

    def _connect(self, kind: type[C], patience: float) -> C:
        return connected(self._address, self.path, kind, patience)

    async def open(self) -> None:
        """It is open: a file needs no waiting for."""

    # --- writing ----------------------------------------------------------------------------------------------

    async def append(self, change: Append) -> None:
        await self._write(lambda db: writes.append(db, change, self._writer.numbers))

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
        seen = self._read(lambda db: claims.plan(db, asked))
        if not seen:  # a look costs no lock and no commit
            return []
        return await self._write(lambda db: claims.claim(db, asked, until, seen))

    async def renew(self, worker: str, threads: Sequence[Lease], until: Micros) -> list[Lease]:
        def job(db: sqlite3.Connection) -> list[Lease]:
            lost = []
            for lease in threads:
                values = {"until": until, "thread": lease.thread, "epoch": lease.epoch, "worker": worker}
                if db.execute(SQL["renew"], values).rowcount == 0:
                    lost.append(lease)
            return lost

        return await self._write(job) if threads else []

    async def release(self, lease: Lease, head: int, wake_at: Micros | None) -> bool:
        values = {"thread": lease.thread, "epoch": lease.epoch, "head": head, "wake_at": wake_at}
        return await self._write(lambda db: db.execute(SQL["release"], values).rowcount == 1)

    async def wake(self, threads: Sequence[str], at: Micros) -> None:
        def job(db: sqlite3.Connection) -> None:
            db.executemany(SQL["wake"], [{"thread": thread, "at": at} for thread in threads])

        if threads:
            await self._write(job)

    async def due(
        self, now: Micros, graphs: Sequence[str] | None = None, limit: int = 1, *, held: bool = True
    ) -> int:
        return self._read(lambda db: claims.due(db, now, graphs, limit, held))

    async def set_aside(
        self, threads: Sequence[str], reason: str, outbox: Sequence[Notice] = ()
    ) -> list[str]:
        return await self._write(lambda db: claims.set_aside(db, threads, reason, outbox)) if threads else []

    async def take_back(self, threads: Sequence[str], at: Micros, outbox: Sequence[Notice] = ()) -> list[str]:
        return await self._write(lambda db: claims.take_back(db, threads, at, outbox)) if threads else []

    async def limits(self) -> list[LimitRow]:
        return self._read(claims.limits)

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        await self._write(lambda db: claims.put_limit(db, kind, name, at_once))

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.write(job)

    def transaction(self) -> contextlib.AbstractAsyncContextManager[SqliteTransaction]:
        return self._writer.transaction()

    # --- reading ----------------------------------------------------------------------------------------------

    async def thread(self, thread: str) -> ThreadRow | None:
        found = self._one(SQL["thread"], (thread,))
        return ThreadRow(*found[0]) if found else None

    async def read(self, thread: str, after: int = 0, upto: int | None = None) -> list[Row]:
        row = await self.thread(thread)
        if row is None:
            return []
        last = row.head if upto is None else min(upto, row.head)
        shared: list[Row] = []
        if row.base_thread is not None and after < row.base_seq:
            shared = await self.read(row.base_thread, after, min(last, row.base_seq))
        values = {"thread": thread, "after": after, "upto": last}
        if last - after > 200:
            found = await self._elsewhere(lambda: self._one(SQL["read"], values))
        else:
            found = self._one(SQL["read"], values)
        return shared + [Row(thread, *r) for r in found]

    async def values(self, addresses: Iterable[str]) -> dict[str, bytes]:
        wanted = list(addresses)
        found: dict[str, bytes] = {}
        for i in range(0, len(wanted), 500):
            found.update(self._one(SQL["value"], (msgspec.json.encode(wanted[i : i + 500]).decode(),)))
        return found

    async def snapshot(self, thread: str) -> tuple[int, bytes] | None:
        found = self._one(SQL["snapshot"], (thread,))
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
        values = {
            "graph": graph,
            "status": status,
            "search": search,
            "owner": owner,
            "tenant": tenant,
            "aside": aside,
            "since": since,
            "after": after,
            "limit": limit,
        }
        name = "threads_of_owner" if owner else ("threads_aside" if aside else "threads")
        return [ThreadRow(*r) for r in await self._elsewhere(lambda: self._one(SQL[name], values))]

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
        at, name = before or ((1 << 63) - 1, "")
        values = {
            "graph": graph, "status": status, "search": search, "tenant": tenant, "aside": aside, "at": at,
            "before": name, "limit": limit,
        }  # fmt: skip
        return [ThreadRow(*r) for r in await self._elsewhere(lambda: self._one(OVERVIEW["latest"], values))]

    async def tally(self, *, graph: str = "", search: str = "", tenant: str = "") -> list[TallyRow]:
        values = {"graph": graph, "search": search, "tenant": tenant}
        found = await self._elsewhere(lambda: self._one(OVERVIEW["tally"], values))
        return [TallyRow(name, version, status, bool(aside), n) for name, version, status, aside, n in found]

    async def nodes(self, graph: str, sample: int = 200) -> list[NodeRow]:
        values = {"graph": graph, "sample": sample}
        return [NodeRow(*r) for r in await self._elsewhere(lambda: self._one(OVERVIEW["nodes"], values))]

    async def open_reviews(self, limit: int = 1000) -> int:
        return int(self._one(OVERVIEW["open_reviews"], (limit,))[0][0])

    async def closed_reviews(self, limit: int = 100) -> list[ReviewRow]:
        found = await self._elsewhere(lambda: self._one(OVERVIEW["closed_reviews"], (limit,)))
        return [ReviewRow(*r) for r in found]

    async def held(self, limit: int = 1000) -> list[ThreadRow]:
        return [ThreadRow(*r) for r in self._one(SQL["held"], (limit,))]

    async def census(self, now: Micros) -> Census:
        def look() -> Census:
            [counts] = self._one(SQL["census"], {"now": now})
            return Census(dict(self._one(SQL["count_statuses"], ())), *counts)

        return await self._elsewhere(look)

    async def runs(self, thread: str) -> list[RunRow]:
        return [RunRow(*r) for r in self._one(SQL["runs"], (thread,))]

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", after: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        values = {"status": status, "thread": thread, "review": review, "after": after, "limit": limit}
        return [ReviewRow(*r) for r in await self._elsewhere(lambda: self._one(SQL["reviews"], values))]

    async def key(self, key: str) -> KeyRow | None:
        found = self._one(SQL["key"], (key,))
        return KeyRow(*found[0]) if found else None

    async def keys(self, thread: str) -> list[KeyRow]:
        return [KeyRow(*r) for r in self._one(MOVING["keys"], (thread,))]

    async def heads(self, thread: str = "") -> list[HeadRow]:
        return [HeadRow(*r) for r in self._one(SQL["heads"], {"thread": thread})]

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        return await self._elsewhere(lambda: self._one(SQL["strays"], {"thread": thread}))

    # --- schedules --------------------------------------------------------------------------------------------

    async def schedules(self, *, name: str = "", graph: str = "") -> list[ScheduleRow]:
        found = self._one(scheduled.SQL["schedules"], {"name": name, "graph": graph})
        return [scheduled.row(r) for r in found]

    async def due_schedules(self, now: Micros, graphs: Sequence[str], limit: int = 100) -> list[ScheduleRow]:
        found = self._one(scheduled.SQL["due"], scheduled.due(now, graphs, limit))
        return [scheduled.row(r) for r in found]

    async def put_schedule(self, row: ScheduleRow) -> None:
        await self._write(lambda db: scheduled.put(db, row))

    async def move_schedule(self, row: ScheduleRow, was: ScheduleRow) -> bool:
        return await self._write(lambda db: scheduled.move(db, row, was))

    async def drop_schedule(self, name: str) -> bool:
        return await self._write(lambda db: scheduled.drop(db, name))

    # --- the outbox -------------------------------------------------------------------------------------------

    async def outbox(
        self, *, status: str = "", tenant: str = "", notice: str = "", after: tuple[Micros, str] | None = None,
        limit: int = 100,
    ) -> list[OutboxRow]:  # fmt: skip
        at, last = after or ((1 << 63) - 1, "")
        values = {"status": status, "tenant": tenant, "id": notice, "at": at, "after": last, "limit": limit}
        found = await self._elsewhere(lambda: self._one(outgoing.SQL["list"], values))
        return [outgoing.row(r) for r in found]

    async def count_outbox(self) -> dict[str, int]:
        return dict(await self._elsewhere(lambda: self._one(outgoing.SQL["count"], ())))

    async def claim_outbox(
        self, owner: str, channel: str, now: Micros, until: Micros, limit: int
    ) -> list[OutboxRow]:
        if not self._read(lambda db: outgoing.waits(db, channel, now)):  # a look costs no lock and no commit
            return []
        return await self._write(lambda db: outgoing.take(db, owner, channel, now, until, limit))

    async def settle_outbox(self, row: OutboxRow, owner: str) -> bool:
        return await self._write(lambda db: outgoing.settle(db, row, owner))

    async def resend_outbox(
        self, at: Micros, notices: Sequence[str] | None = None, tenant: str = ""
    ) -> list[str]:
        return await self._write(lambda db: outgoing.resend(db, at, notices, tenant))

    async def forget_outbox(self, before: Micros) -> int:
        return await self._write(lambda db: db.execute(outgoing.SQL["forget"], (before,)).rowcount)

    # --- budgets ----------------------------------------------------------------------------------------------

    async def budgets(self) -> list[Budget]:
        return self._read(budgeted.budgets)

    async def put_budget(self, budget: Budget, at: Micros = 0) -> None:
        await self._write(lambda db: budgeted.put_budget(db, budget, at))

    async def drop_budget(self, name: str) -> bool:
        return await self._write(lambda db: budgeted.drop_budget(db, name))

    async def accounts(self, budget: str = "", *, limit: int = 100) -> list[Account]:
        return self._read(lambda db: budgeted.accounts(db, budget, limit))

    async def charges(self, thread: str) -> list[ChargeRow]:
        return await self._elsewhere(lambda: self._read(lambda db: budgeted.charges(db, thread)))

    async def book(self, rows: Sequence[ChargeRow]) -> None:
        await self._write(lambda db: budgeted.book(db, rows))

    async def costs(
        self, by: str, since: Micros = 0, *, graph: str = "", tenant: str = "", thread: str = ""
    ) -> list[CostRow]:
        def job(db: sqlite3.Connection) -> list[CostRow]:
            return budgeted.costs(db, by, since, graph, tenant, thread)

        return await self._elsewhere(lambda: self._read(job))

    # --- who may come in --------------------------------------------------------------------------------------

    async def tokens(self, *, token: str = "", kind: str = "", limit: int = 1000) -> list[TokenRow]:
        values = {"token": token, "kind": kind, "limit": limit}
        return [TokenRow(*r) for r in self._one(ACCESS["tokens"], values)]

    async def put_token(self, row: TokenRow) -> None:
        await self._write(lambda db: db.execute(ACCESS["put_token"], asdict(row)))

    async def revoke_token(self, token: str, at: Micros) -> bool:
        values = {"token": token, "at": at}
        return await self._write(lambda db: db.execute(ACCESS["revoke_token"], values).rowcount == 1)

    async def forget_sessions(self, before: Micros) -> int:
        values = {"before": before}
        return await self._write(lambda db: db.execute(ACCESS["forget_sessions"], values).rowcount)

    def within(self, tenant: str) -> Store:
        from turnout.stores.sqlite_tenants import SqliteTenant

        return SqliteTenant(self, tenant)

    def read_within(self, tenant: str, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` finds on a connection that shows only what is the tenant's."""
        from turnout.stores.sqlite_tenants import TenantReader

        if self._closed:
            raise StoreUnavailable("the store is closed")
        with in_our_words(self.path):
            if self._tenants is None:
                self._tenants = TenantReader(self._connect(sqlite3.Connection, self._patience))
            return self._tenants.read(tenant, job)

    async def put_own_schedule(self, row: ScheduleRow) -> bool:
        """Write a schedule, unless that name is another tenant's: then False."""
        return await self._write(lambda db: scheduled.put_own(db, row))

    async def drop_own_schedule(self, name: str, tenant: str) -> bool:
        """Forget a schedule, unless it is another tenant's: then False."""
        return await self._write(lambda db: scheduled.drop_own(db, name, tenant))

    # --- hearing of what others did ---------------------------------------------------------------------------

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        seen = self.changed()
        while True:
            await asyncio.sleep(poll)
            if self._closed:
                raise StoreUnavailable("the store is closed")
            now = self.changed()
            if now != seen:
                seen = now
                heard("")

    def changed(self) -> int:
        return self._writer.changed()

    def _one(self, sql: str, values: Any) -> list[Any]:
        return self._read(lambda db: db.execute(sql, values).fetchall())

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        with self._read_lock, in_our_words(self.path):
            if self._writer.lent is None:
                return job(self._reader)
            with self._writer.lent.own() as db:
                return job(db)

    async def _elsewhere(self, job: Callable[[], T]) -> T:
        """Run a read that may be long off the event loop."""
        return job() if self._memory else await self._reads.run(job)

    async def close(self) -> None:
        if self._closed:
            return
        await self._writer.rest()
        self._closed = True
        self._reads.stop()
        if self._tenants is not None:
            self._tenants.close()
        with self._read_lock:
            if not self._memory:
                self._reader.close()
            with contextlib.suppress(sqlite3.Error):
                self._writer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.db.close()
