"""The schema on Postgres: numbered migrations, made under an advisory lock, each in a transaction of its own."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from psycopg import AsyncConnection
from psycopg import errors as pg

from turnout.errors import StoreNewer, StoreUnavailable
from turnout.stores.postgres_errors import masked
from turnout.stores.postgres_wakes import install

Connection = AsyncConnection[Any]
LOCK = "SELECT pg_advisory_lock(1414877774, 0)"
UNLOCK = "SELECT pg_advisory_unlock(1414877774, 0)"


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in their order."""
    found = []
    for file in files("turnout.stores").joinpath("postgres_migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append((int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found)


async def version(connection: Connection) -> int:
    """The number of the newest migration that the database has had; 0 when there is no Turnout schema."""
    try:
        row = await (await connection.execute("SELECT max(version) FROM turnout.migrations")).fetchone()
    except (pg.UndefinedTable, pg.InvalidSchemaName):
        return 0
    return int(row[0] or 0) if row else 0


async def check(connection: Connection, url: str, *, create: bool) -> None:
    """See that the schema is the one this Turnout knows. Where it is missing or older, make it if `create`.

    Raises `StoreNewer`, or `StoreUnavailable` when it is missing or older and must not be made.
    """
    newest = migrations()[-1][0]
    found = await version(connection)
    _refuse_newer(found, newest, url)
    if found == newest:
        return
    if not create:
        what = f"has schema {found}, this Turnout needs {newest}" if found else "has no Turnout schema yet"
        raise StoreUnavailable(f"the store {masked(url)} {what}; run `turnout migrate --store URL` first")
    await migrate(connection, url)


async def migrate(connection: Connection, url: str) -> list[str]:
    """Bring the schema up to what this Turnout knows; returns the names of the migrations that were made.

    Whoever comes second waits at the lock and finds nothing left to do. Raises `StoreNewer`.
    """
    await connection.execute(LOCK)
    try:
        found, made = await version(connection), []
        known = migrations()
        _refuse_newer(found, known[-1][0], url)
        for number, name, sql in known:
            if number <= found:
                continue
            async with connection.transaction():
                if found == 0 and number == known[0][0]:
                    await connection.execute("CREATE SCHEMA IF NOT EXISTS turnout")
                    await connection.execute(
                        "CREATE TABLE turnout.migrations (version bigint PRIMARY KEY, name text NOT NULL, "
                        "at timestamptz NOT NULL DEFAULT now())"
                    )
                    await install(connection)
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO turnout.migrations (version, name) VALUES (%s, %s)", (number, name)
                )
            made.append(f"{number:04} {name}")
        return made
    finally:
        await connection.execute(UNLOCK)


def _refuse_newer(found: int, newest: int, url: str) -> None:
    if found > newest:
        raise StoreNewer(
            f"the store {masked(url)} has schema {found}, this Turnout knows {newest}; upgrade with `pip install -U turnout`"
        )
