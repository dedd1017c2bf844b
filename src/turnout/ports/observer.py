"""An observer is shown what this process's worker commits. It is not asked, and it must be quick: runs don't wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from turnout.core.entries import Entry
from turnout.core.view import ThreadView


class Observer(Protocol):
    def began(self, view: ThreadView) -> None:
        """This process drives the thread from here on. What is to be kept of `view` has to be taken out now."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """These entries of one thread are durable."""

    def rested(self, thread: str) -> None:
        """This process doesn't drive the thread any more."""
