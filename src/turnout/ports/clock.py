"""Time, randomness and ids are handed in, so that tests can run a whole system on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from turnout.core.entries import Micros
from turnout.errors import InputInvalid


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> Micros:
        """Microseconds since 1970, UTC."""

    def call_at(self, moment: Micros, do: Callable[[], object]) -> Timer:
        """Call `do` on the event loop at `moment`, or at once if that is past."""


class Chance(Protocol):
    def random(self) -> float:
        """A number from 0 up to 1."""

    def hex(self, length: int) -> str:
        """`length` random hex characters."""


def since(clock: Clock, begun: Micros) -> int:
    """Whole milliseconds since `begun`. None, if the clock was set back meanwhile: no call takes less than no time."""
    return max(0, clock.now() - begun) // 1000


def at(moment: Micros) -> datetime:
    """A moment of the journal as an aware datetime."""
    return datetime.fromtimestamp(moment // 1_000_000, UTC).replace(microsecond=moment % 1_000_000)


def micros(moment: datetime) -> Micros:
    """An aware datetime as the journal has it. Raises `InputInvalid` for one at an end of the calendar that isn't in it in
    UTC."""
    try:
        whole = int(moment.astimezone(UTC).replace(microsecond=0).timestamp())
    except OverflowError:
        raise InputInvalid(
            f"{moment.isoformat()} is no moment of the years 1 to 9999 in UTC; name another one"
        ) from None
    return whole * 1_000_000 + moment.microsecond
