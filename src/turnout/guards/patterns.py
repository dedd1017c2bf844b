"""Patterns of the user's own. Python's regular expressions can't be interrupted, so they are bounded before they run:
those that may take for ever are refused, and a text is read in pieces."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from turnout.core.redaction import Hit, Text
from turnout.core.regexes import ways
from turnout.errors import InputInvalid
from turnout.guards.reading import Span, TextCheck

PIECE, OVERLAP = 1_000, 256
"""Characters: a text is read in pieces of so many, and what is found may be as long as the overlap."""
WAYS = PIECE * PIECE
"""An expression that could be tried in more ways is refused: two repeats without an end are as many as this."""
SECONDS = 1.0
"""For one request or answer. What takes longer is taken for a finding."""
SLOW = "too-slow"


class Patterns:
    """The check for regular expressions. One look at all texts of a value has one end of its time."""

    def __init__(self, name: str, expressions: Sequence[re.Pattern[str]]) -> None:
        self.labels = (name,)
        self._name = name
        self._expressions = expressions

    def __call__(self, value: Any, /) -> list[Hit]:
        until = time.perf_counter() + SECONDS
        return TextCheck(lambda text: self._find(text, until), self.labels)(value)

    def _find(self, text: Text, until: float) -> Iterator[Span]:
        for form in self._expressions:
            last = -1
            for start in range(0, max(len(text.text) - OVERLAP, 1), PIECE - OVERLAP):
                if time.perf_counter() > until:
                    yield SLOW, 0, len(text.text)
                    return
                for found in form.finditer(text.text, start, start + PIECE):
                    if found.end() > found.start() and found.end() > last:
                        last = found.end()
                        yield self._name, *found.span()


def patterns(name: str, expressions: Sequence[str], *, ignore_case: bool = False) -> Patterns:
    """The check for regular expressions; what they find is labelled `name`. Raises `InputInvalid`."""
    return Patterns(name, [compiled_safely(expression, ignore_case) for expression in expressions])


def compiled_safely(expression: str, ignore_case: bool = False) -> re.Pattern[str]:
    """The expression, if it can't run for ever. Raises `InputInvalid`."""
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    try:
        compiled = re.compile(expression, flags)
        count = ways(expression, PIECE, WAYS, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputInvalid(f"{expression!r} is no regular expression: {error}") from None
    if compiled.match("") and compiled.fullmatch(""):
        raise InputInvalid(f"{expression!r} matches nothing at all, and so everywhere; say what it must have")
    if count > WAYS:
        raise InputInvalid(
            f"{expression!r} may take very long: there are too many ways to try it; give its repeats bounds (`{{1,40}}`), or "
            f"make what is inside of a repeat possessive (`a++`, `a*+`) or atomic (`(?>...)`)"
        )
    return compiled
