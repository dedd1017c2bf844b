"""Who writes to a SQLite file next: appends that share a commit, and transactions that tools write in, take turns.

Where a commit takes long (a disk that really syncs) it runs on a writer thread: appends are gathered for one turn of
the event loop and committed together, and what arrives meanwhile forms the next batch. Where a commit is quicker than
handing it to a thread and back (a memory file system) it runs in place. Which of the two is measured, not configured: see
docs/adr/0003-group-commit.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from turnout.errors import StoreError, StoreUnavailable, TurnoutError
from turnout.stores.lane import Lane
from turnout.stores.sqlite_errors import in_our_words, translated
from turnout.stores.sqlite_guard import ToolConnection
from turnout.stores.sqlite_transactions import SqliteTransaction, begun

T = TypeVar("T")
QUICK = 200e-6
"""Seconds: a commit that is quicker than this isn't worth the hand-over to a thread and back (about 100e-6)."""
BEARABLE = 1e-3
"""Seconds for which the event loop may be held up by a single append that nobody could share a commit with."""
Job = Callable[[sqlite3.Connection], Any]


class SqliteWriter:
    """The one connection of a store that writes. `patience`: seconds to wait for another process's lock."""

    def __init__(
        self, db: sqlite3.Connection, path: str, patience: float, *, memory: bool,
        lend: Callable[[], ToolConnection],
    ) -> None:  # fmt: skip
        """`lend` opens another connection to the same data, for a transaction that a tool writes in."""
        self.db = db
        self.lane = Lane(f"turnout-writer {path}")
        self.in_place = memory
        self.lent: SqliteTransaction | None = None
        """In memory: the transaction that is open, beside which nobody else can read."""
        self.numbers: dict[str, int] = {}
        """Of threads, as the file has them; emptied when a transaction is taken back."""
        self.typical = 0.0
        """Seconds a commit takes, a running mean; the first one is made in place, to know."""
        self._path = path
        self._patience = patience
        self._lend = lend
        self._queue: list[tuple[Job, asyncio.Future[Any]]] = []
        self._turns: collections.deque[asyncio.Future[None]] = collections.deque()  # transactions that wait
        self._flushing = False  # a batch is being committed, or a transaction is open
        self._closed = False
        self._file = None if memory else _identity(path)
        self._seen = 0  # what `changed` says: the version of the data as this connection saw it last

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` returns, once what it wrote is committed. Raises what it raises, and `StoreError`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not self._flushing and (self.in_place or self.typical < QUICK):
            results = self._commit([job], wait=self.in_place)
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
        if len(batch) == 1 and self.typical < BEARABLE:
            results = self._commit([batch[0][0]], wait=False)
            if results is not None:
                self._settle(batch, results)
                self._go_on(loop, after_batch=True)
                return
        self.lane.put(lambda: self._commit_elsewhere(loop, batch))

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
        db = self.db
        started = time.perf_counter()
        try:
            self._check_file()
            if not self._begin(db, wait):
                return None
        except StoreError as error:
            return [error for _ in jobs]
        except sqlite3.Error as error:  # the store's trouble, not that of one job: none is tried by itself
            return [translated(error, self._path) for _ in jobs]
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
            self.numbers.clear()
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if len(jobs) > 1:  # one bad append must not fail its neighbours
                return [(self._commit([job], wait=True) or [None])[0] for job in jobs]
            return [translated(error, self._path)]
        took = time.perf_counter() - started
        self.typical += (0.2 if self.typical else 1.0) * (took - self.typical)
        return results

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was deleted: all that is said to be durable would be lost. So every
        commit looks, though it takes 2 microseconds: between two looks a commit could be promised and lost."""
        if self._file is not None and self._file != _identity(self._path):
            raise StoreUnavailable(
                f"the store {self._path} was deleted or replaced while it was open, so nothing is written; put the file "
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
            with in_our_words(self._path):
                opened = SqliteTransaction(self._lend(), self._path)
                await opened.begin(self._patience)
            self.lent = opened if self.in_place else None
            try:
                yield opened
                self._check_file()
            except BaseException:
                await self._end(opened.undo, here=self.in_place)
                raise
            await self._end(opened.commit, here=self.in_place or self.typical < BEARABLE)
        finally:
            self.lent = None
            self._go_on(asyncio.get_running_loop(), after_batch=False)

    async def _end(self, job: Callable[[], None], *, here: bool) -> None:
        """Who is cancelled while a commit is on its way hears of it at once, and can't know how it ends. Whatever this
        process writes next does, for it goes through the same thread."""
        if here:
            job()
        else:
            await self.lane.run(job)

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

    # --- hearing of what others wrote -----------------------------------------------------------------------------

    def changed(self) -> int:
        """SQLite tells each connection apart from all others: asked on this one, what this store writes is no news."""
        if self._closed or self.in_place:
            return 0
        self._check_file()
        if not self._flushing and self.lent is None:  # else somebody else has the connection
            with in_our_words(self._path):
                self._seen = _version(self.db)
        return self._seen

    async def rest(self) -> None:
        """Let what is being written come to its end, and take nothing more."""
        while self._flushing:
            await asyncio.sleep(0.001)
        self._closed = True
        self.lane.stop()


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
