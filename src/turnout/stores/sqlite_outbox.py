"""The outbox in SQLite: what the store does with it, as functions on a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

from turnout.core.entries import Micros
from turnout.core.notices import Notice
from turnout.ports.rows import OutboxRow
from turnout.stores.statements import statements

SQL = statements("sqlite_outbox.sql")


def row(found: Sequence[Any]) -> OutboxRow:
    """A notice on its way, as it was read."""
    return OutboxRow(Notice(*found[:10]), *found[10:])


def add(db: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    db.executemany(SQL["add"], [(*astuple(notice), notice.due_at) for notice in notices])


def withdraw(db: sqlite3.Connection, reviews: Iterable[str], at: Micros) -> None:
    db.executemany(SQL["withdraw"], [{"review": review, "at": at} for review in reviews])


def waits(db: sqlite3.Connection, channel: str, now: Micros) -> bool:
    """Is anything due that nobody holds?"""
    return db.execute(SQL["due"], {"channel": channel, "now": now, "limit": 1}).fetchone() is not None


def take(
    db: sqlite3.Connection, owner: str, channel: str, now: Micros, until: Micros, limit: int
) -> list[OutboxRow]:
    due = db.execute(SQL["due"], {"channel": channel, "now": now, "limit": limit}).fetchall()
    taken = []
    for (notice,) in due:
        values = {"owner": owner, "until": until, "id": notice, "now": now}
        taken += [row(found) for found in db.execute(SQL["take"], values).fetchall()]
    return taken


def settle(db: sqlite3.Connection, given: OutboxRow, owner: str) -> bool:
    values = {
        "id": given.notice.id, "owner": owner, "attempts": given.attempts, "status": given.status,
        "due_at": given.due_at, "settled_at": given.settled_at, "error": given.error,
    }  # fmt: skip
    return db.execute(SQL["settle"], values).rowcount == 1


def resend(db: sqlite3.Connection, at: Micros, notices: Sequence[str] | None, tenant: str) -> list[str]:
    if notices is None:
        notices = [found[0] for found in db.execute(SQL["dead"], {"tenant": tenant})]
    return [
        notice
        for notice in notices
        if db.execute(SQL["resend"], {"id": notice, "at": at, "tenant": tenant}).rowcount
    ]
