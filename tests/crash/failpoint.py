"""A store that kills its own process at a chosen write: before the write, or after it is durable and unanswered.

Or, milder, that fails once there: "refuse" (nothing was written) or "doubt" (it was, but the answer is an error).
Only the tests have it; the product knows nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from turnout.errors import StoreUnavailable
from turnout.ports.rows import Append, Lease
from turnout.ports.store import Store, Transaction


class FailpointStore:
    """Passes everything on to `inner`, counts the writes, and dies at write number `at` (1 is the first)."""

    def __init__(self, inner: Store, at: int = 0, when: str = "before") -> None:
        self._inner = inner
        self._at = at
        self._when = when
        self.url = inner.url
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, change: Append) -> None:
        number = self._before("append " + " ".join(row.kind for row in change.rows))
        await self._inner.append(change)
        self._after(number)

    async def claim(self, worker: str, now: int, until: int, limit: int,
                    graphs: Sequence[str] | None = None, thread: str = "", **more: Any) -> list[Lease]:  # fmt: skip
        rows = await self._inner.threads(limit=1_000_000)
        if not any(
            row.wake_at is not None
            and row.wake_at <= now
            and row.lease_until < now
            and not row.aside
            and thread in ("", row.thread)
            for row in rows
        ):
            return []  # a claim that finds nothing writes nothing
        number = self._before("claim")
        leases = await self._inner.claim(worker, now, until, limit, graphs, thread, **more)
        self._after(number)
        return leases

    async def renew(self, worker: str, threads: Sequence[Lease], until: int) -> list[Lease]:
        if not threads:
            return await self._inner.renew(worker, threads, until)
        number = self._before("renew")
        lost = await self._inner.renew(worker, threads, until)
        self._after(number)
        return lost

    async def release(self, lease: Lease, head: int, wake_at: int | None) -> bool:
        number = self._before("release")
        released = await self._inner.release(lease, head, wake_at)
        self._after(number)
        return released

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Its append and its commit are a write each: between them the append is lost, too."""
        async with self._inner.transaction() as inner:
            yield FailpointTransaction(self, inner)
            number = self._before("commit")
        self._after(number)

    def _before(self, what: str) -> int:
        self.writes.append(what)
        number = len(self.writes)
        if number == self._at and self._when == "before":
            die()
        if number == self._at and self._when == "refuse":
            raise StoreUnavailable("refused, for once")
        return number

    def _after(self, number: int) -> None:
        if number == self._at and self._when == "after":
            die()
        if number == self._at and self._when == "doubt":
            raise StoreUnavailable("in doubt, for once")


class FailpointTransaction:
    """A transaction of such a store."""

    def __init__(self, store: FailpointStore, inner: Transaction) -> None:
        self.connection = inner.connection
        self._store = store
        self._inner = inner

    async def append(self, change: Append) -> None:
        number = self._store._before("transaction " + " ".join(row.kind for row in change.rows))
        await self._inner.append(change)
        self._store._after(number)


def die() -> None:
    """What `kill -9` does: no handler, no flush, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)
