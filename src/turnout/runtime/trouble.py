"""Trouble with the store that lasts: the log gets a line when it begins, one a minute, and one when it is over."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("turnout.worker")
AGAIN = 60.0
"""Seconds between two lines about one trouble."""


class Trouble:
    """What can't be done now. `error` says why, and is None while all is well."""

    def __init__(self, what: str) -> None:
        self.error: Exception | None = None
        self._what = what
        self._told = 0.0

    def tell(self, error: Exception) -> None:
        """It was tried in vain, and will be tried again."""
        if self.error is None or time.monotonic() - self._told >= AGAIN:
            log.warning("can't %s now, and go on trying: %s", self._what, error)
            self._told = time.monotonic()
        self.error = error

    def over(self) -> None:
        """It was done."""
        if self.error is not None:
            log.warning("can %s again", self._what)
            self.error = None
