"""What one watcher hears: that there is more, the newest entries, and what `ctx.emit` says in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turnout.core.entries import Entry
from turnout.ports.dispatcher import Dispatcher
from turnout.service.live.scout import Scout

PIECES = 256
"""Emitted pieces that are kept for a watcher who doesn't fetch them; then the oldest goes."""
NEWEST = 64
"""Entries that are kept so that they needn't be read from the store."""


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
        """Whether there may be more in the store than what was heard of."""
        self._wanted = wanted
        self._pieces: deque[tuple[str, Any]] = deque(maxlen=PIECES)
        self._newest: deque[Entry] = deque(maxlen=NEWEST)
        self._lost = 0
        self._ends = (hub.listen(self._heard), hub.watch(self._saw), scout.listen(self._heard))

    def _heard(self, thread: str) -> None:
        if not thread or self._wanted(thread):
            self.more = True
            self.news.set()

    def _saw(self, thread: str, event: Any) -> None:
        if not self._wanted(thread):
            return
        if isinstance(event, Entry):
            self._newest.append(event)
        else:
            self._lost += len(self._pieces) == PIECES
            self._pieces.append((thread, event))
        self.news.set()

    def pieces(self) -> list[Piece]:
        """What was emitted since the last time."""
        taken, lost = list(self._pieces), self._lost
        self._pieces.clear()
        self._lost = 0
        return [Piece(thread, data, 0 if number else lost) for number, (thread, data) in enumerate(taken)]

    def entries(self, after: int) -> list[Entry]:
        """The entries heard of that follow right behind entry `after`; those that don't are in the store."""
        found: list[Entry] = []
        for entry in self._newest:
            if entry.seq == after + 1 + len(found):
                found.append(entry)
            elif entry.seq > after:
                self.more = True
        self._newest.clear()
        return found

    def close(self) -> None:
        for end in self._ends:
            end()
