"""Where the stores of the crash tests lie: each case has a fresh one, in a file or in a database of its own."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

from tests.postgres import emptied, fresh_database

from turnout.ports.clock import Clock
from turnout.runtime.clock import SteadyClock, SystemClock
from turnout.wiring import is_postgres

ENGINES = ["sqlite", "postgres"]


class Stores:
    """Makes the stores of one engine, and drops those that don't lie in the test's own folder."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._made = ExitStack()
        self._free: list[str] = []
        self._lock = threading.Lock()

    def fresh(self, folder: Path) -> str:
        """The address of a new store for the case whose files lie in `folder`."""
        if self.engine == "sqlite":
            return f"sqlite:///{folder / 's.db'}"
        with self._lock:
            return self._free.pop() if self._free else self._made.enter_context(fresh_database(schema=True))

    def give_back(self, store: str) -> None:
        """The case went well, nobody will want to look at its store: another one may have it, emptied."""
        if self.engine == "postgres":
            emptied(store)
            self._free.append(store)

    def close(self) -> None:
        self._made.close()


def address(store: str) -> str:
    """The address of a store, of which only its file may be given."""
    return store if "://" in store else f"sqlite:///{store}"


def clock_for(url: str) -> Clock:
    """The clock that `open_app` would choose for this address; needed where a test wraps the store."""
    return SteadyClock() if is_postgres(url) else SystemClock()
