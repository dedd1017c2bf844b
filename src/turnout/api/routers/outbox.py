"""The outbox: notices on their way, and once more."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.entrance import Operating, Viewing
from turnout.api.shapes import many
from turnout.service.outbox import Outgoing

router = APIRouter(tags=["outbox"])


@router.get("/outbox", responses={200: {"model": many(Outgoing)}, **problems()})
async def list_outbox(
    at: Viewing, status: Annotated[str, Query(max_length=20)] = "", tenant: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
) -> Response:  # fmt: skip
    """Notices to people and other systems, the newest first. `status`: waiting, sent, dead or withdrawn."""
    return answer(await at.app.outbox(status=status, tenant=tenant, limit=limit))


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
