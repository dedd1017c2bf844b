"""A real Postgres for the tests: the one that TURNOUT_TEST_POSTGRES names, else one of the run's own."""

import asyncio
import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from turnout.stores.embedded_postgres import EmbeddedPostgres
from turnout.stores.postgres import PostgresStore

_server: dict[str, str] = {}
_templates: dict[str, str] = {}


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


def drop(name: str) -> None:
    """Drop a database; at the very end the server may be gone already, and its data with it."""
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(server_url(), autocommit=True) as connection,
    ):
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def emptied(url: str) -> None:
    """Take every row out of a store: faster than to drop it and to make another one."""
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        tables = connection.execute("SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                                    "WHERE n.nspname = 'turnout' AND relkind = 'r' AND relname <> 'migrations'").fetchall()  # fmt: skip
        for (name,) in tables:
            connection.execute(sql.SQL("DELETE FROM turnout.{}").format(sql.Identifier(name)))


def template() -> str:
    """A database with the schema in it, to be copied: that is five times as fast as to make the schema anew."""
    if server_url() not in _templates:
        name = f"turnout_template_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(server_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

        async def migrate() -> None:
            store = PostgresStore(in_database(name))
            await store.migrate()
            await store.close()

        with ThreadPoolExecutor(1) as other:  # this thread may have an event loop that runs
            other.submit(asyncio.run, migrate()).result()
        _templates[server_url()] = name
        atexit.register(drop, name)
    return _templates[server_url()]


@contextmanager
def fresh_database(*, schema: bool = False) -> Iterator[str]:
    """The address of a new database, which goes afterwards. It is empty, or has the `schema` already."""
    name = f"turnout_{uuid.uuid4().hex[:16]}"
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template() if schema else "template1")
    )
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(make)
    try:
        yield in_database(name)
    finally:
        drop(name)


class Cluster:
    """A server of a test's own, which may be stopped hard, started, and told whom to trust."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="turnout-cluster-"))
        self._embedded = EmbeddedPostgres(self.folder)
        self._socket = self._embedded.url().rpartition("host=")[2]
        with psycopg.connect(self._embedded.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # processes are killed, not machines
        self.control("stop", "-m", "fast")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        """Over the Unix socket."""
        return f"postgresql://{user}@/{database}?host={self._socket}&port={self.port}"

    def tcp(self, user: str, password: str, database: str = "postgres") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        where = f"-h 127.0.0.1 -p {self.port} -k {self._socket}"
        self.control("start", "-o", where, "-l", str(self.folder / "data" / "log"))

    def trust(self, *lines: str) -> None:
        """Whom the server lets in, and how: the lines of pg_hba.conf."""
        (self.folder / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")
        self.control("reload")

    def crash(self) -> None:
        """Every server process ends at once, as if killed; the next start recovers from the log."""
        self.control("stop", "-m", "immediate")

    def control(self, *words: str) -> None:
        """pg_ctl, as a user that may run a server."""
        subprocess.run(
            [self._embedded.program("pg_ctl"), "-w", "-D", self.folder / "data", *words],
            user="pgserver" if os.geteuid() == 0 else None, check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def close(self) -> None:
        self.control("stop", "-m", "immediate")
        self._embedded.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
