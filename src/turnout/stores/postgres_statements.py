"""The statements of the Postgres store, by their names, and one way to run them on a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncRawCursor

from turnout.stores import postgres_budgets
from turnout.stores.postgres_connections import Connection
from turnout.stores.statements import statements

SQL = statements("postgres.sql") | {f"budgets.{name}": sql for name, sql in postgres_budgets.SQL.items()}


async def run(
    connection: Connection, name: str, values: Sequence[Any] = (), *, prepare: bool | None = None
) -> list[Any]:
    """The rows of one statement. `prepare=False` has it planned for these values, as a list with filters needs."""
    cursor = AsyncRawCursor(connection)
    await cursor.execute(SQL[name], values or None, binary=True, prepare=prepare)
    return await cursor.fetchall() if cursor.description else []
