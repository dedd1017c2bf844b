"""The simulated bank: a small SQLite file of its own, outside of Turnout's store.

It is the world's record, by which Turnout's can be checked. It doesn't forgive: there is no unique key on
payments, so a payment that is sent twice is paid twice, and the audit would show it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.demo.batch import Batch
from turnout.errors import StoreUnavailable

APPLICATION = 0x54444D4F  # "TDMO": marks the file as the demo's
SCHEMA = """
CREATE TABLE account (opening_balance INTEGER NOT NULL);
CREATE TABLE beneficiaries (iban TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE sanctions (name TEXT PRIMARY KEY);
CREATE TABLE unanswered (name TEXT PRIMARY KEY);
CREATE TABLE closed_accounts (iban TEXT PRIMARY KEY);
CREATE TABLE requests (n INTEGER PRIMARY KEY, id TEXT NOT NULL, iban TEXT NOT NULL, amount TEXT NOT NULL,
                       reference TEXT NOT NULL);
CREATE TABLE payments (n INTEGER PRIMARY KEY, request TEXT NOT NULL, iban TEXT NOT NULL, cents INTEGER NOT NULL,
                       idempotency_key TEXT NOT NULL);
"""


class RegisterSilent(Exception):
    """The sanctions register has given no answer."""


class AccountClosed(Exception):
    """The bank has refused: the account is closed. Nothing was booked."""


@dataclass(frozen=True)
class Audit:
    """What the ledger says by itself. `paid` maps each request to how often it was paid; `cents` is the sum."""

    paid: dict[str, int]
    cents: int

    @property
    def payments(self) -> int:
        """How many payments were made."""
        return sum(self.paid.values())

    @property
    def twice(self) -> list[str]:
        """Requests that were paid more than once."""
        return [request for request, times in self.paid.items() if times > 1]


def create(path: Path, batch: Batch) -> None:
    """Open the account. The file appears with everything in it, or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part)
    try:
        db.execute("PRAGMA journal_mode = WAL")  # who reads isn't kept waiting by a process that stands still
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute("INSERT INTO account VALUES (?)", [batch.opening_balance])
        db.executemany(
            "INSERT INTO beneficiaries VALUES (?, ?)", [(a.iban, a.name) for a in batch.beneficiaries]
        )
        db.executemany("INSERT INTO sanctions VALUES (?)", [(name,) for name in batch.sanctions])
        db.executemany("INSERT INTO unanswered VALUES (?)", [(name,) for name in batch.unanswered])
        db.executemany("INSERT INTO closed_accounts VALUES (?)", [(iban,) for iban in batch.closed_accounts])
        rows = [(r.id, plain_iban(r.iban), r.amount, r.reference) for r in batch.requests]
        db.executemany("INSERT INTO requests (id, iban, amount, reference) VALUES (?, ?, ?, ?)", rows)
        db.commit()
    finally:
        db.close()
    part.rename(path)


def is_ledger(path: Path) -> bool:
    """Is this file one that `create` made?"""
    try:
        with _open(path) as db:
            return bool(db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION)
    except (sqlite3.Error, StoreUnavailable):
        return False


def plain_iban(iban: str) -> str:
    """An IBAN without the blanks that people write into it."""
    return "".join(iban.split()).upper()


# --- what the desk asks of it ---------------------------------------------------------------------------------


def is_sanctioned(path: str, name: str) -> bool:
    """Is the name on the sanctions list? Raises `RegisterSilent`."""
    if _value(path, "SELECT count(*) FROM unanswered WHERE name = ?", name):
        raise RegisterSilent(f"the sanctions register gives no answer for {name!r}")
    found: int = _value(path, "SELECT count(*) FROM sanctions WHERE name = ? COLLATE NOCASE", name)
    return found > 0


def beneficiary(path: str, iban: str) -> str | None:
    """The name under which this IBAN was paid before, if it was."""
    name: str | None = _value(path, "SELECT max(name) FROM beneficiaries WHERE iban = ?", iban)
    return name


def earlier_request(path: str, request: str) -> str | None:
    """An earlier request for the same: IBAN, amount and reference."""
    sql = """SELECT min(a.id) FROM requests a JOIN requests b ON b.id = ? AND a.n < b.n
             AND a.iban = b.iban AND a.amount = b.amount AND a.reference = b.reference"""
    found: str | None = _value(path, sql, request)
    return found


def balance(path: str) -> int:
    """What is in the account, in cents."""
    sql = "SELECT opening_balance - (SELECT coalesce(sum(cents), 0) FROM payments) FROM account"
    return int(_value(path, sql))


def pay(path: str, request: str, iban: str, cents: int, idempotency_key: str) -> str:
    """Book a payment, whatever was booked before. Returns the receipt. Raises `AccountClosed`."""
    with _open(Path(path)) as db:
        if db.execute("SELECT 1 FROM closed_accounts WHERE iban = ?", [iban]).fetchone():
            raise AccountClosed(f"the account {iban} is closed")
        sql = "INSERT INTO payments (request, iban, cents, idempotency_key) VALUES (?, ?, ?, ?)"
        row = db.execute(sql, [request, iban, cents, idempotency_key]).lastrowid
        db.commit()
        return _receipt(row)


def receipt_of(path: str, idempotency_key: str) -> str | None:
    """The receipt of the payment that came with this key, if it was booked."""
    row = _value(path, "SELECT min(n) FROM payments WHERE idempotency_key = ?", idempotency_key)
    return None if row is None else _receipt(row)


def audit(path: str | Path) -> Audit:
    """Count the payments, without asking Turnout."""
    with _open(Path(path)) as db:
        paid = dict(db.execute("SELECT request, count(*) FROM payments GROUP BY request ORDER BY request"))
        cents = db.execute("SELECT coalesce(sum(cents), 0) FROM payments").fetchone()[0]
    return Audit(paid, cents)


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """While this lasts, nobody closes the file as the last one: who does so locks out all others for a moment, and a
    process that is stopped in that moment would lock them out until it goes on."""
    with _open(path) as db:
        db.execute("SELECT 1 FROM account").fetchone()
        yield


def _receipt(row: int | None) -> str:
    return f"BANK-{row:04d}"


def _value(path: str, sql: str, *values: str) -> Any:
    with _open(Path(path)) as db:
        return db.execute(sql, values).fetchone()[0]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, which must be there: a ledger that appeared by itself would have forgotten what was paid."""
    if not path.is_file():
        raise StoreUnavailable(f"the demo's ledger {path} is gone; start over with `turnout demo`")
    db = sqlite3.connect(path, timeout=10)
    try:
        yield db
    finally:
        db.close()
