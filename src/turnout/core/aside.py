"""Why a thread is set aside that moves from one store to another: words for people, which the code knows again.

Whatever is said here, one thing is the same: the thread takes no entries from outside (see `elsewhere`). Its journal
goes on in another store, or isn't whole here yet, so a decision that is recorded here would be lost.
"""

from __future__ import annotations

MOVED = "moved to "
COPY = "imported from a copy"
COMING = "being imported"
_BEFORE = "; it was set aside before: "


def moved_to(where: str, export: str, before: str = "") -> str:
    """The thread was exported to a file, to go on where that is imported. `before`: why it was set aside already."""
    after = f"{_BEFORE}{before}" if before else ""
    return f"{MOVED}{where} (export {export}), and goes on where that is imported{after}"


def moved_by(reason: str, export: str) -> bool:
    """Was it this export that moved the thread away?"""
    return reason.startswith(MOVED) and f" (export {export})" in reason


def before_move(reason: str) -> str:
    """Why the thread was set aside before it was moved away, or imported; "" when it wasn't."""
    return reason.partition(_BEFORE)[2]


def copied(thread: str) -> str:
    """The thread has come from a store that may drive it still."""
    return f"{COPY}; `turnout take-back {thread}` once the old store no longer drives it"


def coming(before: str = "") -> str:
    """The thread isn't whole yet. `before`: why it was set aside already, when that may have to come back."""
    after = f"{_BEFORE}{before}" if before else ""
    return f"{COMING}; run `turnout import` again if that was cut off{after}"


def away(reason: str) -> str:
    """Why the thread was moved away, also while more of its journal is being imported; "" when it wasn't."""
    said = before_move(reason) if reason.startswith(COMING) else reason
    return said if said.startswith(MOVED) else ""


def elsewhere(reason: str) -> bool:
    """Is the thread set aside because it moves?"""
    return reason.startswith((MOVED, COPY, COMING))
