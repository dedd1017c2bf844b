"""The inbox of reviews: how urgent each is, who may decide it, and which are of a kind and can be decided together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.ports.rows import ReviewRow, ThreadRow
from turnout.service import explain
from turnout.service.effects import FindingReport, ReviewReport, VerdictReport
from turnout.service.outcome import Review
from turnout.service.pages.moment import verdict_in
from turnout.service.pages.structure import node_of
from turnout.service.report import DecisionReport, Report

SOON = timedelta(hours=1)
URGENCIES = ("escalated", "overdue", "soon", "later", "open-ended")
"""How urgent a review is: past its due time and with others since, past it, due within `SOON`, due later, or without a due
time."""
LONG, MANY = 2000, 50
"""A question of more characters than `LONG`, or that repeats more of them or more than `MANY` texts of the payload, is alike
only to one in the same words: to look through it takes too long."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TOGETHER = frozenset({"approve", "reject"})
"""The decisions that mean the same on every review of a kind."""


@dataclass(frozen=True)
class Item:
    """A review in the inbox. `mine`: whoever looks has a role that may decide it."""

    review: Review
    urgency: str
    mine: bool
    kind: str


@dataclass(frozen=True)
class Inbox:
    """Reviews, the most urgent first. `roles` are all that the reviews name; `kinds` those with more than one review
    that can be decided together, with the words that all of them allow."""

    items: tuple[Item, ...]
    roles: tuple[str, ...]
    kinds: dict[str, tuple[str, ...]]


def inbox(
    reviews: Sequence[Review], now: datetime, roles: Sequence[str] | None, graphs: Mapping[str, str]
) -> Inbox:
    """The inbox of somebody with these review roles (None: any). `graphs` are the graphs of the reviews' threads."""
    items = [
        Item(review, urgency(review, now), roles is None or not review.roles or bool(set(review.roles) & set(roles)),
             kind_of(review, graphs.get(review.thread, "")))
        for review in reviews
    ]  # fmt: skip
    items.sort(key=lambda item: _rank(item.review, now))
    names = sorted({role for review in reviews for role in review.roles})
    kinds: dict[str, list[Review]] = {}
    for item in items:
        if item.review.status == "open":
            kinds.setdefault(item.kind, []).append(item.review)
    return Inbox(
        tuple(items), tuple(names),
        {
            kind: words for kind, those in kinds.items()
            if len(those) > 1 and (words := tuple(w for w in those[0].allowed if w in TOGETHER))
        },
    )  # fmt: skip


def most_urgent(reviews: Sequence[Review], now: datetime, limit: int) -> list[Review]:
    """So many of the reviews, the most urgent first."""
    return sorted(reviews, key=lambda review: _rank(review, now))[:limit]


def _rank(review: Review, now: datetime) -> tuple[int, datetime]:
    return URGENCIES.index(urgency(review, now)), review.due_at or review.asked_at


def urgency(review: Review, now: datetime) -> str:
    """One of `URGENCIES`."""
    if review.escalated:
        return "escalated"
    if review.due_at is None:
        return "open-ended"
    if review.due_at <= now:
        return "overdue"
    return "soon" if review.due_at - now <= SOON else "later"


def kind_of(review: Review, graph: str) -> str:
    """What makes reviews alike: the graph and the node that ask, in which words, for what (of a call: of which tool or
    model), who may decide and how, and the fields of what is shown."""
    payload = review.payload
    return canon.digest(
        [
            graph,
            node_of(review.step),
            [review.binds.effect, review.binds.name] if review.binds is not None else None,
            wording(review),
            review.purpose,
            review.allowed,
            review.roles,
            review.quorum,
            review.separate,
            sorted(payload) if isinstance(payload, dict) else type(payload).__name__,
        ]
    )[:16]


def wording(review: Review) -> str:
    """The question without what it says of this one case: what it repeats of the payload, and numbers."""
    words = review.question
    if len(words) > LONG:
        return words
    said = sorted((text for text in _texts(review.payload) if text in words), key=len, reverse=True)
    if len(said) > MANY or sum(map(len, said)) > LONG:
        return words
    if said:
        words = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, said))})(?!\w)", "…", words)
    return NUMBER.sub("…", words)


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return _texts(list(value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) and value else set()


@dataclass(frozen=True)
class ReviewPage:
    """One review, and why it came: the decision that led to its step, what policy said of the call that it is about and
    what guardrails found in its step. `before` is the thread's report as it was when the review was asked, and `earlier`
    the reviews that were asked before it, as they stand now."""

    review: Review
    told: ReviewReport | None
    because: DecisionReport | None
    verdict: VerdictReport | None
    findings: tuple[FindingReport, ...]
    before: Report
    earlier: tuple[ReviewReport, ...]


def review_page(
    review: Review, row: ThreadRow, entries: list[e.Entry], reviews: list[ReviewRow]
) -> ReviewPage:
    """The page of a review of the thread of that row; `entries` are all of it, `reviews` all that it asked."""
    report = explain.report(row, entries, reviews)
    step = next((x for x in report.steps if x.id == review.step and x.run == review.run), None)
    because = next((x for x in report.decisions if step is not None and x.seq == step.started_seq), None)
    told = next((x for x in report.reviews if x.id == review.id), None)
    asked = told.seq if told is not None else len(entries) + 1
    before = explain.report(row, entries[: asked - 1], reviews)
    findings = (
        tuple(x for x in before.findings if (x.run, x.step) == (review.run, review.step))
        if review.purpose == "guard"
        else ()
    )
    earlier = tuple(x for x in report.reviews if x.seq < asked)
    return ReviewPage(review, told, because, _verdict(review, entries), findings, before, earlier)


def _verdict(review: Review, entries: Sequence[e.Entry]) -> VerdictReport | None:
    """What policy said last of the call, before the review was asked."""
    asked = next(
        (x for x in entries if isinstance(x.body, e.ReviewRequested) and x.body.review == review.id), None
    )
    if asked is None or not isinstance(asked.body, e.ReviewRequested):
        return None
    place = (asked.run, asked.step, asked.body.key, asked.body.n)
    found = None
    for entry in entries[: asked.seq - 1]:
        body = entry.body
        if isinstance(body, e.VerdictGiven) and (entry.run, entry.step, body.key, body.n) == place:
            found = verdict_in(entry)
    return found
