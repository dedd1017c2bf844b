"""Who is told of what happens on threads: which channel gets a notice of which entry, and when. Pure.

A *notice* is one message to one channel. It holds facts, not words: how they are put is up to the channel. Its id is
made of the entry's digest, so it is one and the same however often the notice is sent, and no other's anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.fold import apply
from turnout.core.project import ReviewChange
from turnout.core.view import ReviewView, ThreadView

REQUESTED, REMINDER, ESCALATED, CLOSED = (
    "review.requested", "review.reminder", "review.escalated", "review.closed",
)  # fmt: skip
FAILED, FINISHED, CANCELLED, SET_ASIDE = "run.failed", "run.finished", "run.cancelled", "thread.set_aside"
EVENTS = (REQUESTED, REMINDER, ESCALATED, CLOSED, FAILED, FINISHED, CANCELLED, SET_ASIDE)
USUAL = (REQUESTED, REMINDER, ESCALATED, FAILED, SET_ASIDE)
"""What a channel is told of that doesn't say what it wants."""
_TOLD = frozenset(
    ("review.requested", "review.lapsed", "review.decided", "run.failed", "run.finished", "run.cancelled")
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one channel, due at `due_at`. `facts` is the JSON of what there is to say; see `told`."""

    id: str
    channel: str
    event: str
    thread: str
    run: int
    review: str
    tenant: str
    facts: bytes
    due_at: e.Micros
    created_at: e.Micros


@dataclass(frozen=True, slots=True)
class Terms:
    """What a channel wants to hear of. Empty sets mean: of all. `priority` is the least that a run must have.

    `roles` is about reviews: those that one of them may decide, and those that anybody may. Reminders come `remind_after`
    a review was asked, and `remind_before` it is due (microseconds each).
    """

    channel: str
    events: frozenset[str] = frozenset(USUAL)
    graphs: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    priority: int = -100
    remind_after: tuple[e.Micros, ...] = ()
    remind_before: tuple[e.Micros, ...] = ()

    def want(self, event: str, subject: Subject, roles: Sequence[str] = ()) -> bool:
        """Is it for this channel?"""
        return (
            event in self.events
            and (not self.graphs or subject.graph in self.graphs)
            and (not self.tenants or subject.tenant in self.tenants)
            and subject.priority >= self.priority
            and (not self.roles or not roles or not self.roles.isdisjoint(roles))
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """The thread that something is told of."""

    thread: str
    graph: str
    tenant: str
    priority: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The channels, and what each wants to hear of."""

    channels: tuple[Terms, ...]


@dataclass(slots=True)
class Told:
    """What an append puts into the outbox, and the reviews whose reminders it takes out of it."""

    notices: list[Notice] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


def tells(entries: Iterable[e.Entry], changes: Sequence[ReviewChange]) -> bool:
    """May there be anything to tell? Of most appends there isn't."""
    return bool(changes) or any(entry.kind in _TOLD for entry in entries)


def told(
    rules: Rules, view: ThreadView, priority: int, entries: Sequence[e.Entry], changes: Sequence[ReviewChange]
) -> Told:
    """What is told of `entries`. `view` is the thread after them, `changes` what they change about reviews, and `priority`
    that of the run that they are of, which may have ended with them."""
    subject = Subject(view.thread, view.graph, view.tenant, priority)
    found = Told()
    for entry in entries:
        for event, review, roles, facts in _of_entry(entry, view):
            for terms in rules.channels:
                if terms.want(event, subject, roles):
                    found.notices.append(_notice(terms, event, subject, entry, review, facts))
            if event == ESCALATED:
                found.withdrawn.append(review)
            if event in (REQUESTED, ESCALATED):
                found.notices += _reminders(rules, subject, entry, view.reviews[review])
    for change in changes:
        if change.status != "open":
            found.withdrawn.append(change.review.id)
            found.notices += _closed(rules, subject, entries[-1], change)
    return found


def open_still(rules: Rules, thread: str, entries: Iterable[e.Entry], now: e.Micros) -> list[Notice]:
    """What somebody who begins to tell of a thread at `now` has to say of its open reviews: that they wait, and for whom by
    now, and the reminders that are ahead. `entries` are all of its journal. The notices are those that its appends have
    made, by their ids, too."""
    view, found = ThreadView(thread=thread), dict[str, list[Notice]]()
    for entry in entries:
        apply(view, entry, private=True)
        if entry.thread == thread and isinstance(entry.body, e.ReviewRequested | e.ReviewLapsed):
            found[entry.body.review] = told(rules, view, view.priority, [entry], []).notices
    return [
        notice
        for review, notices in found.items() if review in view.reviews
        for notice in notices if notice.event != REMINDER or notice.due_at > now
    ]  # fmt: skip


def aside(rules: Rules, subject: Subject, reason: str, now: e.Micros, mark: str) -> list[Notice]:
    """What is told of a thread that is set aside. `mark` (its epoch, say) tells this time from every other time."""
    facts = canon.encode({**_about(SET_ASIDE, subject, 0, now), "reason": reason})
    return [
        Notice(_id("aside", subject.thread, mark, str(now), terms.channel), terms.channel, SET_ASIDE, subject.thread, 0, "",
               subject.tenant, facts, now, now)
        for terms in rules.channels if terms.want(SET_ASIDE, subject)
    ]  # fmt: skip


def _of_entry(entry: e.Entry, view: ThreadView) -> Iterator[tuple[str, str, Sequence[str], dict[str, Any]]]:
    """The events of an entry: what it is, of which review, for which roles, and the facts."""
    body = entry.body
    if isinstance(body, e.ReviewRequested) and body.review in view.reviews:
        yield REQUESTED, body.review, body.roles, _review(view.reviews[body.review])
    elif isinstance(body, e.ReviewLapsed) and body.action == "escalate" and body.review in view.reviews:
        yield ESCALATED, body.review, body.roles, _review(view.reviews[body.review])
    elif isinstance(body, e.RunFailed):
        unknown = [write.name for write in body.writes if write.outcome == "unknown"]
        error = {"type": body.error.type, "message": body.error.message}
        yield FAILED, "", (), {"error": error, "unknown_writes": unknown}
    elif isinstance(body, e.RunFinished):
        yield FINISHED, "", (), {}
    elif isinstance(body, e.RunCancelled):
        yield CANCELLED, "", (), {"by": body.by, "reason": body.reason}


def _reminders(rules: Rules, subject: Subject, entry: e.Entry, review: ReviewView) -> Iterator[Notice]:
    """The reminders of a review that is open from `entry` on: timers, which its end takes away."""
    for terms in rules.channels:
        if not terms.want(REMINDER, subject, review.roles):
            continue
        moments = {entry.at + after for after in terms.remind_after}
        if review.due_at is not None:
            moments = {moment for moment in moments if moment < review.due_at}
            moments |= {review.due_at - before for before in terms.remind_before}
        for moment in sorted(moment for moment in moments if moment > entry.at):
            yield _notice(terms, REMINDER, subject, entry, review.id, _review(review), moment)


def _closed(rules: Rules, subject: Subject, entry: e.Entry, change: ReviewChange) -> Iterator[Notice]:
    by = [said["by"] for said in change.decisions if said.get("by")]
    facts = {**_review(change.review), "outcome": change.status, "by": by}
    for terms in rules.channels:
        if terms.want(CLOSED, subject, change.review.roles):
            yield _notice(terms, CLOSED, subject, entry, change.review.id, facts)


def _notice(
    terms: Terms, event: str, subject: Subject, entry: e.Entry, review: str, facts: dict[str, Any],
    due_at: e.Micros | None = None,
) -> Notice:  # fmt: skip
    due = entry.at if due_at is None else due_at
    return Notice(
        _id(entry.digest.hex(), terms.channel, event, review, str(due)), terms.channel, event, subject.thread, entry.run,
        review, subject.tenant, canon.encode({**_about(event, subject, entry.run, entry.at), **facts}), due, entry.at,
    )  # fmt: skip


def _about(event: str, subject: Subject, run: int, at: e.Micros) -> dict[str, Any]:
    return {
        "event": event, "thread": subject.thread, "run": run, "graph": subject.graph, "tenant": subject.tenant,
        "priority": subject.priority, "at": at,
    }  # fmt: skip


def _review(review: ReviewView) -> dict[str, Any]:
    """What is said of a review: what is asked and of whom. What it is about (its payload) stays in the journal."""
    return {
        "review": review.id, "question": review.name, "purpose": review.purpose, "roles": list(review.roles),
        "allowed": list(review.allowed), "requester": review.requester, "asked_at": review.asked_at,
        "due_at": review.due_at,
    }  # fmt: skip


def _id(*parts: str) -> str:
    return f"n-{canon.digest(list(parts))[:24]}"
