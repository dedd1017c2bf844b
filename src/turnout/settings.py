"""Settings: plain and frozen. Nothing is read from the environment at import; `from_environment` is asked to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

DEFAULT_STORE = "sqlite:///turnout.db"


@dataclass(frozen=True)
class Settings:
    """All times are in seconds.

    `lease`: how long a worker may be silent before others take its threads. `poll`: how often a store that is not
    told asks whether another process has written. `sweep`: how often a worker looks for due threads all the same.
    `concurrency`: threads that one worker drives at once. `turn`: how long it drives a thread while others wait for a
    free place; then the thread is given back after its current step, and goes to the back of the queue. `tries`: after
    so many leases in a row that ran out before a step of a thread came to its end (its workers died, then) the thread
    is set aside; 0 tries for ever. Below 3, threads that were merely there when a worker died are set aside with the
    one that killed it. `grace`: how long a cancelled node may clean up, and how long closing may take. `strict`: catch
    nodes that change the state they were handed. `transaction`: how long a transactional tool may take that declares no `time_limit`; on
    SQLite every other write of the store waits for it.
    """

    lease: float = 15.0
    poll: float = 0.02
    sweep: float = 1.0
    concurrency: int = 256
    turn: float = 5.0
    tries: int = 5
    grace: float = 10.0
    strict: bool = False
    transaction: float = 5.0
    signing_key: str = ""


def from_environment(environment: Mapping[str, str] | None = None) -> tuple[str, Settings]:
    """The store's address and the settings that the environment gives (TURNOUT_STORE, TURNOUT_SIGNING_KEY)."""
    given = os.environ if environment is None else environment
    return given.get("TURNOUT_STORE", DEFAULT_STORE), Settings(
        signing_key=given.get("TURNOUT_SIGNING_KEY", "")
    )


def masked(url: str) -> str:
    """A store's address without a password, for whatever people get to see."""
    if not url.startswith(("postgresql://", "postgres://")):
        return url
    found = urlsplit(url)
    user, at, host = found.netloc.rpartition("@")
    query = "&".join(
        part for part in found.query.split("&") if "password" not in part.partition("=")[0].lower()
    )
    return urlunsplit(found._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))
