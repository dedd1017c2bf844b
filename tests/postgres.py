"""A real Postgres for the tests: the one that TURNOUT_TEST_POSTGRES names, else one of the run's own."""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from turnout.stores.embedded_postgres import EmbeddedPostgres

_server: dict[str, str] = {}


def server_url() -> str:
    """The address of the server's first database. The server is started when it is first asked for; it goes with the
    last process of the test run, and its data lie in the system's temporary folder."""
    given = os.environ.get("TURNOUT_TEST_POSTGRES")
    if given:
        return given
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    if run not in _server:
        folder = Path(tempfile.gettempdir()) / f"turnout-test-postgres-{run[:12]}"
        url = EmbeddedPostgres(folder).url()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with psycopg.connect(url, autocommit=True) as connection:
            # The tests kill processes, not machines: what the system has taken is safe.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        _server[run] = url
    return _server[run]


def in_database(name: str) -> str:
    """The address of another database of the same server."""
    url = server_url()
    if "://" in url:
        head, _, query = url.partition("?")
        scheme, _, rest = head.partition("://")
        return f"{scheme}://{rest.rpartition('/')[0] if '/' in rest else rest}/{name}" + (
            f"?{query}" if query else ""
        )
    return make_conninfo(**{**conninfo_to_dict(url), "dbname": name})


@contextmanager
def fresh_database() -> Iterator[str]:
    """The address of a new, empty database, which goes afterwards."""
    name = f"turnout_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield in_database(name)
    finally:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
