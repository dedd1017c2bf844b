"""Amounts: what a call costs, in the four measures that are capped: money, tokens, calls and time."""

from __future__ import annotations

import msgspec

MEASURES = ("micros", "tokens", "calls", "ms")


class Amount(msgspec.Struct, frozen=True, omit_defaults=True):
    """Money in whole millionths of a US dollar, tokens (read and written), calls (each attempt of a model call, each
    sending of a tool), and time in milliseconds of calls."""

    micros: int = 0
    tokens: int = 0
    calls: int = 0
    ms: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.micros + other.micros,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.ms + other.ms,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            self.micros - other.micros,
            self.tokens - other.tokens,
            self.calls - other.calls,
            self.ms - other.ms,
        )

    def of(self, measure: str) -> int:
        """How much of one of `MEASURES`."""
        found: int = getattr(self, measure)
        return found


NOTHING = Amount()


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call has cost. `reserved` is the entry of the reservation that this settles; 0: no budget applied, so
    nothing was reserved. `assumed`: what it cost isn't known, so all that was reserved counts as spent."""

    amount: Amount
    reserved: int = 0
    assumed: bool = False


UNSENT = Spent(NOTHING)
"""Of a call that was stopped before it was sent."""


class Estimate(msgspec.Struct, frozen=True):
    """What a call may cost at most, as far as can be known before it is sent, and whom it is sent to. `priced` False:
    there is no price for it, so that no cap on money could hold. `retry`: something was asked before."""

    amount: Amount
    priced: bool = True
    deployment: str = ""
    model: str = ""
    retry: bool = False


class Reserved(msgspec.Struct, omit_defaults=True):
    """A reservation that isn't settled yet: the entry that made it, the step and slot it is for, and how much."""

    seq: int
    step: str
    slot: str
    amount: Amount


class TopUp(msgspec.Struct, omit_defaults=True):
    """A call that waits at a cap, or waited: the review in which a person says whether the cap is raised.

    `outcome` is empty while the review is open; then `approve`, `edit` or `reject`, and `payload` what was shown, or
    edited to.
    """

    review: str
    outcome: str = ""
    payload: dict[str, object] = {}
