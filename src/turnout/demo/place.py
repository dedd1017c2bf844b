"""Where the demo lives: its own store, and the simulated bank's ledger beside it. Nobody else's files are touched.

On Postgres (`--store postgres`) the store is a database of the embedded server that has no other use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from turnout.demo import ledger
from turnout.demo.batch import Batch
from turnout.demo.desk import desk
from turnout.errors import SettingsInvalid
from turnout.wiring import is_embedded, is_postgres, postgres_address

PREFIX = "sqlite:///"
LEDGER = "turnout-demo.ledger.db"


@dataclass(frozen=True)
class Place:
    """The store's address, what to call it, the file of a SQLite store, and the ledger's file.

    `url` is for people to type; `address` for the demo's own processes, one of which gets killed: on Postgres it is the
    socket of the server that the demo itself has started.
    """

    url: str
    address: str
    label: str
    store: Path | None
    ledger: Path


def at(url: str) -> Place:
    """The place that a store's address means. Raises `SettingsInvalid`, `StoreUnavailable`."""
    if is_embedded(url):
        return Place("postgres:demo", "", "an embedded Postgres", None, Path(LEDGER).absolute())
    if is_postgres(url):
        raise SettingsInvalid(
            "the demo empties its store first, so it takes no database of yours; use --store postgres, which starts one"
        )
    name = url.removeprefix(PREFIX)
    if not url.startswith(PREFIX) or not name:
        raise SettingsInvalid(
            f"the demo kills a process and starts another, so it wants a file: --store {PREFIX}turnout-demo.db"
        )
    store = Path(name)
    if store.resolve().name == "turnout.db":
        raise SettingsInvalid(
            f"turnout.db is where your own work goes; give the demo another file, e.g. --store {PREFIX}turnout-demo.db"
        )
    if not store.absolute().parent.is_dir():
        raise SettingsInvalid(
            f"the folder {store.absolute().parent} doesn't exist; make it, or name another one"
        )
    return Place(url, url, str(store), store, store.absolute().with_suffix(".ledger.db"))


@contextlib.contextmanager
def held(place: Place) -> Iterator[Callable[[str], None]]:
    """Keep other demos off the place for as long as this lasts, or until this process dies. What it gives is told what
    others are to know of this one.

    Raises `SettingsInvalid`: something is there that no demo has made, or another demo is.
    """
    for path in _files(place):
        if (path.exists() or path.is_symlink()) and not _is_demo(place):
            raise SettingsInvalid(
                f"{path} exists and wasn't made by the demo, so it stays; name another file with --store"
            )
    with place.ledger.with_suffix(".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SettingsInvalid(
                f"{place.store or place.ledger.name} is in use by another demo ({file.read() or 'which just begins'}); end that with Ctrl-C, or give "
                f"this one a file of its own, e.g. --store {PREFIX}another-demo.db"
            ) from None

        def tell(what: str) -> None:
            file.truncate(0)
            file.write(what)
            file.flush()

        tell(f"process {os.getpid()}")
        yield tell


def make_fresh(place: Place, batch: Batch) -> Place:
    """Remove what an earlier demo left here, and open a new ledger; returns the place as it is then. The place is `held`.

    Raises `StoreUnavailable`.
    """
    if place.store is None:
        place = replace(place, address=postgres_address(place.url, anew=True))
    for path in _files(place):
        for end in ("", "-wal", "-shm", "-journal", ".key"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    ledger.create(place.ledger, batch)
    return place


def _files(place: Place) -> list[Path]:
    return [path for path in (place.store, place.ledger) if path is not None]


def _is_demo(place: Place) -> bool:
    """Is there a demo's ledger, and is nothing in the store but what the demo's graph did?"""
    if not ledger.is_ledger(place.ledger):
        return False
    if place.store is None:
        return True
    if not place.store.exists():
        return not place.store.is_symlink()
    try:
        db = sqlite3.connect(f"{place.store.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return {graph for (graph,) in db.execute("SELECT DISTINCT graph FROM threads")} <= {desk.name}
        finally:
            db.close()
    except sqlite3.Error:
        return False
