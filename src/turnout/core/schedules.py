"""Schedules: when the clock starts a graph, and what happens when it can't do so on time.

A schedule is a series of *slots*, moments at each of which one run is to be started: those of a cron expression in the
wall time of a zone, or a single one. `Rules` says which slots there are, `decide` what becomes of one. Both are pure:
the time is handed in, and so is the zone, because zones are files of the machine.

Across a change of the clocks it is as in Debian's cron: a fixed time that the day doesn't have comes right after the
gap, one that the day has twice comes once, and what goes by the hour or the minute (`*`) goes on evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches

from cronsim import CronSim, CronSimError

from turnout.core.entries import Micros
from turnout.core.schema import nearest
from turnout.errors import InputInvalid

TOLERANCE = 60_000_000
"""Microseconds: a slot that is older when a worker gets to it was missed."""
MISSED = ("skip", "once", "all")
OVERLAP = ("allow", "skip", "wait", "cancel")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
SECOND, MINUTE = 1_000_000, 60_000_000

_WORDS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_FIELDS = {
    "minute": "0-59", "hour": "0-23", "day-of-month": "1-31, L for the last", "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, FRI#2 for the second Friday, 5L for the last",
}  # fmt: skip
_EXAMPLE = "minute hour day-of-month month day-of-week, as in '0 2 * * *' for two o'clock every night"


def expression(cron: str) -> str:
    """The five fields that `cron` stands for, which is five fields or a word such as @daily.

    Raises `InputInvalid` saying which field is wrong.
    """
    text = " ".join(cron.split())
    if text.startswith("@"):
        known = _WORDS.get(text.lower())
        if known is None:
            hint = nearest(text.lower(), _WORDS) or f"; there are {', '.join(_WORDS)}"
            raise InputInvalid(f"cron {text!r} is no word for a schedule{hint}")
        return known
    parts = text.split(" ") if text else []
    if len(parts) != len(_FIELDS):
        raise InputInvalid(f"cron {text[:80]!r} has {len(parts)} fields, not five: {_EXAMPLE}")
    try:
        comes = next(CronSim(text, EPOCH), None)
    except (CronSimError, ValueError) as error:
        for part, (name, may) in zip(parts, _FIELDS.items(), strict=True):
            if name in str(error):
                raise InputInvalid(
                    f"cron {text[:80]!r}: the {name} can't be {part[:40]!r}; it may be {may}"
                ) from None
        raise InputInvalid(f"cron {text[:80]!r} can't be read; write {_EXAMPLE}") from None
    if comes is None:
        raise InputInvalid(f"cron {text!r} never comes: no month has such a day; write {_EXAMPLE}")
    return text


@dataclass(frozen=True, slots=True)
class Rules:
    """Which slots there are: of `cron` (five fields, see `expression`) in `zone`, or the one `at`; and what happens to
    those that can't be kept.

    `missed` is for slots that are older than `TOLERANCE` when a worker gets to them: `skip` leaves them out, `once`
    starts one run for all of them, `all` one for each. `overlap` is for a slot whose predecessor's run is unfinished:
    `allow` starts it all the same, `skip` leaves it out, `wait` starts it when that run has ended (one run for all
    slots that came meanwhile), `cancel` asks that run to stop and starts it.
    """

    zone: tzinfo
    cron: str = ""
    at: Micros | None = None
    missed: str = "once"
    overlap: str = "skip"

    def __post_init__(self) -> None:
        for what, word, known in (("missed", self.missed, MISSED), ("overlap", self.overlap, OVERLAP)):
            if word not in known:
                near = get_close_matches(str(word), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(known)}"
                raise InputInvalid(f"{what} can't be {word!r}; {hint}")

    def next(self, after: Micros) -> Micros | None:
        """The first slot later than `after`; None when there is none (for fifty years)."""
        if not self.cron:
            return self.at if self.at is not None and self.at > after else None
        slot = self._next(after, after)
        turn = self._turn(slot) if slot is not None else None
        if turn is not None and after < turn:  # CronSim counts its minutes past the change: it may be too far
            slot = self._next(turn - SECOND, after)
        return slot

    def _turn(self, slot: Micros) -> Micros | None:
        """When the clocks were put forward by other than whole hours, shortly before `slot`; None when they weren't."""
        begin, end = moment(slot) - timedelta(hours=2), moment(slot)
        was, offset = (at.astimezone(self.zone).utcoffset() or timedelta() for at in (begin, end))
        if offset <= was or not (offset - was) % timedelta(hours=1):
            return None
        while end - begin > timedelta(seconds=1):
            middle = begin + (end - begin) // timedelta(seconds=2) * timedelta(seconds=1)
            if middle.astimezone(self.zone).utcoffset() == was:
                begin = middle
            else:
                end = middle
        return (end - EPOCH) // MICRO

    def _next(self, begin: Micros, after: Micros) -> Micros | None:
        """What comes first when one looks from `begin` on, and is later than `after`."""
        while True:
            found = self._found(begin, after)
            if found is None:
                return None
            slot = (found - EPOCH) // MICRO
            if found.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == found.replace(tzinfo=None):
                return slot
            # CronSim has jumped to a midnight that the day doesn't have. Who comes from a second before looks at
            # each hour that there really is.
            begin = slot - SECOND

    def _found(self, begin: Micros, after: Micros) -> datetime | None:
        """What CronSim says comes first after `begin`, and is later than `after`: in the hour that a day has twice it
        may give a time of the first when it is asked in the second."""
        for found in CronSim(self.cron, moment(begin).astimezone(self.zone)):
            if (found - EPOCH) // MICRO > after:
                return found
        return None

    def last(self, first: Micros, now: Micros) -> Micros:
        """The last slot up to `now`, of which `first` is one that isn't later."""
        slot, reach = first, MINUTE
        while now - reach > first:  # so that a year of minutes needn't be walked through
            found = self.next(now - reach)
            if found is not None and found <= now:
                slot = found
                break
            reach *= 2
        while (later := self.next(slot)) is not None and later <= now:
            slot = later
        return slot


@dataclass(frozen=True, slots=True)
class Before:
    """The run that was started for the slot before. `ended_at` is None while it is unfinished."""

    thread: str
    started_at: Micros
    ended_at: Micros | None


@dataclass(frozen=True, slots=True)
class Fire:
    """Start a run for `slot`, and for all slots before it. `cancel`: ask the run before to stop first."""

    slot: Micros
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Start nothing for the slots up to `slot`. `why` is a sentence for people."""

    slot: Micros
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again when the run before has ended."""

    why: str


def decide(rules: Rules, slot: Micros, now: Micros, before: Before | None) -> Fire | Skip | Wait:
    """What becomes of `slot`, the first that nothing was started for yet, which is not later than `now`."""
    waits = rules.overlap == "wait"
    unfinished = before if before is not None and before.ended_at is None else None
    if waits and unfinished is not None:
        return Wait(f"{text(slot)} waits for {unfinished.thread} to end")
    ended = before.ended_at if before is not None and before.ended_at is not None else slot
    ready = max(slot, ended) if waits else slot  # what had to wait is not late before it need not any more
    late = now - ready > TOLERANCE
    upto = slot
    if late and rules.missed == "skip":
        upto = rules.last(slot, now - TOLERANCE - 1)
        return Skip(upto, f"{_span(slot, upto)} missed: no worker was there")
    if late and rules.missed == "once":
        upto = rules.last(slot, now)
    elif waits and before is not None and before.started_at < slot <= ended:
        upto = rules.last(slot, ended)
    if unfinished is not None and rules.overlap == "skip":
        return Skip(upto, f"{_span(slot, upto)} skipped: {unfinished.thread} is unfinished")
    return Fire(upto, cancel=unfinished is not None and rules.overlap == "cancel")


def moment(micros: Micros) -> datetime:
    """A moment of the journal as an aware datetime, UTC."""
    return EPOCH + timedelta(microseconds=micros)


def text(slot: Micros) -> str:
    """A slot for the names of threads and for people: 2026-11-26T02:00Z, with seconds only if it has some."""
    when = moment(slot)
    whole = when.second == 0 and when.microsecond == 0
    return f"{when.replace(tzinfo=None).isoformat(timespec='minutes' if whole else 'auto')}Z"


def _span(first: Micros, last: Micros) -> str:
    return text(first) if first == last else f"{text(first)} to {text(last)}"
