"""What one watcher hears: that there is more, the newest entries, and what `ctx.emit` says in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from turnout.core.entries import Entry
from turnout.ports.dispatcher import Dispatcher
from turnout.service.live.scout import Scout

KEPT = 256
"""Events that are kept for a watcher who doesn't fetch them; then the oldest goes."""


@dataclass(frozen=True)
class Piece:
    """What `ctx.emit` said. `lost` pieces went before it, because the watcher was too slow."""

    thread: str
    data: Any
    lost: int = 0


class Ears:
    """Listens from when it is made until `close`. Nothing here grows: who doesn't fetch what was kept loses the oldest."""

    def __init__(self, hub: Dispatcher, scout: Scout, wanted: Callable[[str], bool]) -> None:
        self.news = asyncio.Event()
        self.more = True
        """Whether there may be entries in the store that weren't heard of."""
        self._wanted = wanted
        self._events: deque[Entry | Piece] = deque()
        self._lost = 0
        self._ends = (hub.listen(self._heard), hub.watch(self._saw), scout.listen(self._heard))

    def _heard(self, thread: str) -> None:
        if not thread or self._wanted(thread):
            self.more = True
            self.news.set()

    def _saw(self, thread: str, event: Any) -> None:
        if not self._wanted(thread):
            return
        self._events.append(event if isinstance(event, Entry) else Piece(thread, event))
        if len(self._events) > KEPT:  # an entry that is lost here is in the store
            self._lost += isinstance(self._events.popleft(), Piece)
        self.news.set()

    def take(self) -> list[Entry | Piece]:
        """What was heard since the last time, in its order."""
        taken = list(self._events)
        self._events.clear()
        self.news.clear()
        for number, event in enumerate(taken if self._lost else ()):
            if isinstance(event, Piece):
                taken[number], self._lost = replace(event, lost=self._lost), 0
                break
        return taken

    def close(self) -> None:
        for end in self._ends:
            end()
