"""What a journal needs that moves from store to store: functions on a connection."""

from __future__ import annotations

import sqlite3

from turnout.stores.statements import statements

SQL = statements("sqlite_moving.sql")


def put_aside(db: sqlite3.Connection, thread: str, reason: str) -> None:
    """Set the thread aside, or no longer (""), in the caller's transaction."""
    db.execute(SQL["put_aside"], (reason, thread))
