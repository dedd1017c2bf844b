"""What the handle of a tenant does the same on every store: it writes what is the tenant's own, and does no worker's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

from turnout.core.budgets import Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.core.notices import Notice
from turnout.errors import InputInvalid, StoreUnavailable
from turnout.ports.rows import Append, Lease, OutboxRow, ScheduleRow, ThreadRow, TokenRow
from turnout.ports.store import Store


class OfTenant:
    """Put before a store's class in a class of its own, whose reads see to it that only what is the tenant's is found.

    A thread belongs to its tenant for life and is never deleted: so it is enough to look before a write.
    """

    tenant: str
    whole: Any
    """The store itself."""

    async def open(self) -> None:
        await self.whole.open()

    async def close(self) -> None:
        """The store is closed by who opened it."""

    def changed(self) -> Any:
        return self.whole.changed()

    def within(self, tenant: str) -> Store:
        return self if tenant == self.tenant else _refuse()  # type: ignore[return-value]

    async def append(self, change: Append) -> None:
        found: ThreadRow | None = await self.whole.thread(change.thread)
        if (found.tenant if found is not None else change.tenant) != self.tenant or change.wakes:
            raise InputInvalid(f"the name {change.thread!r} is taken; use another thread")
        if change.base is not None and not await self._own([change.base[0]]):
            raise InputInvalid(f"there is no thread {change.base[0]!r} to fork")
        await self.whole.append(change)

    async def set_aside(
        self, threads: Sequence[str], reason: str, outbox: Sequence[Notice] = ()
    ) -> list[str]:
        done: list[str] = await self.whole.set_aside(await self._own(threads), reason, outbox)
        return done

    async def take_back(self, threads: Sequence[str], at: Micros, outbox: Sequence[Notice] = ()) -> list[str]:
        done: list[str] = await self.whole.take_back(await self._own(threads), at, outbox)
        return done

    async def _own(self, threads: Sequence[str]) -> list[str]:
        return [thread for thread in threads if await self.thread(thread) is not None]  # type: ignore[attr-defined]

    # --- schedules and tokens ------------------------------------------------------------------------------------

    async def put_schedule(self, row: ScheduleRow) -> None:
        if row.tenant != self.tenant or not await self.whole.put_own_schedule(row):
            raise InputInvalid(f"the name {row.name!r} is taken; use another name for the schedule")

    async def move_schedule(self, row: ScheduleRow, was: ScheduleRow) -> bool:
        if row.tenant != self.tenant or not await self.schedules(name=was.name):  # type: ignore[attr-defined]
            return False
        done: bool = await self.whole.move_schedule(row, was)
        return done

    async def drop_schedule(self, name: str) -> bool:
        # One statement: a schedule, unlike a thread, can be another tenant's a moment later.
        done: bool = await self.whole.drop_own_schedule(name, self.tenant)
        return done

    async def put_token(self, row: TokenRow) -> None:
        if row.tenant != self.tenant:
            _refuse()
        await self.whole.put_token(row)

    async def revoke_token(self, token: str, at: Micros) -> bool:
        if not await self.tokens(token=token):  # type: ignore[attr-defined]
            return False
        done: bool = await self.whole.revoke_token(token, at)
        return done

    # --- the outbox ----------------------------------------------------------------------------------------------

    async def resend_outbox(
        self, at: Micros, notices: Sequence[str] | None = None, tenant: str = ""
    ) -> list[str]:
        if tenant not in ("", self.tenant):
            return []
        done: list[str] = await self.whole.resend_outbox(at, notices, self.tenant)
        return done

    async def claim_outbox(
        self, owner: str, channel: str, now: Micros, until: Micros, limit: int
    ) -> list[OutboxRow]:
        _refuse()

    async def settle_outbox(self, row: OutboxRow, owner: str) -> bool:
        _refuse()

    async def forget_outbox(self, before: Micros) -> int:
        _refuse()

    # --- what is for workers, or for all -------------------------------------------------------------------------

    async def claim(self, *args: Any, **more: Any) -> list[Lease]:
        _refuse()

    async def renew(self, worker: str, threads: Sequence[Lease], until: Micros) -> list[Lease]:
        _refuse()

    async def release(self, lease: Lease, head: int, wake_at: Micros | None) -> bool:
        _refuse()

    async def wake(self, threads: Sequence[str], at: Micros) -> None:
        _refuse()

    async def due(
        self, now: Micros, graphs: Sequence[str] | None = None, limit: int = 1, *, held: bool = True
    ) -> int:
        _refuse()

    async def due_schedules(self, now: Micros, graphs: Sequence[str], limit: int = 100) -> list[ScheduleRow]:
        _refuse()

    async def put_budget(self, budget: Budget) -> None:
        _refuse()

    async def drop_budget(self, name: str) -> bool:
        _refuse()

    async def book(self, rows: Sequence[ChargeRow]) -> None:
        _refuse()

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        _refuse()

    async def forget_sessions(self, before: Micros) -> int:
        _refuse()

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        _refuse()

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        _refuse()


def _refuse() -> NoReturn:
    raise StoreUnavailable("that is not for a single tenant; it needs the whole store")
