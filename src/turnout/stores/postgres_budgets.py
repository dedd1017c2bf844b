"""The ledger in Postgres: charges are booked in the transaction of the appends that bring them.

All accounts that a transaction will touch are locked first of all, in the order of their names. Which reservations have
room is then decided here, before anything is written, and it is still so at the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor

from turnout.core.booking import Booking
from turnout.core.budgets import Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.errors import CapReached
from turnout.ports.rows import Append
from turnout.stores import ledger
from turnout.stores.statements import statements

SQL = statements("postgres_budgets.sql")
Connection = AsyncConnection[Any]


class Ledger:
    """The booking of one transaction's appends."""

    def __init__(self, booking: Booking, changes: Sequence[Append]) -> None:
        self.refused: dict[str, CapReached] = {}
        """The appends that have no room, by thread."""
        self._before = self._after = booking
        self._changes = changes

    @classmethod
    async def open(cls, connection: Connection, changes: Sequence[Append]) -> Ledger:
        """Lock what these appends touch, and see which of them have room, each behind those before it."""
        charges = [charge for change in changes for charge in change.charges]
        booking = Booking(await budgets(connection))
        await _load_rows(connection, booking, [(one.thread, one.of) for one in charges if one.of])
        await _lock_accounts(connection, booking, booking.needs(charges))
        found = cls(booking, changes)
        found._look()
        return found

    def _look(self) -> None:
        for change in self._changes:
            try:
                self._after = self._after.after(change.charges)
            except CapReached as error:
                self.refused[change.thread] = error

    async def close(self, connection: Connection, done: set[str]) -> bool:
        """Book what the appends brought that were accepted. False: those that were refused may have room after all, for
        one that came before them was not accepted."""
        taken = {change.thread for change in self._changes} - self.refused.keys()
        booking = self._after
        if not taken <= done:
            booking = self._before
            for change in self._changes:
                if change.thread in done:
                    for charge in change.charges:
                        booking.book(charge)
        await _write(connection, booking)
        return taken <= done


async def book(connection: Connection, rows: Sequence[ChargeRow]) -> None:
    """Put calls into the ledger that aren't there, or are there as they were before."""
    booking = Booking(
        await budgets(connection), {name: ledger.since(body) for name, body in await _set(connection)}
    )
    places = [(row.thread, row.seq) for row in rows]
    await _load_rows(connection, booking, places)
    await _lock_accounts(connection, booking, booking.needs_to_add(rows))
    await _load_rows(connection, booking, places)  # as they are now that nobody can settle them
    for row in rows:
        booking.add(row)
    await _write(connection, booking)


async def _load_rows(connection: Connection, booking: Booking, places: Sequence[tuple[str, int]]) -> None:
    if places:
        for row in await _run(connection, "charges_named", _columns(places)):
            booking.rows[(row[0], row[1])] = ledger.charge(row)


async def _lock_accounts(connection: Connection, booking: Booking, names: set[str]) -> None:
    if names:
        wanted = sorted(names)
        await _run(connection, "make_accounts", [wanted, [name.partition("/")[0] for name in wanted]])
        rows = await _run(connection, "lock_accounts", [wanted])
        booking.accounts = {row[0]: ledger.account(row) for row in rows}


async def _write(connection: Connection, booking: Booking) -> None:
    if booking.changed:
        rows = [ledger.charge_columns(row) for row in booking.changed.values()]
        await _run(connection, "put_charges", _columns(rows))
    if booking.touched:
        touched = sorted(booking.touched.values(), key=lambda one: one.account)
        await _run(connection, "put_accounts", _columns([ledger.account_columns(one) for one in touched]))


async def put_budget(connection: Connection, budget: Budget, at: Micros) -> None:
    before = dict(await _set(connection)).get(budget.name)
    await _run(connection, "put_budget", [budget.name, ledger.stored(budget, at, before)])


async def _set(connection: Connection) -> list[tuple[str, bytes]]:
    return [(name, body) for name, body in await _run(connection, "budgets_set", [])]


async def budgets(connection: Connection) -> list[Budget]:
    return [ledger.budget(row[0]) for row in await _run(connection, "budgets", [])]


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def _run(connection: Connection, name: str, values: Sequence[Any]) -> list[Any]:
    cursor = await AsyncRawCursor(connection).execute(SQL[name], values or None, binary=True)
    return await cursor.fetchall() if cursor.description else []
