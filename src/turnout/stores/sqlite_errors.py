"""SQLite's errors in our words, each saying what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from turnout.errors import InputInvalid, StoreDamaged, StoreUnavailable, TurnoutError


def translated(error: Exception, path: str) -> TurnoutError:
    """A SQLite error in our words."""
    said = str(error)
    if isinstance(error, OverflowError | UnicodeError):
        return InputInvalid(
            f"the store can't keep or look for this: {said}; clean it first (valid Unicode, numbers of 64 bits)"
        )
    if "locked" in said or "busy" in said:
        return StoreUnavailable(
            f"the store {path} is locked by another process; close it, or try again in a moment"
        )
    if "disk is full" in said or "database or disk is full" in said:
        return StoreUnavailable(f"the disk of the store {path} is full; free some space, nothing was lost")
    if "readonly" in said or "unable to open" in said:
        return StoreUnavailable(
            f"the store {path} can't be opened or written ({said}); check path and permissions"
        )
    if "not a database" in said or "malformed" in said or "corrupt" in said:
        return StoreDamaged(
            f"{path} is not a SQLite database or is damaged ({said}); restore it from a backup"
        )
    return StoreUnavailable(f"the store {path} failed: {said}")


@contextlib.contextmanager
def in_our_words(path: str) -> Iterator[None]:
    """Where SQLite may fail: its errors come out as ours."""
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeError) as error:  # the latter two: a value it can't have
        raise translated(error, path) from error
