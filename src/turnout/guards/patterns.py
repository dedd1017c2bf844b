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
REPEATS = 3
"""So many repeats without an end may stand in one expression: each makes the time grow with one more power."""
MANY = 64
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
    problem = _nested(parsed, inside=False)
    if problem:
        raise InputInvalid(
            f"{expression!r} may take for ever: {problem}; make the inner part possessive (`a++`, `a*+`) or atomic "
            f"(`(?>...)`), or give it a bound"
        )
    if _repeats(parsed) > REPEATS:
        raise InputInvalid(
            f"{expression!r} has more than {REPEATS} repeats without an end, and may take very long; give them bounds "
            f"(`{{1,40}}`), or split it in two"
        )
    return compiled


def _nested(parsed: Any, inside: bool) -> str:
    """What in it multiplies its ways when it fails: a choice or a repeat inside of a repeat that has no bound."""
    for code, argument in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            low, high, inner = argument
            if inside and low != high:
                return "it has a repeat inside of a repeat"
            problem = _nested(inner, inside or _many(high))
        elif code is codes.BRANCH:
            if inside:
                return "it has a choice inside of a repeat"
            problem = next((p for p in (_nested(way, inside) for way in argument[1]) if p), "")
        elif code is codes.SUBPATTERN:
            problem = _nested(argument[3], inside)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            problem = _nested(argument[1], inside)
        elif code is codes.ATOMIC_GROUP:
            problem = _nested(argument, False)
        elif code is codes.POSSESSIVE_REPEAT:
            problem = _nested(argument[2], False)
        elif code is codes.GROUPREF_EXISTS:
            problem = next((p for p in (_nested(way, inside) for way in argument[1:] if way) if p), "")
        else:
            problem = ""
        if problem:
            return str(problem)
    return ""


def _repeats(parsed: Any) -> int:
    """How many repeats without a bound it may have to try one after the other."""
    count = 0
    for code, argument in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            count += _many(argument[1]) + _repeats(argument[2])
        elif code is codes.BRANCH:
            count += max(_repeats(way) for way in argument[1])
        elif code is codes.SUBPATTERN:
            count += _repeats(argument[3])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            count += _repeats(argument[1])
    return count


def _many(high: Any) -> bool:
    return high is codes.MAXREPEAT or int(high) > MANY
