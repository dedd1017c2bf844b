"""The ledger in SQLite: functions on a connection, each a part of one transaction. Who writes is alone, so what was read
is still so when it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from turnout.core.booking import Booking
from turnout.core.budgets import Account, Budget, Charge, ChargeRow
from turnout.core.entries import Micros
from turnout.ports.rows import CostRow
from turnout.stores import ledger
from turnout.stores.statements import statements

SQL = statements("sqlite_budgets.sql")


def booked(db: sqlite3.Connection, charges: list[Charge]) -> Booking:
    """How the ledger stands after these charges. Raises `CapReached`. Nothing is written yet."""
    booking = Booking(budgets(db))
    for charge in charges:
        if charge.of:
            for row in db.execute(SQL["charge"], (charge.thread, charge.of)):
                booking.rows[(charge.thread, charge.of)] = ledger.charge(row)
    _load(db, booking, booking.needs(charges))
    return booking.after(charges)


def book(db: sqlite3.Connection, rows: Sequence[ChargeRow]) -> None:
    """Put calls into the ledger that aren't there, or are there as they were before."""
    booking = Booking(
        budgets(db), {name: ledger.since(body) for name, body in db.execute(SQL["budgets_set"])}
    )
    for row in rows:
        for found in db.execute(SQL["charge"], (row.thread, row.seq)):
            booking.rows[(row.thread, row.seq)] = ledger.charge(found)
    _load(db, booking, booking.needs_to_add(rows))
    for row in rows:
        booking.add(row)
    write(db, booking)


def _load(db: sqlite3.Connection, booking: Booking, names: set[str]) -> None:
    if names:
        found = db.execute(SQL["accounts_named"], (msgspec.json.encode(sorted(names)).decode(),))
        booking.accounts = {row[0]: ledger.account(row) for row in found}


def write(db: sqlite3.Connection, booking: Booking) -> None:
    """Write what a booking has changed."""
    db.executemany(SQL["put_charge"], [ledger.charge_columns(row) for row in booking.changed.values()])
    db.executemany(SQL["put_account"], [ledger.account_columns(one) for one in booking.touched.values()])


def budgets(db: sqlite3.Connection) -> list[Budget]:
    return [ledger.budget(row[0]) for row in db.execute(SQL["budgets"])]


def put_budget(db: sqlite3.Connection, budget: Budget, at: Micros) -> None:
    before = dict(db.execute(SQL["budgets_set"])).get(budget.name)
    db.execute(SQL["put_budget"], (budget.name, ledger.stored(budget, at, before)))


def drop_budget(db: sqlite3.Connection, name: str) -> bool:
    return db.execute(SQL["drop_budget"], (name,)).rowcount == 1


def accounts(db: sqlite3.Connection, budget: str, limit: int) -> list[Account]:
    name = "accounts_of_budget" if budget else "accounts"
    values = {"budget": budget, "limit": limit} if budget else {"limit": limit}
    return [ledger.account(row) for row in db.execute(SQL[name], values)]


def charges(db: sqlite3.Connection, thread: str) -> list[ChargeRow]:
    return [ledger.charge(row) for row in db.execute(SQL["charges"], (thread,))]


def costs(
    db: sqlite3.Connection, by: str, since: Micros, graph: str, tenant: str, thread: str
) -> list[CostRow]:
    values = {"by": by, "since": since, "graph": graph, "tenant": tenant, "thread": thread}
    return [ledger.cost(row) for row in db.execute(SQL["costs"], values)]
