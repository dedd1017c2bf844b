"""How a SQLite store is opened: its connections, and its schema, made or brought up to date."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from turnout.errors import StoreDamaged, StoreNewer, StoreUnavailable
from turnout.stores.statements import text

C = TypeVar("C", bound=sqlite3.Connection)
SCHEMA = 5
APPLICATION = 0x5455524E  # "TURN"
CACHE = 8192
"""KiB of pages that a connection keeps. More make nothing quicker (the system has the file in memory), and a server that
grows for an hour until its caches are full can't be told from one that leaks."""


def connected(address: str, path: str, kind: type[C], patience: float) -> C:
    """A connection to `address`, the SQLite name of the store at `path`. Raises `StoreUnavailable`."""
    try:
        connection = sqlite3.connect(
            address, uri=path == ":memory:", isolation_level=None, check_same_thread=False, timeout=patience,
            factory=kind,
        )  # fmt: skip
    except sqlite3.OperationalError as error:
        folder = Path(path).absolute().parent
        there = os.path.exists(folder)  # noqa: PTH110 - Path.exists raises where one may not even look
        why = str(error) if there else f"the folder {folder} doesn't exist"
        raise StoreUnavailable(
            f"the store {path} can't be opened: {why}; check path and permissions"
        ) from None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    return connection


def upgrades() -> list[int]:
    """The schemas that an older file can be brought to, in their order."""
    found = (
        re.fullmatch(r"sqlite_upgrade_(\d+)\.sql", file.name) for file in files("turnout.stores").iterdir()
    )
    return sorted(int(match[1]) for match in found if match)


class Opening:
    """Sees to the schema of the file at `path`, on the store's writing connection."""

    def __init__(self, writer: sqlite3.Connection, path: str, patience: float) -> None:
        self._writer = writer
        self._path = path
        self._patience = patience

    def prepare(self) -> None:
        """Make the schema in an empty file, or bring an older one up to date; refuse what isn't ours or is newer,
        before anything in it is changed. Raises `StoreDamaged`, `StoreNewer`."""
        db = self._writer
        version, application, empty = self._found()
        if version == 0 and application == 0 and empty:
            self._use_wal()
            with self._exclusive():
                if self._found()[2]:  # nobody was quicker
                    self._run("sqlite_schema.sql")
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
            version, application, empty = self._found()
        if application != APPLICATION:
            raise StoreDamaged(
                f"{self._path} is a SQLite database, but not a Turnout store; name another file"
            )
        if version > SCHEMA:
            raise StoreNewer(
                f"{self._path} has schema {version}, this Turnout knows {SCHEMA}; upgrade with `pip install -U turnout`"
            )
        self._use_wal()  # a copy made by other means may have lost it
        if version < SCHEMA:
            with self._exclusive():
                done = self._found()[0]  # another process may have been quicker
                for number in upgrades():
                    if number > done:
                        self._run(f"sqlite_upgrade_{number}.sql")
                        db.execute(f"PRAGMA user_version = {number}")

    def _use_wal(self) -> None:
        """Two who make a new store at once lock each other out here, and SQLite's own waiting doesn't cover it."""
        end = time.monotonic() + self._patience
        while True:
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.002)

    def _found(self) -> tuple[int, int, bool]:
        """Schema, application, and whether there is no table: in one look, for another process may be making them."""
        db = self._writer
        alone = not db.in_transaction
        if alone:
            db.execute("BEGIN")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if alone:
            db.execute("COMMIT")
        return version, application, empty

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """A transaction that no other process writes beside."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    def _run(self, file: str) -> None:
        for statement in text(file).split(";\n"):
            self._writer.execute(statement)
