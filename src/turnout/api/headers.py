"""What requests say in their headers."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from turnout.errors import InputInvalid, ReviewStale, ShownMissing

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200,
        description="Sent again with the same key and content, the request counts once.",
    ),
]  # fmt: skip
Prefer = Annotated[
    str | None,
    Header(alias="Prefer", max_length=200, description="`wait=N`: wait up to N seconds for the outcome."),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=200,
        description="The review's ETag: what you were shown. `*` decides on whatever it shows now.",
    ),
]  # fmt: skip


def wait_in(prefer: str | None, longest: float) -> float:
    """Seconds to wait. What can't be read isn't preferred (RFC 7240)."""
    found = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", prefer or "", re.IGNORECASE)
    return min(float(found[1]), longest) if found else 0.0


def etag(shown: str) -> str:
    """The ETag of what a review shows."""
    return f'"{shown}"'


def shown_in(if_match: str | None, said: str | None) -> str | None:
    """The digest that a decision is about, from the header or the body; None: whatever is shown.

    Raises `ShownMissing`, `InputInvalid`.
    """
    if if_match is None:
        if said is None:
            raise ShownMissing(
                "say what the decision is about: If-Match with the review's ETag (or `shown` in the body)"
            )
        return said
    given = [part.strip().removeprefix("W/").strip('"') for part in if_match.split(",")]
    if given == ["*"]:
        return said
    if len(given) != 1:
        raise InputInvalid("If-Match has to name one ETag: that of the review as it was shown")
    if said is not None and said != given[0]:
        raise ReviewStale("If-Match and `shown` say two different things; send one of them")
    return given[0]
