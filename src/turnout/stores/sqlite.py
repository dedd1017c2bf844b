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
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from turnout.core.entries import Micros
from turnout.errors import (
    HeadMoved,
    InputInvalid,
    KeyReused,
    StaleWriter,
    StoreDamaged,
    StoreError,
    StoreNewer,
    StoreUnavailable,
    TurnoutError,
)
from turnout.ports.store import (
    KEEP,
    Append,
    HeadRow,
    KeyRow,
    Lease,
    ReviewRow,
    Row,
    RunRow,
    ThreadRow,
)
from turnout.stores.statements import statements, text

T = TypeVar("T")
SCHEMA = 1
APPLICATION = 0x5455524E  # "TURN"
SQL = statements("sqlite.sql")
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
        self._typical = QUICK * 2  # seconds a commit takes, a running mean
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
        self._thread = _Worker(f"turnout-writer {path}")
        self._reads = _Worker(f"turnout-reader {path}") if not memory else self._thread
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
        """Make the schema in an empty file; refuse what isn't ours or is newer, before anything in it is changed."""
        db = self._writer
        db.execute("BEGIN")  # one look: another process may be making the schema at this moment
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT 1 FROM sqlite_master").fetchone()
        db.execute("COMMIT")
        if version == 0 and application == 0 and not tables:
            self._use_wal(db)
            db.execute("BEGIN IMMEDIATE")
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():  # nobody was quicker
                for statement in text("sqlite_schema.sql").split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
            return
        if application != APPLICATION:
            raise StoreDamaged(
                f"{self.path} is a SQLite database, but not a Turnout store; name another file"
            )
        if version > SCHEMA:
            raise StoreNewer(
                f"{self.path} has schema {version}, this Turnout knows {SCHEMA}; upgrade with `pip install -U turnout`"
            )
        self._use_wal(db)  # a copy made by other means may have lost it

    @contextlib.contextmanager
    def _translated(self) -> Any:
        """SQLite's errors in our words, each saying what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    # --- writing ----------------------------------------------------------------------------------------------

    async def append(self, change: Append) -> None:
        await self._write(lambda db: _append(db, change))

    async def claim(
        self,
        worker: str,
        now: Micros,
        until: Micros,
        limit: int,
        graphs: Sequence[str] | None = None,
        thread: str = "",
    ) -> list[Lease]:
        named = msgspec.json.encode(list(graphs)).decode() if graphs is not None else None
        if thread:
            found = self._one(SQL["due_one"], {"thread": thread, "now": now})
        else:
            found = self._one(SQL["due"], {"now": now, "graphs": named, "limit": limit})
        if not found:  # a look costs no lock and no commit
            return []
        return await self._write(lambda db: _claim(db, worker, until, found))

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
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if len(jobs) > 1:  # one bad append must not fail its neighbours
                return [(self._commit([job], wait=True) or [None])[0] for job in jobs]
            return [translated(error, self.path)]
        self._typical += 0.2 * (time.perf_counter() - started - self._typical)
        return results

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was deleted: all that is said to be durable would be lost."""
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
        after: str = "",
        limit: int = 100,
    ) -> list[ThreadRow]:
        values = {
            "graph": graph,
            "status": status,
            "search": search,
            "owner": owner,
            "after": after,
            "limit": limit,
        }
        return [ThreadRow(*r) for r in await self._elsewhere(lambda: self._one(SQL["threads"], values))]

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

    async def heads(self, thread: str = "") -> list[HeadRow]:
        return [HeadRow(*r) for r in self._one(SQL["heads"], {"thread": thread})]

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        return await self._elsewhere(lambda: self._one(SQL["strays"], {"thread": thread}))

    def changed(self) -> int:
        if self._closed or self._reader is self._writer:
            return 0
        self._check_file()
        with self._read_lock, self._translated():
            return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    def _one(self, sql: str, values: Any) -> list[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            with self._read_lock, self._translated():
                return self._reader.execute(sql, values).fetchall()
        except UnicodeEncodeError:
            raise InputInvalid(
                "a name holds half of a surrogate pair, which is not valid Unicode; clean it first"
            ) from None

    async def _elsewhere(self, job: Callable[[], T]) -> T:
        """Run a read that may be long off the event loop."""
        if self._in_place:
            return job()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result, error = job(), None
            except Exception as problem:
                result, error = None, problem
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_answer, future, result, error)

        self._reads.put(run)
        return await future

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


def _answer(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class _Worker:
    """One daemon thread that runs jobs in order."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._name = name

    def put(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def stop(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _append(db: sqlite3.Connection, change: Append) -> None:
    """Everything of `change`, or an error before anything is written."""
    for key in change.keys:
        found = db.execute(SQL["key"], (key.key,)).fetchone()
        if found:
            raise KeyReused(
                f"the idempotency key {key.key!r} was used for run {found[2]} of thread {found[1]!r}"
            )
    last = change.rows[-1] if change.rows else None
    if not _move_head(db, change, last):
        _refuse(db, change)
    thread = change.thread
    if change.rows:
        number = db.execute(SQL["number"], (thread,)).fetchone()[0]
        db.executemany(
            SQL["add_entry"],
            [(number, r.seq, r.kind, r.run, r.step, r.at, r.epoch, r.stored, r.digest) for r in change.rows],
        )
    if change.values:
        db.executemany(SQL["add_value"], list(change.values.items()))
    for run in change.runs:
        db.execute(
            SQL["put_run"],
            (
                run.thread,
                run.run,
                run.graph,
                run.status,
                run.started_at,
                run.ended_at,
                run.end_seq,
                run.error,
            ),
        )
    for review in change.reviews:
        db.execute(SQL["put_review"], _tuple(review))
    for key in change.keys:
        db.execute(SQL["add_key"], (key.key, key.thread, key.run, key.digest))
    for other in change.wakes:
        db.execute(SQL["wake"], {"thread": other, "at": change.at})
    if change.snapshot is not None and last:
        db.execute(SQL["put_snapshot"], (thread, last.seq, change.snapshot))
    if change.signed is not None:
        head = change.signed
        db.execute(SQL["put_head"], (head.thread, head.seq, head.digest, head.at, head.signature))


def _move_head(db: sqlite3.Connection, change: Append, last: Row | None) -> bool:
    """Put the thread's row where its journal will be. False: head or epoch isn't what the caller believes."""
    if (
        change.same
        and last is not None
        and change.wake == KEEP
        and not change.release
        and change.head
        and not change.base
    ):
        # The usual step. What isn't named isn't touched, and so neither are the indexes over it.
        names = (last.seq, last.digest, change.at, change.thread, change.head, change.epoch)
        return db.execute(SQL["advance_head"], names).rowcount == 1
    values = {
        "thread": change.thread,
        "graph": change.graph,
        "fingerprint": change.fingerprint,
        "status": change.status,
        "run": change.run,
        "head": change.head,
        "new_head": last.seq if last else change.head,
        "digest": last.digest if last else b"",
        "epoch": change.epoch,
        "at": change.at,
        "wake_at": None if change.wake == KEEP else change.wake,
        "base_thread": change.base[0] if change.base else None,
        "base_seq": change.base[1] if change.base else 0,
    }
    name = "move_head_and_wake"
    if change.head == 0 or change.base:
        name = "open_thread"
    elif change.release:
        name = "move_head_and_release"
    elif change.wake == KEEP:
        name = "move_head"
    return db.execute(SQL[name], values).rowcount == 1


def _tuple(review: ReviewRow) -> tuple[Any, ...]:
    return (
        review.review, review.thread, review.run, review.status, review.roles, review.due_at, review.asked_at,
        review.closed_at, review.about,
    )  # fmt: skip


def _refuse(db: sqlite3.Connection, change: Append) -> None:
    found = db.execute(SQL["thread"], (change.thread,)).fetchone()
    if found is None:
        raise HeadMoved(f"thread {change.thread!r} isn't there any more")
    row = ThreadRow(*found)
    if row.epoch != change.epoch:
        raise StaleWriter(
            f"thread {change.thread!r} is in epoch {row.epoch} now (held by {row.owner or 'nobody'}); an append of epoch "
            f"{change.epoch} was refused"
        )
    raise HeadMoved(f"the journal of thread {change.thread!r} is at entry {row.head}, not {change.head}")


def _claim(db: sqlite3.Connection, worker: str, until: Micros, found: list[tuple[str, int]]) -> list[Lease]:
    leases = []
    for thread, epoch in found:
        values = {"worker": worker, "until": until, "thread": thread, "epoch": epoch}
        if db.execute(SQL["take"], values).rowcount:
            leases.append(Lease(thread, worker, epoch + 1))
    return leases


def translated(error: Exception, path: str) -> StoreError:
    """A SQLite error in our words."""
    said = str(error)
    if "locked" in said or "busy" in said:
        return StoreUnavailable(
            f"the store {path} is locked by another process; close it, or try again in a moment"
        )
    if "disk is full" in said or "database or disk is full" in said:
        return StoreUnavailable(f"the disk of the store {path} is full; free some space, nothing was lost")
    if "readonly" in said or "unable to open" in said:
        return StoreUnavailable(
            f"the store {path} can't be opened or written ({said}); check path and permissions"
        )
    if "not a database" in said or "malformed" in said or "corrupt" in said:
        return StoreDamaged(
            f"{path} is not a SQLite database or is damaged ({said}); restore it from a backup"
        )
    return StoreUnavailable(f"the store {path} failed: {said}")
