"""The embedded store: one SQLite file in WAL mode, `synchronous=FULL`, and one commit for all who append at once.

Where a commit takes long (a disk that really syncs) it runs on a writer thread: appends are gathered for one turn of
the event loop and committed together, and what arrives meanwhile forms the next batch. Where a commit is quicker than
handing it to a thread and back (a memory file system) it runs in place. Which of the two is measured, not configured: see
docs/adr/0003-group-commit.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from turnout.core.entries import Micros
from turnout.errors import (
    InputInvalid,
    StoreDamaged,
    StoreError,
    StoreNewer,
    StoreUnavailable,
    TurnoutError,
)
from turnout.ports.store import (
    Append,
    HeadRow,
    KeyRow,
    Lease,
    LimitRow,
    ReviewRow,
    Row,
    RunRow,
    ThreadRow,
)
from turnout.stores import sqlite_claims as claims
from turnout.stores import sqlite_writes as writes
from turnout.stores.lane import Lane
from turnout.stores.sqlite_errors import translated
from turnout.stores.sqlite_moving import SQL as MOVING
from turnout.stores.sqlite_writes import SQL
from turnout.stores.statements import text

T = TypeVar("T")
SCHEMA = 2
APPLICATION = 0x5455524E  # "TURN"
QUICK = 200e-6
"""Seconds: a commit that is quicker than this isn't worth the hand-over to a thread and back (about 100e-6)."""
BEARABLE = 1e-3
"""Seconds for which the event loop may be held up by a single append that nobody could share a commit with."""
Job = Callable[[sqlite3.Connection], Any]


class SqliteStore:
    """A store in one SQLite file, or in memory (`sqlite://`)."""

    def __init__(self, path: str, *, create: bool = True, patience: float = 10.0) -> None:
        """Open `path`. `patience` is how long (seconds) to wait for another process's lock.

        Raises `StoreUnavailable` (no such file and not `create`, not writable, locked), `StoreDamaged` (not a
        Turnout database) or `StoreNewer`.
        """
        self.path = path
        self.url = f"sqlite:///{path}" if path != ":memory:" else "sqlite://"
        self._patience = patience
        self._queue: list[tuple[Job, asyncio.Future[Any]]] = []
        self._flushing = False
        self._typical = 0.0  # seconds a commit takes, a running mean; the first one is made in place, to know
        self._closed = False
        self._read_lock = threading.Lock()
        memory = path == ":memory:"
        if not memory and not create and not Path(path).exists():
            raise StoreUnavailable(
                f"there is no store at {path}; name another one with --store URL or TURNOUT_STORE"
            )
        with self._translated():
            self._writer = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise
            self._reader = self._writer if memory else self._connect()
            self._writer.execute("PRAGMA busy_timeout = 0")
        self._file = None if memory else _identity(path)
        self._numbers: dict[str, int] = {}  # of threads; emptied when a transaction is taken back
        self._thread = Lane(f"turnout-writer {path}")
        self._reads = Lane(f"turnout-reader {path}") if not memory else self._thread
        self._in_place = memory

    # --- opening ----------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=self._patience
            )
        except sqlite3.OperationalError as error:
            folder = Path(self.path).absolute().parent
            there = os.path.exists(folder)  # noqa: PTH110 - Path.exists raises where one may not even look
            why = str(error) if there else f"the folder {folder} doesn't exist"
            raise StoreUnavailable(
                f"the store {self.path} can't be opened: {why}; check path and permissions"
            ) from None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Two who make a new store at once lock each other out here, and SQLite's own waiting doesn't cover it."""
        end = time.monotonic() + self._patience
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.002)

    def _prepare(self) -> None:
        """Make the schema in an empty file, or bring an older one up to date; refuse what isn't ours or is newer,
        before anything in it is changed."""
        db = self._writer
        version, application, empty = self._found()
        if version == 0 and application == 0 and empty:
            self._use_wal(db)
            with self._exclusive():
                if self._found()[2]:  # nobody was quicker
                    self._run("sqlite_schema.sql")
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
            version, application, empty = self._found()
        if application != APPLICATION:
            raise StoreDamaged(
                f"{self.path} is a SQLite database, but not a Turnout store; name another file"
            )
        if version > SCHEMA:
            raise StoreNewer(
                f"{self.path} has schema {version}, this Turnout knows {SCHEMA}; upgrade with `pip install -U turnout`"
            )
        self._use_wal(db)  # a copy made by other means may have lost it
        if version < SCHEMA:
            with self._exclusive():
                for number in range(
                    self._found()[0] + 1, SCHEMA + 1
                ):  # another process may have been quicker
                    self._run(f"sqlite_upgrade_{number}.sql")
                    db.execute(f"PRAGMA user_version = {number}")

    def _found(self) -> tuple[int, int, bool]:
        """Schema, application, and whether there is no table: in one look, for another process may be making them."""
        db = self._writer
        alone = not db.in_transaction
        if alone:
            db.execute("BEGIN")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if alone:
            db.execute("COMMIT")
        return version, application, empty

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """A transaction that no other process writes beside."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    def _run(self, file: str) -> None:
        for statement in text(file).split(";\n"):
            self._writer.execute(statement)

    @contextlib.contextmanager
    def _translated(self) -> Any:
        """SQLite's errors in our words, each saying what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

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
        asked = claims.Asked(worker, now, limit, named, thread, tries, suspects)
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

    async def set_aside(self, threads: Sequence[str], reason: str) -> list[str]:
        return await self._write(lambda db: claims.set_aside(db, threads, reason)) if threads else []

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
                self._flushing = False
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
        """Take the write lock. It is asked for without SQLite's own waiting, which would hold up the event loop."""
        end = time.monotonic() + self._patience
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise
                if not wait:
                    return False
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)

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
            "after": after,
            "limit": limit,
        }
        name = "threads_of_owner" if owner else ("threads_aside" if aside else "threads")
        return [ThreadRow(*r) for r in await self._elsewhere(lambda: self._one(SQL[name], values))]

    async def runs(self, thread: str) -> list[RunRow]:
        return [RunRow(*r) for r in self._one(SQL["runs"], (thread,))]

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        values = {"status": status, "thread": thread, "review": review, "limit": limit}
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
        if self._closed or self._reader is self._writer:
            return 0
        self._check_file()
        with self._read_lock, self._translated():
            return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    def _one(self, sql: str, values: Any) -> list[Any]:
        return self._read(lambda db: db.execute(sql, values).fetchall())

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            with self._read_lock, self._translated():
                return job(self._reader)
        except UnicodeEncodeError:
            raise InputInvalid(
                "a name holds half of a surrogate pair, which is not valid Unicode; clean it first"
            ) from None

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
        with self._read_lock:
            if self._reader is not self._writer:
                self._reader.close()
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is at `path` (device, inode); None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - at every commit, and Path is five times slower
    except OSError:
        return None
    return found.st_dev, found.st_ino
