"""Reviews: lists, one review, and decisions on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, page, problems
from turnout.api.bodies import Decide
from turnout.api.entrance import Admitted, Deciding, Viewing
from turnout.api.headers import IdempotencyKey, IfMatch, etag, shown_in
from turnout.api.routers.threads import Cursor, Limit
from turnout.api.shapes import page as page_of
from turnout.api.shapes import shape
from turnout.core.reviews import Judgement
from turnout.errors import RightMissing
from turnout.service.cursors import REVIEWS, behind
from turnout.service.outcome import Review

router = APIRouter(tags=["reviews"])
TAGGED = {
    "ETag": {"description": "What the review shows: send it back in If-Match.", "schema": {"type": "string"}}
}


@router.get("/reviews", responses={200: {"model": page_of(Review)}, **problems()})
async def list_reviews(
    at: Viewing,
    status: Annotated[str, Query(max_length=50, description="open, all, withdrawn, or an outcome such as approve.")] = "open",
    thread: str = "", role: Annotated[str, Query(description="Only those that this role may decide.")] = "",
    cursor: Cursor = "", limit: Limit = 100,
) -> Response:  # fmt: skip
    """List reviews, the earliest due first."""
    found = await at.app.reviews(
        status="" if status == "all" else status,
        thread=thread,
        role=role,
        after=behind(REVIEWS, cursor),
        limit=limit + 1,
    )
    return page(REVIEWS, found[:limit], found[limit - 1].id if len(found) > limit else None)


@router.get(
    "/reviews/{review:name}", responses={200: {"model": shape(Review), "headers": TAGGED}, **problems(404)}
)
async def get_review(at: Viewing, review: str) -> Response:
    """One review, by its id, or by the name of a thread that has just one open."""
    found = await at.app.review(review)
    return answer(found, headers={"ETag": etag(found.shown)})


@router.post(
    "/reviews/{review:name}/decisions",
    responses={200: {"model": shape(Review), "headers": TAGGED}, **problems(400, 404, 409, 412, 413, 428)},
)
async def decide(
    at: Deciding, review: str, body: Decide, if_match: IfMatch = None, key: IdempotencyKey = None
) -> Response:
    """Decide a review. The answer is the review as it is then: still open while others have to agree.

    `If-Match` has the ETag of what you were shown: if the review shows something else by now, 412 is answered and
    nothing is recorded. If somebody was first, 409 is, with their decision in `first`. Who decides is who is signed in.
    """
    shown = shown_in(if_match, body.shown)
    judgement = Judgement(
        body.decision,
        at.by(body.by),
        _roles(at, body.roles),
        body.payload,
        body.comment,
        shown,
        at.caller.how,
    )
    found = await at.app.resolve(review, judgement, idempotency_key=key)
    return answer(found, headers={"ETag": etag(found.shown)})


def _roles(at: Admitted, said: list[str] | None) -> tuple[str, ...] | None:
    """The review roles that a decision is made in. Raises `RightMissing` for one that the caller hasn't got."""
    has = at.caller.review_roles
    if has is None:
        return tuple(said) if said is not None else None
    if said is None:
        return has
    foreign = [role for role in said if role not in has]
    if foreign:
        raise RightMissing(
            f"{at.caller.who} can't decide as {', '.join(foreign)}; has {', '.join(has) or 'no review role'}"
        )
    return tuple(said)
