"""Proof: replay, what-if, verify, heads, and whether the code at hand would take over what is unfinished."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from turnout.api.answers import answer, problems
from turnout.api.bodies import Rules
from turnout.api.entrance import Administering, Viewing
from turnout.api.shapes import many, shape
from turnout.service.items import (
    InFlightItem,
    ReplayItem,
    VerifiedItem,
    WhatIfItem,
    in_flight_item,
    replay_item,
    verified_item,
    whatif_item,
)

router = APIRouter(tags=["proof"])
Head = dict[str, Any]
SignedBy = Annotated[
    str, Query(max_length=200, description="The public key of a store that the threads came from, if that has signed it.")
]  # fmt: skip


@router.post("/threads/{thread:name}/replay", responses={200: {"model": shape(ReplayItem)}, **problems(404)})
async def replay(at: Viewing, thread: str) -> Response:
    """Make every entry again from the code at hand, calling nothing."""
    return answer(replay_item(await at.app.replay(thread)))


@router.post(
    "/threads/{thread:name}/whatif", responses={200: {"model": shape(WhatIfItem)}, **problems(400, 404, 413)}
)
async def whatif(
    at: Viewing,
    thread: str,
    graph: Annotated[str, Query(max_length=200, description="A graph of the code at hand.")] = "",
    rules: Rules | None = None,
) -> Response:
    """Run the thread's inputs again under the code at hand (or another graph of it), or other rules of policy, answered from
    the record.

    Nothing is called and no write is made; where the record has no answer the run stops, and `gap` says so.
    """
    code = at.app.graph(graph) if graph else None
    return answer(
        whatif_item(await at.app.whatif(thread, code, policy=rules.files if rules is not None else None))
    )


@router.post(
    "/threads/{thread:name}/verify",
    responses={200: {"model": shape(VerifiedItem)}, **problems(400, 404, 413)},
)
async def verify(at: Viewing, thread: str, against: Head | None = None, signed_by: SignedBy = "") -> Response:
    """Check the thread's chain, values, rows and snapshot, also against a head that was exported before."""
    return answer(verified_item(await at.app.verify(thread, against=against, signed_by=signed_by)))


@router.get("/threads/{thread:name}/head", responses={200: {"model": Head}, **problems(404)})
async def thread_head(at: Viewing, thread: str) -> Response:
    """A signed statement of how far the thread's journal has come. Keep it elsewhere."""
    return answer(await at.app.head(thread))


@router.post("/verify", responses={200: {"model": shape(VerifiedItem)}, **problems(400, 413)})
async def verify_all(at: Administering, against: Head | None = None, signed_by: SignedBy = "") -> Response:
    """Check all threads, also against a head that was exported before."""
    return answer(verified_item(await at.app.verify(against=against, signed_by=signed_by)))


@router.get("/head", responses={200: {"model": Head}, **problems()})
async def head(at: Administering) -> Response:
    """A signed statement of how far all journals have come."""
    return answer(await at.app.head())


@router.get("/in-flight", responses={200: {"model": many(InFlightItem)}, **problems()})
async def in_flight(at: Administering) -> Response:
    """Would the code at hand adopt the unfinished runs?"""
    return answer([in_flight_item(one) for one in await at.app.check_in_flight()])
