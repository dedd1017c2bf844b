"""What the tests of decisions share: a refund's form as it is sent, and what went on record."""

from __future__ import annotations

from typing import Any

from tests.console.conftest import Served

from turnout.core import entries as e


async def decided(desk: Served, thread: str) -> list[e.ReviewDecided]:
    return [x.body for x in await desk.app.entries(thread) if isinstance(x.body, e.ReviewDecided)]


def fields(review: Any, **changed: str) -> dict[str, str]:
    """The form of a refund's review, as it is shown."""
    shown = {
        "value.order": review.payload["order"], "value.amount": str(review.payload["amount"]),
        "value.summary": review.payload["summary"], "value.limit": "", "value.parts.net": str(review.payload["amount"]),
        "value.parts.names": "a\r\nb",
    }  # fmt: skip
    return {"by": "dana", "shown": review.shown, **shown, **{f"value.{k}": v for k, v in changed.items()}}
