"""The outbox: notices on their way, and once more."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, page, problems
from turnout.api.entrance import Operating, Viewing
from turnout.api.routers.threads import Cursor, Limit
from turnout.api.shapes import page as page_of
from turnout.service.cursors import OUTBOX, behind_notice, notice_place
from turnout.service.outbox import Outgoing

router = APIRouter(tags=["outbox"])


@router.get("/outbox", responses={200: {"model": page_of(Outgoing)}, **problems()})
async def list_outbox(
    at: Viewing, status: Annotated[str, Query(max_length=20)] = "", tenant: Annotated[str, Query(max_length=200)] = "",
    cursor: Cursor = "", limit: Limit = 100,
) -> Response:  # fmt: skip
    """Notices to people and other systems, the newest first. `status`: waiting, sent, dead or withdrawn."""
    found = await at.app.outbox(status=status, tenant=tenant, after=behind_notice(cursor), limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return page(OUTBOX, found[:limit], notice_place(last.created_at, last.id) if last is not None else None)


@router.post("/outbox/resend", responses={200: {"model": list[str]}, **problems()})
async def resend_dead(at: Operating, tenant: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Have all dead notices sent again. The answer is the ids of those that will be."""
    return answer(await at.app.resend(tenant=tenant))


@router.post("/outbox/{notice:name}/resend", responses={200: {"model": list[str]}, **problems(404)})
async def resend_notice(
    at: Operating, notice: str, tenant: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Have a notice sent again, under the id that it had."""
    return answer(await at.app.resend(notice, tenant=tenant))
