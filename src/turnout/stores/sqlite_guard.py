"""The connection that a transactional tool is handed on SQLite: a plain one, but it can't end its transaction, can't
write Turnout's own tables, and can be taken away.

Every call on it and on its cursors goes through a *gate*: one thread at a time, and only as long as the transaction is
open. Without that, a thread that was left behind (a sync tool over its time limit) would go on writing; and two threads
in one of Python's connections lock each other out for ever when SQLite asks a Python function, as it asks our
authorizer.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from turnout.errors import EffectRefused
from turnout.stores.statements import text

OURS = frozenset(re.findall(r"CREATE TABLE (\w+)", text("sqlite_schema.sql")))
"""Turnout's tables: a tool may read them, and not write them."""
PRAGMAS = frozenset(
    ["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list",
     "foreign_key_check", "defer_foreign_keys"]
)  # fmt: skip
"""The pragmas that a tool may use: they look, or hold for its transaction only."""
_ENDS = (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)
_ON_FIRST = (
    sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_CREATE_TEMP_VIEW,
)  # fmt: skip
_ON_SECOND = (
    sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_TRIGGER, sqlite3.SQLITE_DROP_TRIGGER,
)  # fmt: skip
_NEVER = (
    "close", "set_authorizer", "set_progress_handler", "blobopen", "deserialize", "enable_load_extension",
    "load_extension",
)  # fmt: skip
_WITHOUT_GATE = ("cursor", "interrupt", "execute", "executemany", "executescript")


def refusal(action: int, first: str, second: str) -> str:
    """Why a tool may not do what SQLite is about to do for it; "" when it may. See `sqlite3_set_authorizer`."""
    if action in _ENDS:
        what = first if action == sqlite3.SQLITE_TRANSACTION else "ATTACH or DETACH"
        return f"a transactional tool can't {what}: Turnout commits when the function returns, and undoes all when it raises"
    if action == sqlite3.SQLITE_PRAGMA and first.lower() not in PRAGMAS:
        return f"a transactional tool can't use PRAGMA {first}; set it where the file is made"
    table = first if action in _ON_FIRST else second if action in _ON_SECOND else ""
    if table.lower() in OURS:
        return f"the table {table} is Turnout's own: a tool can read it, but not write or change it"
    return ""


class ToolConnection(sqlite3.Connection):
    """A connection that is the tool's from `guard` on until `take_back`, and between them the store's within `own`."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._lock = threading.RLock()
        self._own = 1  # > 0: the store's own statements
        self._over = False
        self._refused = ""
        self._cursors: weakref.WeakSet[ToolCursor] = weakref.WeakSet()

    def guard(self) -> None:
        """From here on it is the tool's."""
        super().set_authorizer(self._ask)
        super().set_progress_handler(self._stop, 1000)
        self._own = 0

    def take_back(self) -> None:
        """The tool can do nothing with it any more. Waits for a statement that is running, which is told to stop."""
        self._over = True
        self.close_cursors()

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """For the store's own statements: none is refused, rows are tuples, and text is text."""
        with self._lock:
            theirs = self.row_factory, self.text_factory
            self.row_factory, self.text_factory = None, str
            self._own += 1
            try:
                yield
            finally:
                self._own -= 1
                self.row_factory, self.text_factory = theirs

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """What every call of the tool goes through."""
        with self._lock:
            if not self._own and self._over:
                raise sqlite3.ProgrammingError("the call that this connection was for is over")
            if not self._own and not self.in_transaction:
                raise EffectRefused(
                    "the transaction is over: SQLite undid it after an error; let such an error through"
                )
            self._refused = ""
            try:
                yield
            except sqlite3.DatabaseError as error:
                if self._refused and "not authorized" in str(error):  # which is all that SQLite says
                    raise EffectRefused(self._refused) from error
                raise

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("isolation_level", "autocommit"):  # Python commits when they are set
            raise EffectRefused(
                f"a transactional tool can't set {name} of its connection; leave it to Turnout"
            )
        super().__setattr__(name, value)

    def cursor(self) -> ToolCursor:  # type: ignore[override]
        with self.gate():
            made = super().cursor(ToolCursor)
            self._cursors.add(made)
            return made

    def execute(self, *args: Any) -> ToolCursor:
        return self.cursor().execute(*args)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> ToolCursor:
        return self.cursor().executemany(sql, rows)

    def executescript(self, script: str, /) -> ToolCursor:
        cursor = self.cursor()
        cursor.executescript(script)
        return cursor

    def close_cursors(self) -> None:
        """What was left half read would hold up a savepoint, a commit, and in memory every other writer."""
        with self.own():
            for cursor in list(self._cursors):
                cursor.close()

    def _ask(
        self, action: int, first: str | None, second: str | None, schema: str | None, within: str | None
    ) -> int:
        wrong = "" if self._own else refusal(action, first or "", second or "")
        self._refused = self._refused or wrong
        return sqlite3.SQLITE_DENY if wrong else sqlite3.SQLITE_OK

    def _stop(self) -> bool:
        """Asked every thousand instructions: does nobody wait for this statement any more?"""
        return self._over and not self._own


class ToolCursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    connection: ToolConnection

    def executemany(self, sql: str, rows: Iterable[Any], /) -> ToolCursor:
        rows = list(rows)  # they come from code of the tool's, which may take its time: not inside the gate
        with self.connection.gate():
            super().executemany(sql, rows)
            return self


def _through_the_gate(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        with (self if isinstance(self, ToolConnection) else self.connection).gate():
            return plain(self, *args, **named)

    return call


def _refused(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(self: ToolConnection, *args: Any, **named: Any) -> Any:
        if not self._own:
            raise EffectRefused(
                f"a transactional tool can't call {name}() on its connection; leave it to Turnout"
            )
        return plain(self, *args, **named)

    return call


for _name in ("execute", "executescript", "fetchone", "fetchmany", "fetchall", "close", "__next__"):
    setattr(ToolCursor, _name, _through_the_gate(getattr(sqlite3.Cursor, _name)))
for _name, _plain in list(vars(sqlite3.Connection).items()):
    if _name in _NEVER:
        setattr(ToolConnection, _name, _refused(_name, _plain))
    elif _name == "__exit__" or (
        callable(_plain)
        and not _name.startswith("_")
        and not isinstance(_plain, type)
        and _name not in _WITHOUT_GATE
    ):
        setattr(ToolConnection, _name, _through_the_gate(_plain))
