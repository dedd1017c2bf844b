"""What the tests of the promises share: a workbench, not a mock. Stores are real, the worker is the real one."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import sqlite3
import sys
import textwrap
from contextlib import asynccontextmanager

from turnout import Settings, open_app
from turnout.errors import StoreUnavailable
from turnout.runtime.clock import SystemClock
from turnout.stores.sqlite import SqliteStore

FAST = Settings(poll=0.005, sweep=0.1, grace=0.5, strict=True)
_numbers = itertools.count(1)


def load(folder, source, name="desk"):
    """A graph module written to a file and imported from there: one version of somebody's code."""
    module_name = f"{name}_v{next(_numbers)}"
    path = folder / f"{module_name}.py"
    path.write_text(PRELUDE + textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


PRELUDE = """\
from __future__ import annotations
from typing import Annotated, Literal
from pydantic import BaseModel
from turnout import (CANNOT_TELL, DID_NOT_HAPPEN, END, Context, DidNotHappen, Graph, Landed, Retry, add, append,
                     fan_out, field, parallel, rule, tool)

"""


@asynccontextmanager
async def app_on(store, *graphs, **options):
    """An app on a file (a path), a URL or a store."""
    target = f"sqlite:///{store}" if hasattr(store, "joinpath") else store
    async with open_app(target, graphs=graphs, **{"settings": FAST, **options}) as app:
        yield app


class Later(SystemClock):
    """The clock of a process that is started an hour after: leases of the dead have ended."""

    def now(self):
        return super().now() + 3_600_000_000


class Watched:
    """A real store with somebody standing at its door: `before(change)` sees every append and may hold or refuse it."""

    def __init__(self, store, before=None):
        self._store = store
        self.before = before
        self.appends = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def append(self, change):
        if self.before is not None:
            await self.before(change)
        await self._store.append(change)
        self.appends.append(change)

    def kinds(self, thread=None):
        """The kinds of the entries of each append, in order."""
        return [[row.kind for row in c.rows] for c in self.appends if thread in (None, c.thread)]


class Dying(Watched):
    """A store whose process dies at an append that has an entry of `kind`: that append and all later ones are lost."""

    def __init__(self, path, kind, nth=1, *, after=False):
        super().__init__(SqliteStore(str(path)))
        self._kind, self._left, self._after, self.dead = kind, nth, after, asyncio.Event()

    async def append(self, change):
        if self._kind in [row.kind for row in change.rows]:
            self._left -= 1
        if self._left > 0 or self.dead.is_set():
            if self.dead.is_set():
                raise StoreUnavailable("the process is dead")
            return await super().append(change)
        if self._after:
            await super().append(change)
        self.dead.set()
        raise StoreUnavailable("the process is dead")


@asynccontextmanager
async def until_death(store, graph, input, thread="t", **options):
    """Run `graph` on a store that dies, and leave when it has."""
    async with app_on(store, graph, **options) as app:
        await app.start(graph, input, thread=thread)
        await asyncio.wait_for(store.dead.wait(), 10)
        await asyncio.sleep(0.02)
        yield app


async def kinds(app, thread="t"):
    return [entry.kind for entry in await app.entries(thread)]


async def finish(app, run="t/1"):
    return await app.wait(run, timeout=20)


def sql(path, statement, *values):
    """Change or read a store's file behind Turnout's back."""
    with sqlite3.connect(path) as db:
        found = db.execute(statement, values).fetchall()
    db.close()
    return found


def dump(path):
    """Everything in a store's file."""
    db = sqlite3.connect(path)
    tables = [
        name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name")
    ]
    found = {table: sorted(map(repr, db.execute(f"SELECT * FROM {table}").fetchall())) for table in tables}
    db.close()
    return found
