"""Transactions of the SQLite store that a tool writes in, too. Each has a connection of its own: nothing that a tool
sets on it (a row factory, a function, a temporary table) outlives the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator

from turnout.errors import EffectRefused
from turnout.ports.rows import Append
from turnout.stores import sqlite_writes as writes
from turnout.stores.sqlite_errors import in_our_words, translated
from turnout.stores.sqlite_guard import ToolConnection


def begun(db: sqlite3.Connection) -> bool:
    """Take the write lock, if nobody has it. Without SQLite's own waiting, which would hold up the event loop."""
    try:
        db.execute("BEGIN IMMEDIATE")
        return True
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) and "busy" not in str(error):
            raise
        return False


class SqliteTransaction:
    """A transaction of the store's file, for one tool and one append."""

    def __init__(self, connection: ToolConnection, path: str) -> None:
        self.connection = connection
        self._path = path

    async def begin(self, patience: float) -> None:
        """Take the write lock. Another process may have it: then wait for up to `patience` seconds."""
        end = time.monotonic() + patience
        try:
            while not begun(self.connection):
                if time.monotonic() > end:
                    raise sqlite3.OperationalError("database is locked")
                await asyncio.sleep(0.002)
        except BaseException:
            self.connection.close()
            raise
        self.connection.guard()

    async def append(self, change: Append) -> None:
        """As `SqliteStore.append`, in this transaction. Raises `EffectRefused` when the tool's errors have ended it."""
        self.check()
        with self.own() as db, in_our_words(self._path):
            db.execute("SAVEPOINT turnout")
            try:
                writes.append(db, change, {})
            except (sqlite3.Error, OverflowError, UnicodeError):
                _undo(db, "ROLLBACK TO turnout")
                raise
            finally:  # what was refused by a word of ours has changed nothing
                _undo(db, "RELEASE turnout")

    @contextlib.contextmanager
    def own(self) -> Iterator[sqlite3.Connection]:
        """The connection for the store's own statements."""
        with self.connection.own():
            yield self.connection

    def check(self) -> None:
        """Raises `EffectRefused` if the transaction is over: the tool has hidden an error after which SQLite undoes
        all."""
        self.connection.close_cursors()
        if not self.connection.in_transaction:
            raise EffectRefused(
                "the transaction was over before the function returned, so nothing of it was kept: SQLite undid it after "
                "an error; let such an error through"
            )

    def commit(self) -> None:
        """Commit and close. An error that isn't a `StoreError` says that what the tool wrote can't be committed."""
        try:
            self.connection.take_back()
            self.check()
            with self.own() as db:
                db.execute("COMMIT")
        except sqlite3.IntegrityError:  # a constraint of the tool's tables that is looked at only here
            raise
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        finally:
            self.undo()

    def undo(self) -> None:
        """Undo what isn't committed, and close."""
        self.connection.take_back()
        with self.own() as db:
            if db.in_transaction:
                _undo(db, "ROLLBACK")
            db.close()


def _undo(db: sqlite3.Connection, statement: str) -> None:
    """After some errors SQLite has undone more than that itself."""
    with contextlib.suppress(sqlite3.Error):
        db.execute(statement)
