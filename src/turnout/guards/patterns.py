"""Patterns of the user's own. Python's regular expressions can't be interrupted, so they are bounded before they run:
those that may take for ever are refused, and a text is read in pieces."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from turnout.core.redaction import Text
from turnout.errors import InputInvalid
from turnout.guards.reading import Span, TextCheck

PIECE, OVERLAP = 1_000, 256
"""Characters: a text is read in pieces of so many, and what is found may be as long as the overlap."""
WAYS = PIECE * PIECE
"""An expression that could be tried in more ways is refused: two repeats without an end are as many as this."""
SECONDS = 1.0
"""For one text. What takes longer is taken for a finding."""
SLOW = "too-slow"


def patterns(name: str, expressions: Sequence[str], *, ignore_case: bool = False) -> TextCheck:
    """The check for regular expressions; what they find is labelled `name`. Raises `InputInvalid`."""
    compiled = [compiled_safely(expression, ignore_case) for expression in expressions]

    def find(text: Text) -> Iterator[Span]:
        until = time.perf_counter() + SECONDS
        for form in compiled:
            last = -1
            for start in range(0, max(len(text.text) - OVERLAP, 1), PIECE - OVERLAP):
                if time.perf_counter() > until:
                    yield SLOW, 0, len(text.text)
                    return
                for found in form.finditer(text.text, start, start + PIECE):
                    if found.end() > found.start() and found.end() > last:
                        last = found.end()
                        yield name, *found.span()

    return TextCheck(find, [name])


def compiled_safely(expression: str, ignore_case: bool = False) -> re.Pattern[str]:
    """The expression, if it can't run for ever. Raises `InputInvalid`."""
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    try:
        compiled = re.compile(expression, flags)
        parsed = parser.parse(expression, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputInvalid(f"{expression!r} is no regular expression: {error}") from None
    if compiled.match("") and compiled.fullmatch(""):
        raise InputInvalid(f"{expression!r} matches nothing at all, and so everywhere; say what it must have")
    if _ways(parsed) > WAYS:
        raise InputInvalid(
            f"{expression!r} may take very long: there are too many ways to try it; give its repeats bounds (`{{1,40}}`), or "
            f"make what is inside of a repeat possessive (`a++`, `a*+`) or atomic (`(?>...)`)"
        )
    return compiled


def _ways(parsed: Any) -> int:
    """In how many ways it may have to try a text from one place on, before it knows that it fails there; at the most."""
    ways = 1
    for code, argument in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            low, high, inner = argument
            high = min(high, PIECE) if high is not codes.MAXREPEAT else PIECE
            ways *= max(high - low + 1, 1) * (1 if (each := _ways(inner)) == 1 else _power(each, high))
        elif code is codes.BRANCH:
            ways *= sum(_ways(way) for way in argument[1])
        elif code is codes.SUBPATTERN:
            ways *= _ways(argument[3])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            ways *= _ways(argument[1])
        elif code in (
            codes.ATOMIC_GROUP,
            codes.POSSESSIVE_REPEAT,
        ):  # tried in one way; but that way is to be found
            inner = _ways(argument if code is codes.ATOMIC_GROUP else argument[2])
            ways *= 1 if inner <= WAYS else inner
        elif code is codes.GROUPREF_EXISTS:
            ways *= sum(_ways(way) for way in argument[1:] if way)
        if ways > WAYS:
            return ways
    return ways


def _power(ways: int, times: int) -> int:
    return int(ways**times) if times * ways.bit_length() < 64 else WAYS + 1
