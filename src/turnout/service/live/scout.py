"""The scout: which threads have others written? It asks for all who watch in this process, once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from turnout.core.entries import Micros
from turnout.errors import StoreError
from turnout.ports.clock import Clock
from turnout.ports.store import Store

MARGIN = 10_000_000
"""Microseconds: an entry may be stamped so long before it is durable (and clocks of machines differ)."""
POLL = 0.25
"""Seconds between two questions whether another process has written."""
SHARE = 10
"""A look at the threads is followed by a pause of so many times as long as it took..."""
LONGEST = MARGIN / 2_000_000
"""... but of no more seconds than that: what others wrote must be heard of well within the margin."""
OFTEN = MARGIN // 4
"""Microseconds after which it looks, also when it isn't known that somebody has written: a store that is writing itself may
not tell."""


class Scout:
    """Looks while somebody listens."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._listeners: list[Callable[[str, int], None]] = []
        self._heads: dict[str, int] = {}
        """The threads that the last look found. What it didn't find will have grown when it is found again."""
        self.sure = clock.now()
        """Who listens has been told of everything that became durable, since they began to, before this moment."""
        self._task: asyncio.Task[None] | None = None

    def listen(self, hear: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `hear(thread, head)` when a thread has grown; returns what ends it."""
        self._listeners.append(hear)
        if self._task is None:
            self.sure = self._clock.now()
            self._task = asyncio.ensure_future(self._run())
        return lambda: self._end(hear)

    def _end(self, hear: Callable[[str, int], None]) -> None:
        self._listeners.remove(hear)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        seen, looked = self._store.changed(), self._clock.now() - MARGIN
        while True:
            await asyncio.sleep(POLL)
            with contextlib.suppress(StoreError):  # it comes back, or the process ends
                now, moment = self._store.changed(), self._clock.now()
                if now == seen and moment - self.sure < OFTEN:
                    continue
                begun = time.monotonic()
                await self._look(looked)
                seen, looked, self.sure = now, moment - MARGIN, moment
                await asyncio.sleep(pause_after(time.monotonic() - begun))

    async def _look(self, since: Micros) -> None:
        name, heads = "", dict[str, int]()
        while rows := await self._store.threads(since=since, after=name, limit=1000):
            for row in rows:
                heads[row.thread] = row.head
                if self._heads.get(row.thread) != row.head:
                    for hear in tuple(self._listeners):
                        hear(row.thread, row.head)
            name = rows[-1].thread
        self._heads = heads


def pause_after(seconds: float) -> float:
    """The pause after a look that took so long."""
    return min(SHARE * seconds, LONGEST)
