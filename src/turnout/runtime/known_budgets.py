"""The budgets of a store, as this process knows them."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.core.budgets import Budget, applies
from turnout.core.entries import Micros
from turnout.ports.clock import Clock
from turnout.ports.store import Store

FRESH = 1_000_000
"""Microseconds for which they aren't looked up again: so long after it is set, a budget counts the calls of every
process. Which caps hold is looked up at each reservation, in its own transaction."""


class KnownBudgets:
    """Tells whether a call has to reserve at all: most stores have no budgets, and a look at each call costs time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: Sequence[Budget] = ()
        self._seen: Micros | None = None

    async def of(self, graph: str, tenant: str) -> list[Budget]:
        """Those that count calls of this graph and tenant."""
        now = self._clock.now()
        if self._seen is None or not self._seen <= now < self._seen + FRESH:
            self._known = await self._store.budgets()
            self._seen = now
        return [budget for budget in self._known if applies(budget, graph, tenant)]

    def forget(self) -> None:
        """Look them up again: one was set."""
        self._seen = None
