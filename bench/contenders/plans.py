"""The plans of the statements that a store really runs, asked for while it runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE")


@contextlib.contextmanager
def explaining(plans: dict[str, str]) -> Iterator[None]:
    """Within the block, the first time that an asynchronous cursor of psycopg executes a statement, it is also run
    under EXPLAIN with the same parameters, at the same place of its transaction, and that is undone. The plans go into
    `plans`, by statement; what is there already isn't asked for again."""
    execute = psycopg.AsyncCursor.execute

    async def explained(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        connection = self.connection
        text = text_of(query, connection)
        if text.split(None, 1)[0].upper() in PLANNED and text not in plans:
            plans[text] = ""  # whoever runs it meanwhile needn't ask, too
            plans[text] = await plan(connection, type(self), text, params)
        return await execute(self, query, params, **options)

    async def plan(connection: Any, kind: Any, text: str, params: Any) -> str:
        within = connection.info.transaction_status == TransactionStatus.INTRANS
        cursor = kind(connection, row_factory=tuple_row)  # a raw cursor has placeholders of its own
        await execute(cursor, "SAVEPOINT explained" if within else "BEGIN")
        await execute(cursor, f"EXPLAIN (ANALYZE, BUFFERS) {text}", params)
        lines = [line for (line,) in await cursor.fetchall()]
        await execute(cursor, "ROLLBACK TO SAVEPOINT explained" if within else "ROLLBACK")
        return "\n".join(lines)

    psycopg.AsyncCursor.execute = explained  # type: ignore[method-assign]
    try:
        yield
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]


def text_of(query: Any, connection: Any) -> str:
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else query.as_string(connection)


def refreshed(url: str) -> None:
    """Have the planner know how many rows there are, as autovacuum would within a minute."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE")
