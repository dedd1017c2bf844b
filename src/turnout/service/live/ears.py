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
    """Hears the pieces of the threads that are `wanted`, from when it is made until `close`. Nothing here grows: who doesn't
    fetch what was kept loses the oldest. Of entries a feed tells: it sets `news`."""

    def __init__(self, hub: Dispatcher, wanted: Callable[[str], bool], thread: str = "") -> None:
        self.news = asyncio.Event()
        self._wanted = wanted
        self._events: deque[Entry | Piece] = deque()
        self._lost = 0
        self._ends = [hub.watch(self._saw, thread)]

    def _saw(self, thread: str, event: Any) -> None:
        if not isinstance(event, Entry) and self._wanted(thread):
            self._keep(Piece(thread, event))

    def _keep(self, event: Entry | Piece) -> None:
        self._events.append(event)
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


class ThreadEars(Ears):
    """Hears the entries of one thread, too, as this process writes them, and that there may be more of others'."""

    def __init__(self, hub: Dispatcher, scout: Scout, thread: str) -> None:
        super().__init__(hub, lambda name: name == thread, thread)
        self.more = True
        """Whether there may be entries in the store that weren't heard of."""
        self._ends += hub.listen(self._heard), scout.listen(lambda name, head: self._heard(name))

    def _heard(self, thread: str) -> None:
        if not thread or self._wanted(thread):
            self.more = True
            self.news.set()

    def _saw(self, thread: str, event: Any) -> None:
        if self._wanted(thread):
            self._keep(event if isinstance(event, Entry) else Piece(thread, event))
