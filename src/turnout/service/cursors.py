"""Cursors: where the next page of a list begins. For clients they have no meaning but to be handed back."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

from turnout.errors import InputInvalid
from turnout.ports.clock import at, micros

THREADS, REVIEWS, ENTRIES, OUTBOX = "threads", "reviews", "entries", "outbox"
"""The lists that come in pages."""
NAME = 4_000
"""Bytes of a thread's name, at most: up to 800 that somebody chose (200 characters), and behind them the places where the
children of its children were asked for."""
CURSOR = -(-4 * (len("threads:") + NAME) // 3)
"""Characters of the longest cursor."""


def cursor(of: str, behind: str) -> str:
    """The cursor of the page of a list behind what `behind` names."""
    said = f"{of}:{behind}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def behind(of: str, given: str) -> str:
    """What a cursor of that list says; "" when none is given. Raises `InputInvalid`, also for that of another list."""
    if not given:
        return ""
    try:
        said = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        said = ""
    if not said.startswith(f"{of}:"):
        raise InputInvalid(f"that is no cursor of a list of {of}; take `next` of the page before as it is")
    return said.removeprefix(f"{of}:")


def behind_entry(given: str) -> int:
    """The entry that a cursor of a list of entries names; 0 when none is given. Raises `InputInvalid`."""
    said = behind(ENTRIES, given) or "0"
    if re.fullmatch(r"\d{1,18}", said, re.ASCII) is None:
        raise InputInvalid("that is no cursor of a list of entries; take `next` of the page before as it is")
    return int(said)


def notice_place(created: datetime, notice: str) -> str:
    """Where a notice is in the list of the outbox, for a cursor: it may be gone when the next page is asked for."""
    return f"{micros(created)}:{notice}"


def behind_notice(given: str) -> tuple[datetime, str] | None:
    """When the notice was made that a cursor of the outbox names, and its id; None when no cursor is given. Raises
    `InputInvalid`."""
    said = behind(OUTBOX, given)
    if not said:
        return None
    moment, _, notice = said.partition(":")
    if re.fullmatch(r"\d{1,17}", moment, re.ASCII) is None:
        raise InputInvalid("that is no cursor of a list of outbox; take `next` of the page before as it is")
    return at(int(moment)), notice
