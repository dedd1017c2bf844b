"""Reviews: who may decide what, and when a review is closed. Pure: the caller hands in the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from turnout.core import canon
from turnout.core.budgets import topped_up
from turnout.core.entries import Micros, ReviewDecided
from turnout.core.view import ReviewView
from turnout.errors import DecisionNotAllowed, InputInvalid, ReviewStale

ASK = ("approve", "edit", "reject", "respond")
OUTCOME = ("landed", "did_not_happen")


@dataclass(frozen=True)
class Judgement:
    """A person's decision on a review, before it is recorded. Made by `approve`, `edit`, `reject`, ...

    `roles` None means that the calling program vouches for the person (a library call is trusted as any code is);
    every front end that people reach states the roles, and then they are checked. `via` is how the person signed in.
    """

    decision: str
    by: str
    roles: tuple[str, ...] | None = None
    payload: Any = None
    comment: str = ""
    shown: str | None = None
    via: str = ""


def digest_of(name: str, payload: Any, purpose: str, request: str) -> str:
    """The digest of what a reviewer is shown. `request` is the content key of what was asked for."""
    return canon.digest([name, payload, purpose, request])[:16]


def judge(review: ReviewView, given: Judgement) -> ReviewDecided:
    """The entry that records the decision. Raises `DecisionNotAllowed`, `ReviewStale` or `InputInvalid`."""
    given = replace(given, by=given.by.strip())
    if not given.by:
        raise InputInvalid("a decision needs a name: who decides? (by=..., or --by NAME)")
    if given.shown is not None and given.shown != review.shown:
        raise ReviewStale(
            f"review {review.id} was decided on content {given.shown}, but what is asked now is {review.shown}; "
            f"look at it again (`turnout reviews {review.id}`) and decide anew"
        )
    if given.decision not in review.allowed:
        raise DecisionNotAllowed(
            f"{given.decision!r} isn't allowed on review {review.id}; allowed: {', '.join(review.allowed)}"
        )
    if review.roles and given.roles is not None and not set(review.roles) & set(given.roles):
        raise DecisionNotAllowed(
            f"review {review.id} is for {' or '.join(review.roles)}; {given.by} decides as {', '.join(given.roles) or 'nobody in particular'} "
            f"(say which role with roles=[...] or --role)"
        )
    if review.separate and given.by == review.requester.strip():
        raise DecisionNotAllowed(
            f"review {review.id}: {given.by} made the request and can't decide on it; ask somebody else"
        )
    if any(opinion.by == given.by for opinion in review.opinions):
        raise DecisionNotAllowed(f"review {review.id}: {given.by} has decided already; {_missing(review)}")
    payload, shown = review.payload, review.shown
    if given.decision == "edit":
        payload = edited(review, given.payload)
        if review.purpose == "budget":
            _only_top_up(review, payload)
        shown = digest_of(review.name, payload, review.purpose, review.slot)
    elif given.decision == "landed":
        payload = canon.plain(given.payload, "the result")
    return ReviewDecided(
        review=review.id, decision=given.decision, by=given.by, roles=list(given.roles or ()), shown=shown, payload=payload,
        comment=given.comment, outcome=_outcome(review, given.decision), via=given.via,
        saw=review.shown,
    )  # fmt: skip


def edited(review: ReviewView, change: Any) -> Any:
    """The payload after an edit. A dict may hold only what changes; types stay what they were."""
    change = canon.plain(change, "the edited payload")
    if not isinstance(review.payload, dict):
        if review.payload is not None and _kind(change) != _kind(review.payload):
            raise InputInvalid(
                f"review {review.id}: the payload is {_kind(review.payload)}, the edit is {_kind(change)}"
            )
        return change
    if not isinstance(change, dict):
        raise InputInvalid(
            f"review {review.id}: the edit must be an object with the fields to change, e.g. {review.payload}"
        )
    for name, value in change.items():
        if name not in review.payload:
            raise InputInvalid(
                f"review {review.id}: {name!r} is not in the payload; it has {', '.join(review.payload)}"
            )
        old = review.payload[name]
        if old is not None and value is not None and _kind(old) != _kind(value):
            raise InputInvalid(f"review {review.id}: {name!r} is {_kind(old)}, the edit is {_kind(value)}")
    return {**review.payload, **change}


def _only_top_up(review: ReviewView, payload: dict[str, Any]) -> None:
    """By how much a cap is raised may be edited, which cap it is may not: its budget says who decides on it."""
    other = [name for name, value in payload.items() if name != "top_up" and value != review.payload[name]]
    if other:
        raise InputInvalid(f"review {review.id}: only top_up can be changed, not {other[0]!r}")
    topped_up(payload)


def overdue(review: ReviewView, now: Micros) -> bool:
    """Is it time for what the review says should happen when nobody decides?"""
    return review.due_at is not None and review.due_at <= now


def _outcome(review: ReviewView, decision: str) -> str:
    """The outcome, if this decision closes the review. One reject, or one word on a write, is enough."""
    if decision in ("approve", "edit"):
        agreed = (
            {o.by for o in review.opinions if o.decision in ("approve", "edit")}
            if decision == "approve"
            else set()
        )
        return decision if len(agreed) + 1 >= review.quorum else ""
    return decision


def _missing(review: ReviewView) -> str:
    return f"{review.quorum - len(review.opinions)} more of {review.quorum} must agree"


def _kind(value: Any) -> str:
    return {
        bool: "true/false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }.get(type(value), "nothing")


def _roles(roles: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if roles is None else tuple(roles)


def approve(
    *, by: str, roles: Sequence[str] | None = None, comment: str = "", shown: str | None = None
) -> Judgement:
    """Yes, as it was shown."""
    return Judgement("approve", by, _roles(roles), None, comment, shown)


def edit(
    payload: Any, *, by: str, roles: Sequence[str] | None = None, comment: str = "", shown: str | None = None
) -> Judgement:
    """Yes, but with these changes: an object may hold only the fields that change."""
    return Judgement("edit", by, _roles(roles), payload, comment, shown)


def reject(
    *, by: str, roles: Sequence[str] | None = None, comment: str = "", shown: str | None = None
) -> Judgement:
    """No."""
    return Judgement("reject", by, _roles(roles), None, comment, shown)


def respond(text: str, *, by: str, roles: Sequence[str] | None = None, shown: str | None = None) -> Judgement:
    """An answer in free text."""
    return Judgement("respond", by, _roles(roles), None, text, shown)


def landed(
    result: Any = None,
    *,
    by: str,
    roles: Sequence[str] | None = None,
    comment: str = "",
    shown: str | None = None,
) -> Judgement:
    """On a write whose outcome is unknown: it happened, and this was its result."""
    return Judgement("landed", by, _roles(roles), result, comment, shown)


def did_not_happen(
    *, by: str, roles: Sequence[str] | None = None, comment: str = "", shown: str | None = None
) -> Judgement:
    """On a write whose outcome is unknown: it did not happen; it may be sent again."""
    return Judgement("did_not_happen", by, _roles(roles), None, comment, shown)
