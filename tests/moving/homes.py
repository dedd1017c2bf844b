"""Where threads live: stores of several kinds, opened again and again. A kind is a line in `KINDS`."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.postgres import fresh_database

from turnout import App
from turnout.ports.store import Store
from turnout.settings import Settings
from turnout.stores.postgres import PostgresStore
from turnout.stores.sqlite import SqliteStore
from turnout.testing import SeededChance, VirtualClock, open_test_app

FAST = Settings(grace=0.02, poll=0.005, sweep=0.05, signing_key="5a" * 32)
_numbers = itertools.count(1)


class Home:
    """A store that is opened anew for everybody who comes."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        self.folder = folder
        self.clock = clock

    async def open(self) -> Store:
        raise NotImplementedError

    async def close(self) -> None:
        """Nobody comes any more."""

    @asynccontextmanager
    async def app(self, *graphs: Any, store: Any = None, **options: Any) -> AsyncIterator[App]:
        """An app on it; it drives threads only when told to (`work=True`)."""
        given = {
            "clock": self.clock, "settings": FAST, "work": False, "chance": SeededChance(next(_numbers)), **options,
        }  # fmt: skip
        async with open_test_app(store or await self.open(), graphs=graphs, **given) as app:
            yield app


class File(Home):
    """A SQLite file."""

    async def open(self) -> Store:
        return SqliteStore(str(self.folder / "turnout.db"))


class Memory(Home):
    """SQLite in memory: whoever closes it only leaves."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        super().__init__(folder, clock)
        self._store = SqliteStore(":memory:")
        self._close = self._store.close

    async def open(self) -> Store:
        async def leave() -> None:
            pass

        self._store.close = leave  # type: ignore[method-assign]
        return self._store

    async def close(self) -> None:
        await self._close()


class Postgres(Home):
    """A database of the tests' own server."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        super().__init__(folder, clock)
        self._database = fresh_database(schema=True)
        self._url = self._database.__enter__()

    async def open(self) -> Store:
        return PostgresStore(self._url)

    async def close(self) -> None:
        self._database.__exit__(None, None, None)


KINDS: dict[str, Callable[[Path, VirtualClock], Home]] = {
    "file": File,
    "memory": Memory,
    "postgres": Postgres,
}
PAIRS = [("file", "memory"), ("memory", "file"), ("file", "postgres"), ("postgres", "file")]
"""From what kind of store to what kind. Every test of moving is run for each pair."""
