"""Time zones by their names in the IANA database. They are files: the core gets them handed in."""

from __future__ import annotations

import zoneinfo
from difflib import get_close_matches

from turnout.errors import InputInvalid


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that name. Raises `InputInvalid` with the nearest one that there is."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise InputInvalid(f"there is no time zone {name!r}; {_hint(str(name))}") from None


def _hint(name: str) -> str:
    known = sorted(zoneinfo.available_timezones())
    wanted = name.strip().replace(" ", "_").casefold()
    whole = {found.casefold(): found for found in known}
    cities = {found.rpartition("/")[2].casefold(): found for found in reversed(known) if "/" in found}
    for names in (whole, cities):  # "Berlin" is as near to Europe/Berlin as "europe/berlin" is
        near = get_close_matches(wanted, names, 1, 0.75)
        if near:
            return f"did you mean {names[near[0]]!r}?"
    return "it is a name of the IANA database, like 'Europe/Berlin' or 'UTC'"
