"""Postgres' errors in our words, each saying what to do. No message holds a password."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout

from turnout import settings
from turnout.errors import InputInvalid, SettingsInvalid, StoreDamaged, StoreUnavailable, TurnoutError

HINTS = ("Is the server running", "This probably means", "before or while", "Multiple connection attempts")
"""Lines of libpq's that say nothing of what happened."""
# An error that comes while connecting has no code: libpq keeps none. What the server said is all there is.
SIGN_IN = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "not permitted to log in")
FULL = ("too many connections", "too many clients", "connection slots")


def checked(url: str) -> str:
    """The address, if libpq can read it. Raises `SettingsInvalid`, which doesn't quote what may be a password."""
    said = ""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        said = str(error).strip() if "query parameter" in str(error) else "a part of it can't be decoded"
    if "://" in url and urlsplit(url).netloc.count("@") > 1:
        said = "it has more than one @"
    if said:
        raise SettingsInvalid(
            f"the address of the store can't be read: {said}; it looks like postgresql://user:password@host:5432/database, "
            f"and in a password %40 stands for @, %2F for / and %25 for %"
        )
    return url


def masked(url: str) -> str:
    """The address without its password, for messages and lists."""
    if "://" in url:
        return settings.masked(url)
    parts = conninfo_to_dict(url)
    return make_conninfo(**{name: str(value) for name, value in parts.items() if "password" not in name})


def translated(error: Exception, url: str) -> TurnoutError:
    """A Postgres error in our words."""
    where = f"the store {masked(url)}"
    said = _what_happened(error)
    if refused(error):
        return StoreUnavailable(
            f"{where} refused the sign-in: {said}; check user and password in the address"
        )
    if isinstance(error, pg.InvalidCatalogName) or _names_no(error, "database"):
        return StoreUnavailable(f"{where}: {said}; make it with `createdb`, or name another database")
    if isinstance(error, psycopg.OperationalError) and "permission denied for database" in said:
        return StoreUnavailable(f"{where}: {said}; GRANT this role CONNECT on it, or name another role")
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
    if isinstance(error, pg.TooManyConnections | pg.OutOfMemory) or (
        isinstance(error, psycopg.OperationalError) and any(word in said for word in FULL)
    ):
        return StoreUnavailable(
            f"{where} has no connection left ({said}); raise max_connections or run fewer workers"
        )
    if isinstance(
        error, pg.UntranslatableCharacter | pg.CharacterNotInRepertoire | pg.DataError | UnicodeError
    ):
        return InputInvalid(f"the store can't keep this text: {said}; clean it first (no NUL, valid Unicode)")
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(
            f"{where} gave no connection in time; it is unreachable or overloaded, try again"
        )
    if passing(error):
        return StoreUnavailable(f"{where} was busy: {said}; try again")
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
        PoolTimeout  # there was none
        | pg.DiskFull
        | pg.TooManyConnections
        | pg.DeadlockDetected
        | pg.SerializationFailure
        | pg.QueryCanceled,
    )


def refused(error: BaseException) -> bool:
    """Did the server refuse the sign-in?"""
    if isinstance(error, pg.InvalidPassword | pg.InvalidAuthorizationSpecification):
        return True
    said = str(error)
    return isinstance(error, psycopg.OperationalError) and (
        any(word in said for word in SIGN_IN) or _names_no(error, "role")
    )


def final(error: BaseException) -> bool:
    """Is it no use to try and connect again?"""
    return refused(error) or isinstance(error, pg.InvalidCatalogName) or _names_no(error, "database")


def _names_no(error: BaseException, what: str) -> bool:
    """Does the server say that there is no such role or database?"""
    said = str(error)
    return isinstance(error, psycopg.OperationalError) and f'{what} "' in said and "does not exist" in said


def _what_happened(error: Exception) -> str:
    """The line of a database error that says what happened, without what comes before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.startswith(HINTS)), type(error).__name__)
    for word in ("FATAL:", "ERROR:", *(("failed:",) if isinstance(error, psycopg.OperationalError) else ())):
        said = said.rpartition(word)[2].strip()
    return said.removesuffix(".")


def _at(url: str) -> str:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return ""
    host = parts.get("host") or "this machine"
    return f" at {host}" + (f":{parts['port']}" if parts.get("port") else "")
