"""Taking turns: a thread with very many steps must not keep others out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from turnout.core.entries import Micros
from turnout.ports.store import Store
from turnout.runtime.loop import Driver


async def to_yield(
    store: Store, since: Micros, graphs: Sequence[str], long: Mapping[str, Driver], *, full: bool
) -> list[str]:
    """Which of the threads that have had their turn make room, after their current step: as many as have been due
    `since` then and found no place.

    `long` are they, the longest driven first. `full`: the worker has no free place. When it has one, what waits is
    kept out by a limit, and only threads that take room under one make some.
    """
    if not full:
        limits = {(row.kind, row.name) for row in await store.limits()}
        long = {
            thread: driver
            for thread, driver in long.items()
            if ("graph", driver.journal.view.graph) in limits
            or ("tenant", driver.journal.view.tenant) in limits
        }
    if not long:
        return []
    waiting = await store.due(since, graphs, len(long), held=False)
    return list(long)[:waiting]
