"""Schedules in SQLite: what the store does with them, as functions on a connection, and rows as they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec

from turnout.core.entries import Micros
from turnout.ports.rows import ScheduleRow
from turnout.stores.statements import statements

SQL = statements("sqlite_schedules.sql")


def due(now: Micros, graphs: Sequence[str], limit: int) -> dict[str, Any]:
    """What the statement of that name is given."""
    return {"now": now, "graphs": msgspec.json.encode(list(graphs)).decode(), "limit": limit}


def row(found: Sequence[Any]) -> ScheduleRow:
    """A schedule as it was read. (SQLite knows no booleans.)"""
    made = ScheduleRow(*found)
    return replace(made, paused=bool(made.paused))


def put(db: sqlite3.Connection, schedule: ScheduleRow) -> None:
    db.execute(SQL["put"], asdict(schedule))


def put_own(db: sqlite3.Connection, schedule: ScheduleRow) -> bool:
    return db.execute(SQL["put_own"], asdict(schedule)).rowcount == 1


def move(db: sqlite3.Connection, schedule: ScheduleRow, was: ScheduleRow) -> bool:
    values = {**asdict(schedule), "was_next_at": was.next_at, "was_updated_at": was.updated_at}
    return db.execute(SQL["move"], values).rowcount == 1


def drop(db: sqlite3.Connection, name: str) -> bool:
    return db.execute(SQL["drop"], (name,)).rowcount == 1


def drop_own(db: sqlite3.Connection, name: str, tenant: str) -> bool:
    return db.execute(SQL["drop_own"], (name, tenant)).rowcount == 1
