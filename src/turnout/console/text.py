"""How values are written on pages: times, spans, money, amounts of data, JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from turnout.core.unseen import written_out
from turnout.ports.clock import at

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
LONG = 4_000
"""A value's text is cut there on pages: whole values are in the journal, and in the API's answers."""


def seen(value: Any) -> Any:
    """What a page prints, with all that nobody would see there written out. Ends of lines and tabs stay, and markup."""
    if hasattr(value, "__html__"):
        return value
    parts = re.split("([\n\t])", str(value).replace("\r\n", "\n"))
    return "".join(part if part in ("\n", "\t") else written_out(part) for part in parts)


def exact(text: str) -> Markup:
    """A text as it is, for what a form sends back."""
    return escape(text)


def unseen(text: str) -> bool:
    """Has a text something in it that nobody would see on a page?"""
    return bool(seen(text) != text.replace("\r\n", "\n"))


def when(moment: datetime | int | None) -> str:
    """A time, in UTC, to the second."""
    if moment is None:
        return ""
    found = at(moment) if isinstance(moment, int) else moment
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def clock(moment: datetime) -> str:
    """A time of day, to the millisecond."""
    return f"{moment.astimezone(UTC):%H:%M:%S}.{moment.microsecond // 1000:03}"


def iso(moment: datetime | int) -> str:
    """A time as machines read it."""
    found = at(moment) if isinstance(moment, int) else moment
    return found.astimezone(UTC).isoformat()


def ago(moment: datetime | int, now: datetime) -> str:
    """How long ago, or how far ahead: in one unit."""
    found = at(moment) if isinstance(moment, int) else moment
    gone = (now - found).total_seconds()
    if abs(gone) < 5:
        return "just now"
    name, size = next((unit for unit in UNITS if abs(gone) >= unit[1]), UNITS[-1])
    said = f"{int(abs(gone) // size)} {name}"
    return f"{said} ago" if gone > 0 else f"in {said}"


def span(length: timedelta | float) -> str:
    """How long something took: two units at the most. A number is seconds."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for number, (name, size) in enumerate(UNITS):
        whole, left = divmod(int(seconds), size)
        if whole:
            below = UNITS[number + 1] if number + 1 < len(UNITS) else ("", 1)
            more = left // below[1] if below[0] else 0
            return f"{whole} {name} {more} {below[0]}" if more else f"{whole} {name}"
    return "0 s"


def money(micros: int) -> str:
    """A cost: millionths of the account's unit, with as many places as it takes to see it."""
    if not micros:
        return "0"
    units = micros / 1_000_000
    return f"{units:,.2f}" if units >= 1 else f"{units:.6f}".rstrip("0")


def dollars(micros: int) -> str:
    """An amount of money on the page of costs: to the cent, or as small as it is."""
    if micros and abs(micros) < 10_000:
        return f"${micros / 1_000_000:.4f}"
    return f"${micros / 1_000_000:,.2f}"


def count(n: int) -> Markup:
    """A number, with thousands apart: by a blank that is ours, and not to be written out."""
    return Markup(f"{n:,}".replace(",", "\u202f"))  # noqa: S704 - digits


def plain(value: Any, limit: int = LONG) -> str:
    """A value in one line, or JSON."""
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "null"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float):
        text = str(value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return cut(text, limit)


def pretty(value: Any, limit: int = LONG) -> str:
    """A value as JSON over several lines, or a text as it is."""
    return cut(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str),
        limit,
    )


def cut(text: str, limit: int) -> str:
    """The text's beginning, saying how much is left out."""
    if len(text) <= limit:
        return text
    left = f"{len(text) - limit:,}".replace(",", " ")
    return f"{text[:limit]}… ({left} more characters)"


def gist(value: Any, limit: int = 90) -> str:
    """A value in a few words; what is left out is a click away."""
    text = (
        ", ".join(value)
        if isinstance(value, list) and all(isinstance(item, str) for item in value)
        else plain(value)
    )
    return text if len(text) <= limit else f"{text[:limit].rstrip()}…"


def part(text: str) -> str:
    """A name as a part of an address: also a slash in it is a part of the name."""
    return quote(text, safe="")


def words(text: str) -> str:
    """A word of the journal, as people write it."""
    return text.replace("_", " ")
