"""The embedded store: one SQLite file in WAL mode, `synchronous=FULL`, and one commit for all who append at once.

Where a commit takes long (a disk that really syncs) it runs on a writer thread: appends are gathered for one turn of
the event loop and committed together, and what arrives meanwhile forms the next batch. Where a commit is quicker than
handing it to a thread and back (a memory file system) it runs in place. Which of the two is measured, not configured: see
docs/adr/0003-group-commit.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from turnout.core.budgets import Account, Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.core.notices import Notice, Rules
from turnout.errors import (
    StoreError,
    StoreUnavailable,
    TurnoutError,
)
from turnout.ports.store import (
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
    Store,
    TallyRow,
    ThreadRow,
    TokenRow,
)
from turnout.stores import sqlite_budgets as budgeted
from turnout.stores import sqlite_claims as claims
from turnout.stores import sqlite_outbox as outgoing
from turnout.stores import sqlite_schedules as scheduled
from turnout.stores import sqlite_writes as writes
from turnout.stores.claims import Asked
from turnout.stores.lane import Lane
from turnout.stores.sqlite_errors import translated
from turnout.stores.sqlite_guard import ToolConnection
from turnout.stores.sqlite_moving import SQL as MOVING
from turnout.stores.sqlite_opening import Opening, connected
from turnout.stores.sqlite_transactions import SqliteTransaction, begun
from turnout.stores.sqlite_writes import SQL
from turnout.stores.statements import statements

if TYPE_CHECKING:
    from turnout.stores.sqlite_tenants import TenantReader

ACCESS = statements("sqlite_access.sql")
OVERVIEW = statements("sqlite_overview.sql")
T = TypeVar("T")
C = TypeVar("C", bound=sqlite3.Connection)
QUICK = 200e-6
"""Seconds: a commit that is quicker than this isn't worth the hand-over to a thread and back (about 100e-6)."""
BEARABLE = 1e-3
"""Seconds for which the event loop may be held up by a single append that nobody could share a commit with."""
Job = Callable[[sqlite3.Connection], Any]
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
        self._queue: list[tuple[Job, asyncio.Future[Any]]] = []
        self._turns: collections.deque[asyncio.Future[None]] = collections.deque()  # transactions that wait
        self._lent: SqliteTransaction | None = (
            None  # in memory: the open one, beside which nobody else can read
        )
        self._flushing = False  # a batch is being committed, or a transaction is open
        self._typical = 0.0  # seconds a commit takes, a running mean; the first one is made in place, to know
        self._closed = False
        self._read_lock = threading.Lock()
        memory = path == ":memory:"
        # In memory a transaction has a connection of its own, too: hence a name that this process can open twice.
        self._address = f"file:/turnout-{next(_memories)}?vfs=memdb" if memory else path
        if not memory and not create and not Path(path).exists():
            raise StoreUnavailable(
                f"there is no store at {path}; name another one with --store URL or TURNOUT_STORE"
            )
        with self._translated():
            self._writer = self._connect(sqlite3.Connection, self._patience)
            try:
                Opening(self._writer, path, patience).prepare()
            except BaseException:
                self._writer.close()
                raise
            self._reader = self._writer if memory else self._connect(sqlite3.Connection, self._patience)
            self._writer.execute("PRAGMA busy_timeout = 0")
        self._file = None if memory else _identity(path)
        self._seen = 0  # what `changed` says: the version of the data as the writer saw it last
        self._numbers: dict[str, int] = {}  # of threads; emptied when a transaction is taken back
        self._thread = Lane(f"turnout-writer {path}")
        self._reads = Lane(f"turnout-reader {path}") if not memory else self._thread
        self._in_place = memory
        self._tenants: TenantReader | None = None

    # --- opening ----------------------------------------------------------------------------------------------

    def _connect(self, kind: type[C], patience: float) -> C:
        return connected(self._address, self.path, kind, patience)

    @contextlib.contextmanager
    def _translated(self) -> Any:
        """SQLite's errors in our words, each saying what to do."""
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeError) as error:  # the latter two: a value it can't have
            raise translated(error, self.path) from error

    async def open(self) -> None:
        """It is open: a file needs no waiting for."""

    # --- writing ----------------------------------------------------------------------------------------------

    async def append(self, change: Append) -> None:
        await self._write(lambda db: writes.append(db, change, self._numbers))

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

    async def take_back(self, threads: Sequence[str], at: Micros) -> list[str]:
        return await self._write(lambda db: claims.take_back(db, threads, at)) if threads else []

    async def limits(self) -> list[LimitRow]:
        return self._read(claims.limits)

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        await self._write(lambda db: claims.put_limit(db, kind, name, at_once))

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not self._flushing and (self._in_place or self._typical < QUICK):
            results = self._commit([job], wait=self._in_place)
            if results is not None:
                if isinstance(results[0], Exception):
                    raise results[0]
                return results[0]  # type: ignore[no-any-return]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((job, future))
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush, loop)
        return await future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit what has gathered: on the writer thread, or in place if it is one append that won't take long."""
        batch, self._queue = self._queue, []
        if len(batch) == 1 and self._typical < BEARABLE:
            results = self._commit([batch[0][0]], wait=False)
            if results is not None:
                self._settle(batch, results)
                self._go_on(loop, after_batch=True)
                return
        self._thread.put(lambda: self._commit_elsewhere(loop, batch))

    def _commit_elsewhere(
        self, loop: asyncio.AbstractEventLoop, batch: list[tuple[Job, asyncio.Future[Any]]]
    ) -> None:
        results = self._commit([job for job, _ in batch], wait=True) or []
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(self._back, loop, batch, results)

    def _back(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Job, asyncio.Future[Any]]],
        results: list[Any],
    ) -> None:
        self._settle(batch, results)
        self._go_on(loop, after_batch=True)

    def _go_on(self, loop: asyncio.AbstractEventLoop, *, after_batch: bool) -> None:
        """Who writes next? Batches and transactions take turns, so that neither holds up the other for long."""
        while self._turns and (after_batch or not self._queue):
            turn = self._turns.popleft()
            if not turn.done():  # else whoever waited was cancelled
                turn.set_result(None)
                return
        if self._queue:
            # One turn of the loop for those who were just answered: what they append next joins this commit.
            loop.call_soon(self._flush, loop)
        else:
            self._flushing = False

    @staticmethod
    def _settle(batch: list[tuple[Job, asyncio.Future[Any]]], results: list[Any]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _commit(self, jobs: list[Job], *, wait: bool) -> list[Any] | None:
        """One transaction for all jobs; a job's result, or its error, at its place in the list.

        None: another process holds the lock, and we were not to `wait` for it.
        """
        db = self._writer
        started = time.perf_counter()
        try:
            self._check_file()
            if not self._begin(db, wait):
                return None
        except StoreError as error:
            return [error for _ in jobs]
        except sqlite3.Error as error:  # the store's trouble, not that of one job: none is tried by itself
            return [translated(error, self.path) for _ in jobs]
        try:
            results: list[Any] = []
            for job in jobs:
                try:
                    results.append(job(db))
                except TurnoutError as error:  # refused before it changed anything
                    results.append(error)
            self._seen = _version(db)  # within the transaction it costs next to nothing
            db.execute("COMMIT")
        except (sqlite3.Error, OverflowError, UnicodeError) as error:  # the latter two: a value it can't keep
            self._numbers.clear()
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if len(jobs) > 1:  # one bad append must not fail its neighbours
                return [(self._commit([job], wait=True) or [None])[0] for job in jobs]
            return [translated(error, self.path)]
        took = time.perf_counter() - started
        self._typical += (0.2 if self._typical else 1.0) * (took - self._typical)
        return results

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was deleted: all that is said to be durable would be lost. So every
        commit looks, though it takes 2 microseconds: between two looks a commit could be promised and lost."""
        if self._file is not None and self._file != _identity(self.path):
            raise StoreUnavailable(
                f"the store {self.path} was deleted or replaced while it was open, so nothing is written; put the file "
                f"back, or restart to use what is there now"
            )

    def _begin(self, db: sqlite3.Connection, wait: bool) -> bool:
        """Take the write lock. False: another process has it, and we were not to `wait`."""
        end = time.monotonic() + self._patience
        while not begun(db):
            if not wait:
                return False
            if time.monotonic() > end:
                raise sqlite3.OperationalError("database is locked")
            time.sleep(0.002)
        return True

    # --- transactions with a tool's own writes ------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """See the port. While it is open, this process's other writes gather as they do behind a commit."""
        await self._turn()
        try:
            self._check_file()
            with self._translated():
                opened = SqliteTransaction(self._connect(ToolConnection, 0), self.path)
                await opened.begin(self._patience)
            self._lent = opened if self._in_place else None
            try:
                yield opened
                self._check_file()
            except BaseException:
                await self._end(opened.undo, here=self._in_place)
                raise
            await self._end(opened.commit, here=self._in_place or self._typical < BEARABLE)
        finally:
            self._lent = None
            self._go_on(asyncio.get_running_loop(), after_batch=False)

    async def _end(self, job: Callable[[], None], *, here: bool) -> None:
        """Who is cancelled while a commit is on its way hears of it at once, and can't know how it ends. Whatever this
        process writes next does, for it goes through the same thread."""
        if here:
            job()
        else:
            await self._thread.run(job)

    async def _turn(self) -> None:
        """Wait until nothing is being written: from then on nobody else of this process writes, until `_go_on`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not self._flushing:
            self._flushing = True
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come in this very moment
                self._go_on(loop, after_batch=False)
            raise

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

    async def tally(self, *, graph: str = "") -> list[TallyRow]:
        found = await self._elsewhere(lambda: self._one(OVERVIEW["tally"], {"graph": graph}))
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
        self, *, status: str = "", tenant: str = "", notice: str = "", limit: int = 100
    ) -> list[OutboxRow]:
        values = {"status": status, "tenant": tenant, "id": notice, "limit": limit}
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

    async def put_budget(self, budget: Budget) -> None:
        await self._write(lambda db: budgeted.put_budget(db, budget))

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
        with self._translated():
            if self._tenants is None:
                self._tenants = TenantReader(self._connect(sqlite3.Connection, self._patience))
            return self._tenants.read(tenant, job)

    async def put_own_schedule(self, row: ScheduleRow) -> bool:
        """Write a schedule, unless that name is another tenant's: then False."""
        return await self._write(lambda db: scheduled.put_own(db, row))

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
        """SQLite tells each connection apart from all others: asked on the writer, what this store writes is no news."""
        if self._closed or self._in_place:
            return 0
        self._check_file()
        if not self._flushing and self._lent is None:  # else somebody else has the connection
            with self._translated():
                self._seen = _version(self._writer)
        return self._seen

    def _one(self, sql: str, values: Any) -> list[Any]:
        return self._read(lambda db: db.execute(sql, values).fetchall())

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        with self._read_lock, self._translated():
            if self._lent is None:
                return job(self._reader)
            with self._lent.own() as db:
                return job(db)

    async def _elsewhere(self, job: Callable[[], T]) -> T:
        """Run a read that may be long off the event loop."""
        return job() if self._in_place else await self._reads.run(job)

    async def close(self) -> None:
        if self._closed:
            return
        while self._flushing:
            await asyncio.sleep(0.001)
        self._closed = True
        self._thread.stop()
        if self._reads is not self._thread:
            self._reads.stop()
        if self._tenants is not None:
            self._tenants.close()
        with self._read_lock:
            if self._reader is not self._writer:
                self._reader.close()
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()


def _version(db: sqlite3.Connection) -> int:
    """Changes when another connection has written."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is at `path` (device, inode); None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - at every commit, and Path is five times slower
    except OSError:
        return None
    return found.st_dev, found.st_ino
