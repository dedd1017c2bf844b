"""Settings: plain and frozen. Nothing is read from the environment at import; `from_environment` is asked to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_STORE = "sqlite:///turnout.db"


@dataclass(frozen=True)
class Settings:
    """All times are in seconds.

    `lease`: how long a worker may be silent before others take its threads. `poll`: how often an idle worker asks
    the store whether another process has written. `sweep`: how often it looks for due threads all the same.
    `concurrency`: threads driven at once. `grace`: how long a cancelled node may clean up. `strict`: catch nodes
    that change the state they were handed. `transaction`: how long a transactional tool may take that declares no
    `time_limit`; on SQLite every other write of the store waits for it.
    """

    lease: float = 15.0
    poll: float = 0.02
    sweep: float = 1.0
    concurrency: int = 256
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
