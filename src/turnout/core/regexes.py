"""How long a regular expression may take. Python's can't be interrupted and hold up the whole process, so whoever runs one
that somebody else wrote, or over text of somebody else, asks first."""

from __future__ import annotations

import functools
import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any


def ways(expression: str, longest: int, most: int, flags: int = 0) -> int:
    """In how many ways it may have to try a text of `longest` characters from one place on, before it knows that it
    fails there. Counted no further than to more than `most`. Raises `re.error`, OverflowError, RecursionError."""
    return _ways(_parsed(expression, flags), longest, most)


def ways_to_search(expression: str, longest: int, most: int) -> int:
    """The same for all places from which it is tried, when it is looked for anywhere in the text."""
    parsed = _parsed(expression, 0)
    return _ways(parsed, longest, most) * (1 if _begins(parsed) else longest + 1)


def _begins(parsed: Any) -> bool:
    """Does it fit at the beginning of the text alone? `^` stands for each line's after `(?m)`."""
    first = parsed[0] if len(parsed) > 0 else None
    if first == (codes.AT, codes.AT_BEGINNING):
        return not parsed.state.flags & re.MULTILINE
    return first == (codes.AT, codes.AT_BEGINNING_STRING)


@functools.lru_cache(maxsize=1_000)
def _parsed(expression: str, flags: int) -> Any:
    return parser.parse(expression, flags & ~re.DEBUG)


def _ways(parsed: Any, longest: int, most: int) -> int:
    ways = 1
    for code, argument in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            low, high, inner = argument
            high = min(high, longest) if high is not codes.MAXREPEAT else longest
            each = _ways(inner, longest, most)
            ways *= max(high - low + 1, 1) * (1 if each == 1 else _power(each, high, most))
        elif code is codes.BRANCH:
            ways *= sum(_ways(way, longest, most) for way in argument[1])
        elif code is codes.SUBPATTERN:
            ways *= _ways(argument[3], longest, most)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            ways *= _ways(argument[1], longest, most)
        elif code in (
            codes.ATOMIC_GROUP,
            codes.POSSESSIVE_REPEAT,
        ):  # tried in one way; but that way is to be found
            inner = _ways(argument if code is codes.ATOMIC_GROUP else argument[2], longest, most)
            ways *= 1 if inner <= most else inner
        elif code is codes.GROUPREF_EXISTS:
            ways *= sum(_ways(way, longest, most) for way in argument[1:] if way)
        if ways > most:
            return ways
    return ways


def _power(ways: int, times: int, most: int) -> int:
    return int(ways**times) if times * ways.bit_length() < 64 else most + 1
