"""Which threads are exported, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from turnout.ports.rows import ThreadRow
from turnout.ports.store import Store
from turnout.service.threads import thread_row

PAGE = 500


@dataclass(frozen=True)
class Selection:
    """Threads by name, or those of a graph and a status; with neither, all."""

    threads: tuple[str, ...] = ()
    graph: str = ""
    status: str = ""

    @property
    def everything(self) -> bool:
        return not (self.threads or self.graph or self.status)

    def takes(self, row: ThreadRow) -> bool:
        """Is this thread among them?"""
        if self.threads:
            return row.thread in self.threads
        return self.graph in ("", row.graph) and self.status in ("", row.status)

    async def check(self, store: Store) -> None:
        """Raises `UnknownThread` when one that is named isn't there."""
        for name in self.threads:
            await thread_row(store, name)

    async def names(self, store: Store) -> AsyncIterator[str]:
        """Their names."""
        for name in dict.fromkeys(self.threads):
            yield name
        after = ""
        while not self.threads:
            rows = await store.threads(graph=self.graph, status=self.status, after=after, limit=PAGE)
            for row in rows:
                yield row.thread
            if not rows:
                return
            after = rows[-1].thread


async def lineage(store: Store, row: ThreadRow) -> list[ThreadRow]:
    """The thread's base, and the base of that, the oldest first. Raises `UnknownThread`."""
    found: list[ThreadRow] = []
    while row.base_thread is not None:
        row = await thread_row(store, row.base_thread)
        found.insert(0, row)
    return found
