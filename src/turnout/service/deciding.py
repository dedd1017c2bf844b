"""Reviews: which there are, and a person's decision on one, recorded once a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.graph import Graph
from turnout.core.reviews import Judgement, judge
from turnout.core.view import ThreadView
from turnout.errors import DecisionNotAllowed, HeadMoved, KeyReused, ReviewStale, UnknownReview
from turnout.ports.clock import Clock
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.outside import append_outside
from turnout.service.inputs import check_edit, check_result, check_status
from turnout.service.outcome import Review, closed, review_in

STATUSES = ("open", "withdrawn", "approve", "edit", "reject", "respond", "landed", "did_not_happen")


async def listed(store: Store, status: str, thread: str, role: str, after: str, limit: int) -> list[Review]:
    """Reviews, the earliest due first. `role`: only those that role may decide. Raises `InputInvalid`."""
    check_status(status, STATUSES, "review")
    found: list[Review] = []
    while len(found) < limit:
        rows = await store.reviews(status=status, thread=thread, after=after, limit=limit)
        found += [review_in(r) for r in rows if not role or not r.roles or role in r.roles.split(",")]
        if len(rows) < limit:
            break
        after = rows[-1].review
    return found[:limit]


async def named(store: Store, review: str) -> Review:
    """The review of that id, or the only open one of the thread of that name. Raises `UnknownReview`."""
    rows = await store.reviews(review=review) or await store.reviews(status="open", thread=review)
    if not rows and await store.thread(review) is not None:
        raise UnknownReview(
            f"thread {review!r} has no open review; `turnout reviews --status all --thread {review}` lists all"
        )
    if not rows:
        raise UnknownReview(f"there is no review {review!r}; `turnout reviews` lists those that are open")
    if len(rows) > 1:
        raise UnknownReview(
            f"thread {review!r} has {len(rows)} open reviews; say which: {', '.join(r.review for r in rows)}"
        )
    return review_in(rows[0])


async def decide(
    store: Store,
    clock: Clock,
    graphs: Mapping[str, Graph],
    found: Review,
    judgement: Judgement,
    key: str | None,
) -> bool:
    """Record a decision on the review. False: it was recorded before, with this key.

    Raises `ReviewClosed`, `ReviewStale`, `DecisionNotAllowed`, `KeyReused`, `InputInvalid`.
    """
    row = f"decide:{found.id}:{canon.plain(key, 'the idempotency key')}" if key else ""
    payload = canon.plain(judgement.payload, "the payload")
    digest = canon.digest([judgement.decision, judgement.by.strip(), payload, judgement.comment])
    if row and await _decided_before(store, row, digest, found.id):
        return False
    if judgement.shown is None:
        judgement = replace(judgement, shown=found.shown)

    def make(view: ThreadView) -> list[e.Draft]:
        asked = view.reviews.get(found.id)
        if asked is None:
            raise HeadMoved("closed")
        if judgement.decision == "landed":
            check_result(graphs, view.graph, asked, judgement.payload)
        if judgement.decision == "edit":
            check_edit(graphs, view.graph, asked, judgement.payload)
        return [e.Draft(asked.run, asked.step, judge(asked, judgement))]

    def keys(view: ThreadView) -> list[KeyRow]:
        return [KeyRow(row, found.thread, found.run, digest)] if row else []

    try:
        if found.status != "open":
            raise HeadMoved("closed")
        await append_outside(store, clock, found.thread, make, keys=keys)
    except (HeadMoved, KeyReused, DecisionNotAllowed, ReviewStale) as error:
        if row and await _decided_before(store, row, digest, found.id):  # the same one, sent twice at once
            return False
        if isinstance(error, HeadMoved):
            raise closed(await named(store, found.id)) from None
        raise
    return True


async def _decided_before(store: Store, key: str, digest: str, review: str) -> bool:
    """Was the decision with this key recorded? Raises `KeyReused` when that was another one."""
    used = await store.key(key)
    if used is not None and used.digest != digest:
        raise KeyReused(
            f"the idempotency key was used for another decision on review {review}; use a new key"
        )
    return used is not None
