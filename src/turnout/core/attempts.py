"""Attempts: what it took to get one answer of a model, as the journal has it."""

from __future__ import annotations

from typing import Any

import msgspec

MIDDLE = "in the middle of the answer"
"""How the message of an attempt begins whose failure came when a part of the answer was there already."""


class Price(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The row that a cost was reckoned with. `source` says whose it is and of which version; `row` is the row itself:
    prices in units of `currency` for a million tokens, as decimal text."""

    source: str
    provider: str = ""
    model: str = ""
    currency: str = "USD"
    row: dict[str, Any] = {}


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One request that was sent to one deployment, and what became of it.

    `alias` is the alias that the deployment was asked for, `why` the reason for this attempt: first, again, next
    (another deployment of the alias), fallback or cache (no request was sent at all). `at` is when it was begun (whole
    microseconds since 1970), `ms` how long it took. `model` and `request_id` are the upstream's words. `error` is a
    class name, empty when it was answered. `usage` None: how many tokens were used isn't known; `cost_micros` None: nor
    what they cost. `again_at`: this call may not ask the deployment again before (the upstream's Retry-After, or a wait
    of our own).
    """

    alias: str
    deployment: str
    why: str
    at: int
    ms: int = 0
    model: str = ""
    request_id: str = ""
    finish: str = ""
    error: str = ""
    message: str = ""
    usage: dict[str, int] | None = None
    cost_micros: int | None = None
    price: Price | None = None
    again_at: int | None = None
