"""A SQLite store as one tenant has it: all it reads goes through views of the tenant's own rows."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from turnout.errors import StoreUnavailable
from turnout.stores.sqlite import SqliteStore
from turnout.stores.statements import statements
from turnout.stores.tenants import OfTenant

T = TypeVar("T")
VIEWS = statements("sqlite_tenants.sql")


class TenantReader:
    """A connection on which every table shows the rows of one tenant. It is used by one after the other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._tenant = ""
        self._schema = -1
        try:
            connection.create_function("caller_tenant", 0, lambda: self._tenant, deterministic=True)
            self._cover()
        except BaseException:
            connection.close()
            raise

    def read(self, tenant: str, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` finds of that tenant's."""
        tenant.encode()  # here a text that isn't one has an error that says so
        with self._lock:
            self._tenant = tenant
            self._cover()
            return job(self._connection)

    def _cover(self) -> None:
        """A view before every table, also before those that came since: a transactional tool may make its own at any
        time. SQLite's (statistics, for one) have names that nothing else may have, and no rows of anybody's."""
        [(schema,)] = self._connection.execute("PRAGMA main.schema_version").fetchall()
        if schema == self._schema:
            return
        tables = self._connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        ).fetchall()
        for (table,) in tables:
            name = '"' + table.replace('"', '""') + '"'
            rows = VIEWS.get(table, f"SELECT * FROM main.{name} WHERE 0")  # noqa: S608 - quoted, and it is a name
            self._connection.execute(f"CREATE TEMP VIEW IF NOT EXISTS {name} AS {rows}")
        self._schema = schema

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class SqliteTenant(OfTenant, SqliteStore):
    """The reads of a `SqliteStore`, each on a connection that shows one tenant's rows."""

    def __init__(self, whole: SqliteStore, tenant: str) -> None:
        self.whole = whole
        self.tenant = tenant
        self.path = whole.path
        self.url = whole.url
        self.notices = whole.notices

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        found: T = self.whole.read_within(self.tenant, job)
        return found

    async def _elsewhere(self, job: Callable[[], T]) -> T:
        found: T = await self.whole._elsewhere(job)
        return found

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        raise StoreUnavailable("that is not for a single tenant; it needs the whole store")

    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable(f"a tenant's handle has no {name}; it needs the whole store")
