"""A thread leaves its store: nobody there goes on with it, until it is given back."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from turnout.core import aside
from turnout.core.entries import Micros
from turnout.errors import TurnoutError
from turnout.ports.rows import Append, ThreadRow
from turnout.ports.store import Store
from turnout.service import ledger
from turnout.service.moving import lines


class Leaving:
    """What one export, `export`, does to the threads that it moves to `where`."""

    def __init__(self, store: Store, where: str, export: str) -> None:
        self.place = f"{where} (export {export})"
        self._store = store
        self._where = where
        self._export = export

    def is_mine(self, row: ThreadRow) -> bool:
        """Was it this export that has moved the thread, before it was cut off?"""
        return aside.moved_by(row.aside, self._export)

    def is_away(self, row: ThreadRow) -> bool:
        """Was it another export?"""
        return row.aside.startswith(aside.MOVED) and not self.is_mine(row)

    async def set_aside(self, row: ThreadRow) -> None:
        """Nobody here goes on with the thread from now on, and nothing is recorded in it."""
        reason = aside.moved_to(self._where, self._export, row.aside)
        if row.aside:  # another reason for what is so already
            await self._store.append(_only_aside(row, reason, row.wake_at))
        else:
            await self._store.set_aside([row.thread], reason)

    async def release(self, name: str) -> None:
        """What its calls have reserved is for the other store to hold, and to settle."""
        await ledger.leave(self._store, name)

    async def give_back(self, name: str, before: ThreadRow | None = None) -> None:
        """It isn't in a file that anybody can import: it goes on here, as before if that is known."""
        with contextlib.suppress(TurnoutError):
            row = await self._store.thread(name)
            if row is not None and self.is_mine(row):
                was = as_before(row, before)
                await ledger.stay(self._store, name)
                await self._store.append(_only_aside(row, was.aside, None if was.aside else was.wake_at))


def as_before(row: ThreadRow, before: ThreadRow | None) -> ThreadRow:
    """The row of a thread that was set aside to be moved, but as it was before that.

    When it is due isn't known if something came in between, or if an export was cut off just here (`before` is None):
    then it is due at once, and whoever looks at it finds out.
    """
    was = aside.before_move(row.aside) if before is None else before.aside
    wake_at: Micros | None = row.updated_at
    if row.status in lines.ENDED:
        wake_at = None
    elif before is not None and before.head == row.head:
        wake_at = before.wake_at if before.wake_at is None else max(before.wake_at, 1)
    return replace(row, aside=was, wake_at=wake_at)


def _only_aside(row: ThreadRow, reason: str, wake_at: Micros | None) -> Append:
    """An append that changes nothing but why, or whether, a thread is set aside."""
    return Append(
        thread=row.thread, head=row.head, epoch=row.epoch, rows=[], graph=row.graph, fingerprint=row.fingerprint,
        status=row.status, run=row.run, at=row.updated_at, wake=wake_at, release=True, priority=row.priority,
        aside=reason,
    )  # fmt: skip
