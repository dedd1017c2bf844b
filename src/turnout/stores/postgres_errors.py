"""Postgres' errors in our words, each saying what to do. No message holds a password."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from turnout.errors import InputInvalid, StoreDamaged, StoreUnavailable, TurnoutError


def masked(url: str) -> str:
    """The address without its password, for messages and lists."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    if not at or ":" not in user:
        return url
    return f"{scheme}{slashes}{user.partition(':')[0]}@{tail}"


def translated(error: Exception, url: str) -> TurnoutError:
    """A Postgres error in our words."""
    where = f"the store {masked(url)}"
    said = _first_line(error)
    if isinstance(error, pg.InvalidPassword | pg.InvalidAuthorizationSpecification):
        return StoreUnavailable(
            f"{where} refused the sign-in: {said}; check user and password in the address"
        )
    if isinstance(error, pg.InvalidCatalogName):
        return StoreUnavailable(f"{where}: {said}; make it with `createdb`, or name another database")
    if isinstance(error, pg.InsufficientPrivilege):
        return StoreUnavailable(
            f"{where}: {said}; let the schema's owner run `turnout migrate`, and GRANT this role USAGE on schema turnout "
            f"and SELECT, INSERT, UPDATE, DELETE on its tables"
        )
    if isinstance(
        error, pg.UndefinedTable | pg.InvalidSchemaName | pg.UndefinedColumn | pg.UndefinedFunction
    ):
        return StoreDamaged(
            f"{where} lacks part of its schema ({said}); run `turnout migrate`, or restore a backup"
        )
    if isinstance(error, pg.ReadOnlySqlTransaction):
        return StoreUnavailable(f"{where} takes no writes (a replica, or read-only); name the primary")
    if isinstance(error, pg.DiskFull):
        return StoreUnavailable(f"the disk of {where} is full; free some space, nothing was lost")
    if isinstance(error, pg.TooManyConnections | pg.OutOfMemory):
        return StoreUnavailable(
            f"{where} has no connection left ({said}); raise max_connections or run fewer workers"
        )
    if isinstance(
        error, pg.UntranslatableCharacter | pg.CharacterNotInRepertoire | pg.DataError | UnicodeError
    ):
        return InputInvalid(f"{where} can't keep this text: {said}; clean it first (no NUL, valid Unicode)")
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(
            f"{where} gave no connection in time; it is unreachable or overloaded, try again"
        )
    if isinstance(error, psycopg.OperationalError):
        return StoreUnavailable(f"{where} can't be reached{_at(url)}: {said}; check address and server")
    return StoreUnavailable(f"{where} failed: {said}")


def passing(error: BaseException) -> bool:
    """May the same be tried again at once? Two transactions got in each other's way, and one was undone."""
    return isinstance(error, pg.DeadlockDetected | pg.SerializationFailure | pg.LockNotAvailable)


def lost(error: BaseException) -> bool:
    """Was the connection lost, so that nobody can say what became of what was under way?"""
    return isinstance(error, psycopg.OperationalError) and not isinstance(
        error,
        pg.DiskFull
        | pg.TooManyConnections
        | pg.DeadlockDetected
        | pg.SerializationFailure
        | pg.QueryCanceled,
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (
        lines[-1]
        if lines and isinstance(error, psycopg.OperationalError)
        else (lines or [type(error).__name__])[0]
    )
    for word in ("FATAL:", "ERROR:"):
        said = said.rpartition(word)[2].strip()
    return said.removesuffix(".")


def _at(url: str) -> str:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return ""
    host = parts.get("host") or "this machine"
    return f" at {host}" + (f":{parts['port']}" if parts.get("port") else "")
