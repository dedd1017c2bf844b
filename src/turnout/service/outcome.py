"""How a run stands, as its caller is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel

from turnout.core.entries import Binding, Divergence, ErrorInfo, WriteKnown
from turnout.core.reviews import digest_of
from turnout.core.view import ReviewView
from turnout.errors import ReviewClosed
from turnout.ports.clock import at
from turnout.ports.rows import ReviewRow

S = TypeVar("S", bound=BaseModel)
_about = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class Run:
    """One run of a thread. `str(run)` is `thread/number`; `new` is False when an idempotency key found an older one."""

    thread: str
    number: int
    new: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"{self.thread}/{self.number}"


@dataclass(frozen=True)
class Review:
    """A review as people see it. Pass it (or its id) to `app.resolve`; `shown` is the digest of what it shows.

    `payload` and `shown` are what is asked now: after an edit the edited one. `explain` has what was asked first.
    """

    id: str
    thread: str
    run: int
    step: str
    question: str
    payload: Any
    status: str
    purpose: str
    allowed: tuple[str, ...]
    roles: tuple[str, ...]
    quorum: int
    separate: bool
    requester: str
    shown: str
    asked_at: datetime
    due_at: datetime | None
    on_due: str
    opinions: tuple[dict[str, str], ...] = ()
    decisions: tuple[dict[str, Any], ...] = ()
    binds: Binding | None = None
    escalated: bool = False
    """Nobody decided in time, and since then it is for `roles`, without a due time."""


def review_of(thread: str, status: str, view: ReviewView, decisions: list[dict[str, Any]]) -> Review:
    """A review from its view. `shown` is computed from what is handed out, so that a decision on anything else fails."""
    shown = digest_of(view.name, view.payload, view.purpose, view.slot)
    return Review(
        id=view.id, thread=thread, run=view.run, step=view.step, question=view.name, payload=view.payload, status=status,
        purpose=view.purpose, allowed=tuple(view.allowed), roles=tuple(view.roles), quorum=view.quorum,
        separate=view.separate, requester=view.requester, shown=shown, asked_at=at(view.asked_at),
        due_at=at(view.due_at) if view.due_at else None, on_due=view.on_due,
        opinions=tuple({"by": o.by, "decision": o.decision, "comment": o.comment} for o in view.opinions),
        decisions=tuple(decisions), binds=view.binds, escalated=_escalated(view),
    )  # fmt: skip


def _escalated(view: ReviewView) -> bool:
    """Has its due time passed to others? What was to happen then is gone from the view, and the roles are those others."""
    return bool(view.escalate_to) and not view.on_due and view.roles == view.escalate_to


def review_in(row: ReviewRow) -> Review:
    """A review from its row."""
    about = _about.decode(row.about)
    return review_of(row.thread, row.status, msgspec.convert(about["review"], ReviewView), about["decisions"])


def closed(review: Review) -> ReviewClosed:
    """The error for a decision that comes too late; it shows the one before."""
    last = review.decisions[-1] if review.decisions else {}
    who = f" by {last['by']}" if last.get("by") else ""
    return ReviewClosed(
        f"review {review.id} is closed already: {review.status}{who}; nothing was changed", dict(last)
    )


@dataclass(frozen=True)
class Finished:
    """The run came to END. `state` is the thread's state then."""

    state: BaseModel


@dataclass(frozen=True)
class Paused:
    """The run waits: for people (`reviews`), for signals (their names), or for a version that fits (`divergence`).

    `aside` says why the thread is set aside, when it is, or which child thread is and why: then no worker goes on with
    it before somebody takes it back, whatever is decided.
    """

    reviews: list[Review]
    signals: list[str] = field(default_factory=list)
    divergence: Divergence | None = None
    aside: str = ""


@dataclass(frozen=True)
class Failed:
    """The run failed. `writes` says what is known of each write that it made."""

    error: ErrorInfo
    state: BaseModel | None = None
    writes: list[WriteKnown] = field(default_factory=list)


@dataclass(frozen=True)
class Cancelled:
    """The run was cancelled. `writes` says what is known of each write that it made."""

    by: str
    reason: str
    writes: list[WriteKnown] = field(default_factory=list)


Outcome = Finished | Paused | Failed | Cancelled
