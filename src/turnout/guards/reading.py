"""How the checks of Turnout's own read: text by text, within bounds."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from turnout.core.redaction import Hit, Text, marks, texts

LONGEST = 1_000_000
"""Characters of one request or answer that are looked at. More is taken for a finding: it can't be vouched for."""
TOO_LONG = "too-long"
Span = tuple[str, int, int]
"""Label, from, to."""


def _within(places: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Does it lie within one of the places, which come in order and don't overlap?"""
    at = bisect.bisect_right(places, start, key=lambda place: place[0])
    return at > 0 and end <= places[at - 1][1]


class TextCheck:
    """A check that looks at each text for itself. `find` gives the spans in one, `labels` are all that it may give."""

    def __init__(self, find: Callable[[Text], Iterable[Span]], labels: Sequence[str]) -> None:
        self._find = find
        self.labels = tuple(labels)

    def __call__(self, value: Any, /) -> list[Hit]:
        found: list[Hit] = []
        read = 0
        for text in texts(value):
            read += len(text.text)
            if read > LONGEST:
                return [*found, Hit(TOO_LONG)]
            spans = list(self._find(text))
            if spans:
                own = marks(text.text, self.labels)
                found += [
                    Hit(label, text.path, start, end - start, text.key)
                    for label, start, end in spans
                    if not _within(own, start, end)
                ]
        return found
